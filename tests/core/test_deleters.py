"""Deleters of exported tensors: run once, on any thread, at any time, and never block.

The consumer is hand-written: it takes the pointer of a capsule and calls the deleter from C
threads, from forked children, and while or after the interpreter finalizes.
"""

from __future__ import annotations

import gc
import sys
import threading
import time
import weakref

import numpy as np
import pytest
from support.dlpack import LEGACY, VERSIONED, Tensor
from support.native import (
    delete,
    join,
    name_of,
    pointer_in,
    sleep_with_gil,
    start_deleter,
    take,
)

from numpack import InvalidValueError, ZeroCopyArray
from numpack._dlpack import importing
from numpack.io import DLPackBuffer, from_dlpack

EXPORTERS = {"buffer": DLPackBuffer, "array": ZeroCopyArray}
VERSIONS = {"legacy": None, "versioned": (1, 0)}


@pytest.fixture(params=EXPORTERS)
def exporter(request):
    return EXPORTERS[request.param]


@pytest.fixture(params=VERSIONS)
def version(request):
    return VERSIONS[request.param]


def managed_over(a, exporter=DLPackBuffer, version=(1, 0)):
    """Return a managed tensor that alone owns its exporter; the caller owns the array too."""
    return take(exporter(a).__dlpack__(max_version=version))


@pytest.fixture
def busy_switching():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.fixture
def no_switching():
    """Let threads get the GIL only when another releases it, as `join` does."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(60)
    yield
    sys.setswitchinterval(before)


# Ownership --------------------------------------------------------------------------------


@pytest.mark.parametrize("on", ["this thread", "this thread with the GIL", "another thread"])
def test_deleter_releases_one_reference(exporter, version, on):
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    managed = managed_over(a, exporter, version)
    assert sys.getrefcount(a) == before + 1
    if on == "another thread":
        join(start_deleter(managed))
    else:
        delete(managed, keep_gil=on == "this thread with the GIL")
    assert sys.getrefcount(a) == before


def test_managed_tensor_keeps_the_array_alive(exporter, version):
    a = np.arange(3.0)
    end = weakref.ref(a)
    managed = managed_over(a, exporter, version)
    del a
    gc.collect()
    assert end() is not None
    assert np.ctypeslib.as_array(end()).tolist() == [0, 1, 2]
    join(start_deleter(managed))
    assert end() is None


def test_unconsumed_capsule_releases_the_array(exporter, version):
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    capsule = exporter(a).__dlpack__(max_version=version)
    assert name_of(capsule) == (LEGACY if version is None else VERSIONED)
    assert sys.getrefcount(a) == before + 1
    del capsule
    assert sys.getrefcount(a) == before


def test_unconsumed_capsule_releases_the_array_during_an_exception(exporter, version):
    a = np.arange(3.0)
    before = sys.getrefcount(a)

    def fail():
        capsule = exporter(a).__dlpack__(max_version=version)
        raise LookupError(name_of(capsule))

    with pytest.raises(LookupError, match="dltensor") as caught:
        fail()
    del caught
    gc.collect()
    assert sys.getrefcount(a) == before


def test_consumed_capsule_does_not_release_the_array(exporter, version):
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    capsule = exporter(a).__dlpack__(max_version=version)
    managed = take(capsule)
    del capsule
    gc.collect()
    assert sys.getrefcount(a) == before + 1
    delete(managed)
    assert sys.getrefcount(a) == before


def test_each_capsule_holds_its_own_reference(exporter, version):
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    buffer = exporter(a)
    held = sys.getrefcount(a)
    taken = [take(buffer.__dlpack__(max_version=version)) for _ in range(20)]
    assert sys.getrefcount(a) == held + 20
    for managed in taken:
        delete(managed)
    assert sys.getrefcount(a) == held
    del buffer
    assert sys.getrefcount(a) == before


def test_deleter_frees_the_copy_of_the_consumer(exporter):
    a = np.arange(3.0)
    before = sys.getrefcount(a)

    def growth() -> int:
        gc.collect()
        blocks = sys.getallocatedblocks()
        for _ in range(500):
            delete(take(exporter(a).__dlpack__(max_version=(1, 0), copy=True)))
        gc.collect()
        return sys.getallocatedblocks() - blocks

    assert min(growth() for _ in range(3)) < 100  # the first round fills Python's own caches
    assert sys.getrefcount(a) == before


def test_deleter_of_a_reexported_tensor_runs_the_first_one_once(exporter, version):
    """Import a foreign tensor and export it again: the last deleter triggers the first."""
    tensor = Tensor(np.arange(3.0))
    managed = managed_over(from_dlpack(tensor.capsule()), exporter, version)
    gc.collect()
    assert tensor.deleted == 0
    join(start_deleter(managed))
    assert tensor.deleted == 1


def test_array_is_finalized_on_a_thread_not_created_by_python():
    """The last reference is dropped there, and finalizers written in Python run there."""
    seen = []

    class Memory(bytearray):
        def __del__(self):
            seen.append(threading.get_ident())
            buffer = DLPackBuffer(np.arange(2.0))  # the finalizer exports and imports, too
            seen.append(from_dlpack(buffer.__dlpack__()).tolist())

    a = np.frombuffer(Memory(24))
    managed = managed_over(a)
    del a
    assert not seen
    join(start_deleter(managed))
    assert seen[0] != threading.get_ident()
    assert seen[1] == [0, 1]


# Threads ----------------------------------------------------------------------------------


def test_deleters_run_on_many_threads(exporter, version, busy_switching):
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    for _ in range(3):
        taken = [managed_over(a, exporter, version) for _ in range(60)]
        assert sys.getrefcount(a) == before + 60
        threads = [start_deleter(managed) for managed in taken]
        # Export while the threads call their deleters.
        held = [managed_over(a, exporter, version) for _ in range(60)]
        for managed in held:
            delete(managed)
        for thread in threads:
            join(thread)
        assert sys.getrefcount(a) == before


def test_deleter_waits_for_the_gil(exporter, version, no_switching):
    a, end = np.arange(3.0), []
    weakref.finalize(a, lambda: end.append(time.monotonic()))
    managed = managed_over(a, exporter, version)
    del a
    begin = time.monotonic()
    thread = start_deleter(managed, keep_gil=True)
    sleep_with_gil(0.1)
    assert not end
    join(thread)
    assert end[0] - begin >= 0.1


def test_deleter_does_not_deadlock_with_a_join_that_holds_the_gil(run_python):
    """TensorFlow joins threads with the GIL held when it destroys an executor."""
    run_python(
        """
