"""Memory allocated at multiples of 64 bytes: its contents, its resizing, its release."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy._core.multiarray import get_handler_name
from support.each import for_each
from support.memory import resident_bytes

from numpack import aligned_allocation

NAME = "numpack_aligned"
SIZES = [*range(70), *range(950, 1100), 4096, 65_537, 2**20 + 3, 2**21, 2**22 + 1, 40_000_000]

MAKE = {
    "empty": lambda n: np.empty(n, "u1"),
    "zeros": lambda n: np.zeros(n, "u1"),
    "ones": lambda n: np.ones(n, "u1"),
    "arange": lambda n: np.arange(n).astype("u1"),
    "copy": lambda n: np.broadcast_to(np.uint8(7), n).copy(),
    "concatenate": lambda n: np.concatenate([np.ones(n // 2, "u1"), np.ones(n - n // 2, "u1")]),
    "fromiter": lambda n: np.fromiter((1 for _ in range(min(n, 5000))), "u1"),
    "strings": lambda n: np.array(["x" * (n // 4 + 1)]) if n < 10_000 else np.empty(n, "S1"),
    "objects": lambda n: (
        np.array([None] * (n // 8 + 1)) if n < 10_000 else np.empty(n // 8, "O")
    ),
}


def is_aligned(array: np.ndarray) -> bool:
    return array.ctypes.data % 64 == 0


@for_each("make", MAKE.values(), ids=list(MAKE))
def test_every_array_begins_at_a_multiple_of_64_bytes(make):
    with aligned_allocation():
        arrays = [make(size) for size in SIZES]
    assert all(map(is_aligned, arrays))
    assert {get_handler_name(each) for each in arrays} == {NAME}


@for_each("size", SIZES)
def test_memory_of_freed_arrays_is_cleared_for_zeros(size):
    with aligned_allocation():
        for _ in range(20):
            array = np.zeros(size, "u1")
            assert not array.any()
            array[:] = 255


@for_each("old", [0, 1, 63, 64, 65, 500, 1024, 1025, 5000, 10**6, 2**22])
def test_resized_array_keeps_its_contents(old):
    content = np.random.default_rng(old).integers(0, 255, 5_000_000, dtype=np.uint8)
    for new in [1, 60, 64, 70, 1000, 1024, 1100, 4000, 130_000, 10**6, 5_000_000]:
        with aligned_allocation():
            array = content[:old].copy()
            array.resize(new, refcheck=False)
            assert is_aligned(array)
            assert np.array_equal(array[:old], content[: min(old, new)])
            assert not array[old:].any()
            array.resize(old or 1, refcheck=False)
        assert np.array_equal(array[:new][:old], content[: min(old, new)])


def test_arrays_outlive_the_block_and_are_freed_by_their_own_allocator():
    before = [np.arange(size) for size in (1, 10, 1000, 10**6)]
    with aligned_allocation():
        inside = [np.arange(size) for size in (1, 10, 1000, 10**6)]
        for each in before:
            each.resize(len(each) + 100, refcheck=False)
        del before
    for size, each in zip((1, 10, 1000, 10**6), inside, strict=True):
        assert np.array_equal(each, np.arange(size))
        each.resize(2 * size, refcheck=False)
        assert is_aligned(each)
        assert np.array_equal(each[:size], np.arange(size))
    assert get_handler_name() == "default_allocator"


def test_arrays_are_freed_by_other_threads():
    with aligned_allocation():
        arrays = [np.full(size, 7, "u1") for size in SIZES for _ in range(3)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: arrays.pop() is None, range(len(arrays))))
    with aligned_allocation():
        assert all(not np.zeros(size, "u1").any() for size in SIZES)


@for_each("shape", [2**62, (2**31, 2**31), 2**63 - 1, 2**63 - 64, 2**63 - 130])
def test_allocation_beyond_memory_is_a_memory_error(shape):
    with aligned_allocation():
        for make in (np.empty, np.zeros):
            with pytest.raises((MemoryError, ValueError)):
                make(shape, "u1")
        array = np.arange(10)
        with pytest.raises((MemoryError, ValueError)):
            array.resize(shape, refcheck=False)
        assert np.array_equal(array, np.arange(10))


def test_memory_of_ended_threads_is_freed(run_python):
    """Each thread keeps up to 70 KB of freed blocks, which are freed when it ends.

    The last threads may not have freed theirs yet when they can be joined.
    """
    run_python(
        """
import threading
import numpy as np
from support.memory import allocated_bytes
from numpack import aligned_allocation

@aligned_allocation()
def work():
    arrays = [np.ones(size, "u1") for size in range(1, 1024, 8) for _ in range(2)]
    del arrays

def run(count):
    for _ in range(count):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

run(20)
before = allocated_bytes()
run(1000)
assert allocated_bytes() - before < 1000 * 600, allocated_bytes() - before
"""
    )


def test_repeated_allocations_leak_nothing(run_python):
    run_python(
        """
