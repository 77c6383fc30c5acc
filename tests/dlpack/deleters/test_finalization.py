"""Deleters that are called while or after the interpreter finalizes."""

from __future__ import annotations

import time

import pytest


@pytest.mark.parametrize("kept", [False, True], ids=["array gone", "array kept"])
def test_deleters_after_finalization(kept, run_python):
    """The arrays leak, because no interpreter is left to run their finalizers."""
    out = run_python(
        """
import ctypes, os, sys
import numpy as np
from numpack import ZeroCopyArray
from numpack.io import DLPackBuffer
from support.native import *
kill_after(60)
message = ctypes.create_string_buffer(b"deleters have run")
ctypes.pythonapi.Py_IncRef(ctypes.py_object(message))
at_exit(address_of(libc.puts), ctypes.addressof(message))  # the first comes last

class Memory(bytearray):
    def __del__(self, write=os.write):
        write(1, b"gone ")

keep = []
for exporter in (DLPackBuffer, ZeroCopyArray):
    for version in (None, (1, 0)):
        a = np.frombuffer(Memory(24))
        managed = take(exporter(a.copy()).__dlpack__(max_version=version))
        at_exit(managed.deleter, ctypes.addressof(managed))
        managed = take(exporter(a).__dlpack__(max_version=(1, 0)))
        at_exit(managed.deleter, ctypes.addressof(managed))
        if sys.argv[1] == "True":
            sys.kept_to_the_very_end = keep.append(a) or keep
""",
        str(kept),
    )
    assert out == "deleters have run\n"


def test_threads_waiting_for_the_gil_at_finalization_get_it(run_python):
    """Finalization waits for the deleters that requested the GIL before it began."""
    out = run_python(
        """
import atexit, sys, weakref
seen, ends, taken = [], [], []
atexit.register(lambda: print(*seen))  # was registered first, so it runs last
import numpy as np
from numpack.io import DLPackBuffer
from support.native import *
kill_after(60)
sys.setswitchinterval(60)
for i in range(20):
    a = np.arange(3.0)
    ends.append(weakref.ref(a, lambda _: seen.append("gone")))
    taken.append(take(DLPackBuffer(a).__dlpack__()))
del a
for managed in taken:
    start_deleter(managed, keep_gil=True)
sleep_with_gil(0.1)  # they are waiting now
seen.append("end")
"""
    )
    assert out.split().count("gone") == 20
    assert out.endswith(" gone\n")


def test_gil_is_not_requested_during_finalization(run_python):
    """A thread that did could wait for ever, or be terminated inside of a consumer."""
    run_python(
        """
import atexit
from support.native import *
kill_after(20)

def late():  # was registered first, so it runs last
    for managed in taken:
        thread = start_deleter(managed, keep_gil=True)
        assert holding.pthread_join(thread, None) == 0  # without giving up the GIL

atexit.register(late)
import numpy as np
from numpack import ZeroCopyArray
from numpack.io import DLPackBuffer
a = np.arange(3.0)
taken = [
    take(exporter(a).__dlpack__(max_version=version))
    for exporter in (DLPackBuffer, ZeroCopyArray)
    for version in (None, (1, 0))
]
"""
    )


def test_capsules_and_arrays_alive_until_finalization(run_python):
    run_python(
        """
import atexit, sys
import numpy as np
from numpack import ZeroCopyArray
from numpack.io import DLPackBuffer, from_dlpack
from support.exchange.dlpack import Tensor
from support.native import kill_after
kill_after(60)
kept = []
for exporter in (DLPackBuffer, ZeroCopyArray):
    for version in (None, (1, 0)):
        buffer = exporter(np.arange(3.0))
        kept += [buffer, buffer.__dlpack__(max_version=version)]
        kept.append(from_dlpack(buffer.__dlpack__(max_version=version)))
kept.append(kept)
sys.kept_to_the_very_end = kept

class Late:
    def __del__(self, exporter=DLPackBuffer, take=from_dlpack, array=np.arange(2.0)):
        take(exporter(array).__dlpack__())

sys.late = Late()
atexit.register(lambda: from_dlpack(kept[0]))
"""
    )


ENDING = """
import ctypes, sys, threading
import numpy as np
from numpack import ZeroCopyArray
from numpack.io import DLPackBuffer
from support.native import *
kill_after(60)
arrays = [np.arange(3.0) for _ in range(50)]
exporters = [exporter(a) for a in arrays for exporter in (DLPackBuffer, ZeroCopyArray)]
ready = threading.Event()
detach = libc.pthread_detach
detach.argtypes = [Thread]

def loop():  # a daemon, which makes native threads until Python stops it
    made = 0
    while True:
        for exporter in exporters:
            for version in (None, (1, 0)):
                detach(start_deleter(take(exporter.__dlpack__(max_version=version))))
                made += 1
                if made == 50:
                    ready.set()

threads = [threading.Thread(target=loop, daemon=True) for _ in range(2)]
for thread in threads:
    thread.start()
assert ready.wait(30)
last = [start_deleter(take(each.__dlpack__())) for each in exporters[: int(sys.argv[1])]]
"""


@pytest.mark.parametrize("last", [0, 1, 20, 100])
def test_native_threads_call_deleters_during_finalization(last, run_python):
    """Earlier requests for the GIL are served, there are no later ones, and exit is quick."""
    begin = time.monotonic()
    run_python(ENDING, str(last))
    assert time.monotonic() - begin < 30


def test_thread_local_destructors_call_deleters_during_finalization(run_python):
    """A thread's own values are destroyed as it exits, at any stage of finalization."""
    run_python(
        """
import ctypes, threading
import numpy as np
from numpack.io import DLPackBuffer
from support.native import *
kill_after(60)
a = np.arange(3.0)
buffer = DLPackBuffer(a)
key = ctypes.c_uint()
first = take(buffer.__dlpack__(max_version=(1, 0)))
libc.pthread_key_create.argtypes = [VOID, VOID]
libc.pthread_setspecific.argtypes = [ctypes.c_uint, VOID]
assert libc.pthread_key_create(ctypes.byref(key), first.deleter) == 0
delete(first)
started = threading.Semaphore(0)

def run(microseconds):
    managed = take(buffer.__dlpack__(max_version=(1, 0)))
    libc.pthread_setspecific(key, ctypes.addressof(managed))
    started.release()
    libc.usleep(microseconds)

for daemon, microseconds in [(False, 1000), (True, 1), (True, 20000)] * 10:
    threading.Thread(target=run, args=(microseconds,), daemon=daemon).start()
for _ in range(30):
    started.acquire()
"""
    )