import gc, time, weakref
import numpy as np
from numpack.io import DLPackBuffer
from support.native import *
kill_after(60)
ends = []
for _ in range(3):
    a = np.arange(3.0)
    ends.append(weakref.ref(a))
    managed = take(DLPackBuffer(a).__dlpack__())
    del a
    thread = start_deleter(managed, keep_gil=True)
    assert holding.pthread_join(thread, None) == 0
begin = time.monotonic()
while any(end() is not None for end in ends):  # who has the GIL gives it up at times
    assert time.monotonic() - begin < 20
    time.sleep(0.01)
"""
    )


def test_deleter_waits_for_the_gil_with_subinterpreters(run_python):
    """With subinterpreters, `PyGILState_Check` returns 1 on every thread."""
    run_python(
        """
import sys, time, weakref
import numpy as np
from numpack.io import DLPackBuffer
from support.native import join, kill_after, sleep_with_gil, start_deleter, take
if sys.version_info >= (3, 13):
    import _interpreters as interpreters
else:
    import _xxsubinterpreters as interpreters
kill_after(60)
another = interpreters.create()
a, end = np.arange(3.0), []
weakref.finalize(a, lambda: end.append(time.monotonic()))
managed = take(DLPackBuffer(a).__dlpack__())
del a
sys.setswitchinterval(60)
begin = time.monotonic()
thread = start_deleter(managed, keep_gil=True)
sleep_with_gil(0.1)
join(thread)
assert end[0] - begin >= 0.1, f"Python ran without the GIL, after {end[0] - begin} s"
interpreters.destroy(another)
"""
    )


@pytest.fixture
def manual_collection():
    """Disable automatic garbage collection and freeze existing objects."""
    thresholds, was_enabled = gc.get_threshold(), gc.isenabled()
    gc.disable()
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()
    gc.set_threshold(*thresholds)
    if was_enabled:
        gc.enable()


# Consuming a capsule ----------------------------------------------------------------------


@pytest.mark.parametrize("versioned", [False, True])
def test_only_one_of_several_threads_consumes_a_capsule(versioned, busy_switching):
    n = 6
    for _ in range(60):
        tensor, start = Tensor(np.arange(3.0), versioned=versioned), threading.Barrier(n)
        capsule, taken, refused = tensor.capsule(), [], []

        def race(capsule=capsule, start=start, taken=taken, refused=refused):
            start.wait()
            try:
                taken.append(from_dlpack(capsule))
            except InvalidValueError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=race) for _ in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(taken) == 1
        assert all("was consumed already" in message for message in refused)
        assert taken[0].tolist() == [0, 1, 2]
        assert tensor.deleted == 0
        taken.clear()
        assert tensor.deleted == 1


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 0, 3)], ids=str)
@pytest.mark.parametrize(
    "consume", [importing.try_consume_capsule, importing.consume_capsule, from_dlpack]
)
def test_finalizer_consumes_the_capsule_being_consumed(consume, shape, manual_collection):
    """A garbage collection may start wherever Python objects are created, and run any code."""
    won = {"collector": 0, "caller": 0}
    for allowance in range(1, 30):
        tensor = Tensor(np.zeros(shape))
        capsule = tensor.capsule()
        taken = []

        class Garbage:
            def __init__(self):
                self.cycle = self

            def __del__(self, capsule=capsule, taken=taken):
                gc.disable()
                try:
                    taken.append(consume(capsule))
                except InvalidValueError:
                    taken.append(None)

        gc.collect()
        Garbage()
        gc.set_threshold(allowance)
        gc.enable()
        try:
            mine = consume(capsule)
        except InvalidValueError:
            mine = None
        finally:
            gc.disable()
            gc.collect()
        (theirs,) = taken
        assert (mine is None) != (theirs is None), f"both have it, allowance {allowance}"
        won["caller" if theirs is None else "collector"] += 1
        assert tensor.deleted == (0 if 0 not in shape else 1)
        del mine, theirs
        taken.clear()
        assert tensor.deleted == 1
    assert won["caller"]


@pytest.mark.parametrize("shape", [(3,), (0, 3)], ids=str)
@pytest.mark.parametrize(
    "consume", [importing.try_consume_capsule, importing.consume_capsule, from_dlpack]
)
def test_finalizer_consumes_and_frees_the_tensor_being_consumed(
    consume, shape, manual_collection
):
    """Memory that the producer has freed may hold anything and must not be read."""
    for allowance in range(1, 30):
        tensor = Tensor(np.zeros(shape))
        capsule = tensor.capsule()

        class Garbage:
            def __init__(self):
                self.cycle = self

            def __del__(self, capsule=capsule, tensor=tensor):
                gc.disable()
                try:
                    consume(capsule)
                except InvalidValueError:
                    return
                tensor.shape[0] = -7
                tensor.managed.tensor.ndim = -7
                tensor.managed.major = 7

        gc.collect()
        Garbage()
        gc.set_threshold(allowance)
        gc.enable()
        try:
            assert consume(capsule).shape == shape
        except InvalidValueError as error:
            said = str(error)
        else:
            said = "was consumed already"
        finally:
            gc.disable()
            gc.collect()
        assert "was consumed already" in said
        assert tensor.deleted == 1


def test_pointer_of_a_consumed_capsule_is_not_read():
    """The producer may free the tensor at once, and its memory may be reused."""
    tensor = Tensor(np.arange(3.0))
    capsule = tensor.capsule()
    del_me = from_dlpack(capsule)
    assert pointer_in(capsule)
    tensor.managed.tensor.ndim = -7
    tensor.managed.major = 9
    with pytest.raises(InvalidValueError, match="was consumed already"):
        from_dlpack(capsule)
    assert del_me.tolist() == [0, 1, 2]


# Forked children --------------------------------------------------------------------------

CHILDREN = """
import ctypes, os, sys, threading, time, weakref
import numpy as np
from numpack import ZeroCopyArray
from numpack.io import DLPackBuffer
from support.native import *