import numpy as np
from support.memory import allocated_bytes
from numpack import aligned_allocation

def work(count):
    with aligned_allocation():
        for number in range(count):
            for size in (1, 100, 1000, 2000, 100_000):
                array = np.zeros(size, "u1") if number % 2 else np.empty(size, "u1")
                array.resize(size + 900, refcheck=False)

work(50)
before = allocated_bytes()
work(2000)
assert allocated_bytes() - before < 2000 * 16, allocated_bytes() - before
"""
    )


def test_blocks_of_every_way_are_freed_in_other_threads_and_processes(run_python):
    """A thread may end before the arrays that it made, and a process fork meanwhile."""
    run_python(
        """
import os, threading
import numpy as np
from numpack import aligned_allocation

arrays = []

@aligned_allocation()
def make():
    for size in (1, 64, 500, 1024, 1025, 70_000, 3 * 2**20):
        arrays.append(np.full(size, 7, "u1"))

def in_thread(call):
    thread = threading.Thread(target=call)
    thread.start()
    thread.join()

def check():
    assert all((each == 7).all() for each in arrays)
    for each in arrays:
        each.resize(each.size + 900, refcheck=False)
        assert (each[:-900] == 7).all() and not each[-900:].any()
    each = None
    arrays.clear()
    make()
    assert all((each == 7).all() for each in arrays)

for _ in range(20):
    in_thread(make)
child = os.fork()
if child == 0:
    check()
    in_thread(check)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
in_thread(check)
check()
"""
    )


def test_arrays_are_freed_after_the_interpreter_is_finalized(run_python):
    """What modules and C extensions still hold is freed last, without Python."""
    run_python(
        """
import atexit, sys, threading
import numpy as np
from numpack import use_aligned_allocation
use_aligned_allocation()
sys.kept = [np.ones(n) for n in (1, 100, 1000, 10**6)]
np.kept = [np.ones(n) for n in (1, 100, 1000, 10**6)]
cycle = [np.ones(50)]
cycle.append(cycle)
atexit.register(lambda: np.ones(10))
thread = threading.Thread(target=lambda: np.ones(20), daemon=True)
thread.start()
"""
    )


def test_size_that_numpy_frees_may_differ_from_the_allocated_one():
    """An empty array allocates the product of its other axes, and frees one byte."""
    with aligned_allocation():
        for _ in range(50):
            for shape in ((2, 0, 2), (300, 0, 2), (1, 0), (0,), (5000, 0, 100)):
                assert is_aligned(np.empty(shape))
            small = [np.full(size, 9, "u1") for size in (1, 64, 128, 1000) for _ in range(10)]
            assert all((each == 9).all() for each in small)


def test_shrunken_array_keeps_its_contents_across_all_limits():
    """Limits: the cached sizes, malloc's for mapping a block alone, and that of huge pages."""
    sizes = [5 * 2**20, 2**22, 2**21 + 7, 2**21 - 200, 2**17, 1025, 1024, 960, 65, 64, 63, 1, 0]
    content = np.random.default_rng(0).integers(0, 255, sizes[0], dtype=np.uint8)
    with aligned_allocation():
        array = content.copy()
        for size in sizes:
            array.resize(size, refcheck=False)
            assert is_aligned(array)
            assert np.array_equal(array, content[:size])
        for size in reversed(sizes):
            array.resize(size, refcheck=False)
            assert is_aligned(array)
            assert not array.any()
            array[:] = 0


def test_zeros_touch_no_pages():
    with aligned_allocation():
        before = resident_bytes()
        arrays = [np.zeros(2**28, "u1") for _ in range(4)]
        assert resident_bytes() - before < 2**24
    del arrays


def test_large_arrays_are_advised_to_use_huge_pages(run_python):
    """VmFlags has `hg` after MADV_HUGEPAGE; NumPy's own setting turns the advice off."""
    script = """
from pathlib import Path
import numpy as np
from numpack import aligned_allocation

def is_advised(array):
    address, found = array.ctypes.data + 10_000, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        first, _, rest = line.partition(" ")
        if "-" in first:
            begin, end = (int(each, 16) for each in first.split("-"))
            found = begin <= address < end
        elif found and first == "VmFlags:":
            return "hg" in rest.split()

with aligned_allocation():
    print([is_advised(np.empty(size, "u1")) for size in (2**20, 2**21, 2**22, 2**26)])
    for _ in range(9):
        last = np.empty(2**21, "u1")
    print(is_advised(last))
    grown = np.empty(2**20, "u1")
    grown.resize(2**23)
    print(is_advised(grown))
"""
    assert run_python(script).split("\n")[:3] == ["[False, True, True, True]", "True", "True"]
    off = "import os\nos.environ['NUMPY_MADVISE_HUGEPAGE'] = '0'\n" + script
    assert run_python(off).split("\n")[:3] == ["[False, False, False, False]", "False", "False"]
