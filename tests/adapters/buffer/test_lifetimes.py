"""Buffers stay open, and maps and shared memory mapped, while arrays view them."""

from __future__ import annotations

import array as arrays
import ctypes
import gc
import mmap
import sys
import threading
from multiprocessing.shared_memory import SharedMemory

import pytest

from numpack import (
    explain,
    share,
)
from numpack.errors import InvalidValueError


@pytest.mark.parametrize("options", [{}, {"format": "u2"}, {"shape": (2, 2)}])
def test_bytearray_cannot_be_resized_while_it_is_shared(options):
    source = bytearray(b"abcd")
    a = share(source, "numpy", **options)
    part = a[1:]
    del a
    with pytest.raises(BufferError):
        source.append(1)
    del part
    source.append(1)


def test_explain_leaves_no_export():
    source = bytearray(b"abcd")
    explain(source, "torch")
    source.append(1)


@pytest.mark.parametrize(
    "made",
    [
        lambda: bytes(bytearray(range(200))),
        lambda: bytearray(range(200)),
        lambda: arrays.array("B", range(200)),
        lambda: (ctypes.c_ubyte * 200)(*range(200)),
        lambda: memoryview(bytearray(range(200)))[::1],
    ],
)
def test_array_keeps_its_source(made):
    a = share(made(), "numpy", copy=False)
    gc.collect()
    junk = [bytes(200) for _ in range(100)]
    assert a.tolist() == list(range(200))
    del junk


@pytest.mark.parametrize("target", ["numpy", "torch"])
def test_map_cannot_be_closed_while_it_is_shared(target, tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(range(8)))
    with path.open("r+b") as file:
        mapping = mmap.mmap(file.fileno(), 8)
    x = share(mapping, target, copy=False)
    with pytest.raises(BufferError):
        mapping.close()
    x[0] = 7
    assert mapping[0] == 7
    del x
    mapping.close()
    with pytest.raises(InvalidValueError, match="closed"):
        share(mapping, "numpy")


def test_read_only_map_is_exported_copy_on_write(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(bytes(range(8)))
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
    assert not share(mapping, "numpy").flags.writeable
    t = share(mapping, "torch", copy=False)
    t[0] = 7
    assert mapping[0] == 0
    assert path.read_bytes() == bytes(range(8))


@pytest.fixture
def shared_memory():
    memory = SharedMemory(create=True, size=4096)
    memory.buf[:4] = b"abcd"
    yield [memory]  # a list, so that a test can release the last reference
    SharedMemory.unlink(memory)


def test_shared_memory_outlives_its_object(run_python):
    """`SharedMemory.__del__` closes it, and would report an open export."""
    out = run_python("""
import gc, sys, numpack
from multiprocessing.shared_memory import SharedMemory

said = []
sys.unraisablehook = said.append
for drop_first in (True, False):
    memory = SharedMemory(create=True, size=4096)
    a = numpack.share(memory, "numpy")
    memory.unlink()
    if drop_first:
        del memory, a
    else:
        del a, memory
    gc.collect()
assert not said, said
sys.unraisablehook = sys.__unraisablehook__

memory = SharedMemory(create=True, size=4096)
memory.buf[:4] = b"abcd"
a = numpack.share(memory, "numpy", format="u2", copy=False)[:2]
memory.unlink(); del memory; gc.collect()
a[1] = 7
print(a.tolist())
t = numpack.share(a, "torch"); del a; gc.collect(); t[0] = 1
del t; gc.collect()
with open("/proc/self/maps") as maps: print("psm_" in maps.read())
last = numpack.share(m := SharedMemory(create=True, size=10), "numpy")
m.unlink()
""")
    assert out.splitlines() == [f"[{int.from_bytes(b'ab', sys.byteorder)}, 7]", "False"]


def test_shared_memory_cannot_be_closed_while_it_is_shared(shared_memory):
    a = share(shared_memory[0], "numpy", copy=False)
    with pytest.raises(BufferError):
        shared_memory[0].close()
    assert a[:4].tobytes() == b"abcd"
    del a
    shared_memory[0].close()
    with pytest.raises(InvalidValueError, match="closed"):
        share(shared_memory[0], "numpy")


def test_shared_memory_is_written_through(shared_memory):
    other = SharedMemory(name=shared_memory[0].name)
    share(other, "torch", copy=False)[0] = 7
    assert shared_memory[0].buf[0] == 7


def test_last_reference_is_released_in_another_thread(shared_memory):
    held = [share(shared_memory[0], "torch"), share(bytearray(9), "numpy")]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    shared_memory[0].close()