kill_after(90)

class Died(Exception):
    pass

def managed_over(a, i):
    exporter = (DLPackBuffer, ZeroCopyArray)[i % 2]
    return take(exporter(a).__dlpack__(max_version=(None, (1, 0))[i // 2 % 2]))

def wait(child, seconds=20):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            assert os.waitstatus_to_exitcode(status) == 0, status
            return
        time.sleep(0.002)
    os.kill(child, 9)
    os.waitpid(child, 0)
    raise Died("the child hangs")
"""


def test_child_of_os_fork_releases_references(run_python):
    run_python(
        CHILDREN
        + """
a = np.arange(3.0)
before = sys.getrefcount(a)
taken = [managed_over(a, i) for i in range(12)]
child = os.fork()
if child == 0:
    code = 1
    try:
        kill_after(20)
        for managed in taken[:4]:
            delete(managed)
        for managed in taken[4:8]:
            delete(managed, keep_gil=True)
        for thread in [start_deleter(managed) for managed in taken[8:]]:
            join(thread)
        more = [managed_over(a, i) for i in range(4)]
        for thread in [start_deleter(managed) for managed in more]:
            join(thread)
        code = 0 if sys.getrefcount(a) == before else 2
    finally:
        os._exit(code)
wait(child)
assert sys.getrefcount(a) == before + 12
for thread in [start_deleter(managed) for managed in taken]:
    join(thread)
assert sys.getrefcount(a) == before
"""
    )


def test_child_of_os_fork_while_threads_wait_in_deleters(run_python):
    """Those threads do not exist in the child, whose exit must not wait for them."""
    run_python(
        CHILDREN
        + """
sys.setswitchinterval(60)
a = np.arange(3.0)
taken = [managed_over(a, i) for i in range(24)]
for _ in range(3):
    threads = [start_deleter(taken.pop(), keep_gil=True) for _ in range(4)]
    sleep_with_gil(0.01)
    child = os.fork()  # no other thread has had the GIL since they began
    if child == 0:
        begin = time.monotonic()
        kill_after(20)
        for thread in [start_deleter(managed) for managed in taken]:
            join(thread)
        import atexit
        atexit._run_exitfuncs()
        os._exit(time.monotonic() - begin > 1)
    wait(child)
    for thread in threads:
        join(thread)
""",
        flags=("-W", "ignore::DeprecationWarning"),
    )


@pytest.mark.parametrize("with_gil", [False, True], ids=["without GIL", "with GIL"])
def test_child_of_libc_fork_is_not_blocked(with_gil, run_python):
    """Python does not know of this child; no thread in it may be able to release the GIL."""
    run_python(
        CHILDREN
        + """
fork = (holding if sys.argv[1] == "True" else libc).fork
a = np.arange(3.0)
before = sys.getrefcount(a)
taken = [managed_over(a, i) for i in range(12)]
child = fork()
if child == 0:
    code = 1
    try:
        kill_after(20)
        for managed in taken[:4]:
            delete(managed)
        for managed in taken[4:8]:
            delete(managed, keep_gil=True)
        for thread in [start_deleter(managed) for managed in taken[8:]]:
            join(thread)
        code = 0 if sys.getrefcount(a) <= before + 8 else 3  # those with the GIL came back
    finally:
        os._exit(code)
wait(child)
assert sys.getrefcount(a) == before + 12
for thread in [start_deleter(managed) for managed in taken]:
    join(thread)
assert sys.getrefcount(a) == before, "the parent's deleters do their work after that"
""",
        str(with_gil),
    )


def test_child_forked_by_a_native_thread_while_the_gil_is_held(run_python):
    """The only thread of the child is not Python's, and nothing ever releases the GIL."""
    run_python(
        CHILDREN
        + """
a = np.arange(3.0)
before = sys.getrefcount(a)
taken = [managed_over(a, i) for i in range(4)]
parent = os.getpid()
for managed in taken:  # each process of the two runs them when it exits
    at_exit(managed.deleter, ctypes.addressof(managed))
thread = start(address_of(libc.fork), keep_gil=True)  # in the child it returns, and exits
sleep_with_gil(0.2)
wait(join(thread))
assert sys.getrefcount(a) == before + 4
""",
    )


# Finalization of the interpreter ----------------------------------------------------------


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
from support.dlpack import Tensor
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
