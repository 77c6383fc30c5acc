"""Memory of batches: aligned, and used again only when nothing refers to it."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from support.memory import address, allocated_bytes

from numpack import NumpackError
from numpack.data.kernels.buffers import BufferPool

FLOAT = np.dtype("f4")


def test_arrays_are_aligned_and_writable():
    pool = BufferPool(2)
    for shape in ((3, 5), (0, 4), (), (1,), (1000, 1000)):
        for dtype in ("f4", "u1", ">i8", "S3", [("a", "i4"), ("b", "f8", 3)]):
            array = pool.empty(shape, np.dtype(dtype))
            assert (array.shape, array.dtype) == (shape, np.dtype(dtype))
            assert address(array) % 64 == 0
            assert array.flags.writeable
            assert array.flags.c_contiguous


def test_memory_is_used_again_when_all_views_are_gone():
    pool = BufferPool(2)
    array = pool.empty((100,), FLOAT)
    where, view = address(array), memoryview(array[10:20].reshape(2, 5))
    del array
    other = pool.empty((100,), FLOAT)
    assert address(other) != where
    del view
    assert address(pool.empty((100,), FLOAT)) == where
    kept = [pool.empty((100,), FLOAT) for _ in range(20)]
    assert len({address(each) for each in kept}) == 20


def test_larger_arrays_get_new_memory_and_smaller_ones_the_same():
    pool = BufferPool(1)
    where = address(pool.empty((100,), FLOAT))
    assert address(pool.empty((50, 2), FLOAT)) == where
    assert address(pool.empty((7,), np.dtype("u1"))) == where
    large = pool.empty((10_000,), FLOAT)
    large[:] = 1
    assert address(large) != where


def test_memory_outlives_the_pool_and_is_freed():
    gc.collect()
    before = allocated_bytes()
    for _ in range(10):
        pool = BufferPool(4)
        arrays = [pool.empty((1 << 18,), FLOAT) for _ in range(8)]
        del pool
        arrays[0][:] = 3
        assert float(arrays[0].sum()) == 3 * (1 << 18)
        del arrays
    assert allocated_bytes() - before < 1 << 20


def test_no_more_than_some_blocks_are_kept():
    pool = BufferPool(2)
    gc.collect()
    before = allocated_bytes()
    arrays = [pool.empty((1 << 18,), FLOAT) for _ in range(8)]
    del arrays
    assert allocated_bytes() - before < 3 << 20


def test_arrays_may_be_dropped_by_other_threads():
    pool, failures = BufferPool(3), []

    def work(number):
        for _ in range(2000):
            array = pool.empty((64,), FLOAT)
            array[:] = number
            if not (array == number).all():
                failures.append(number)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not failures


def test_memory_of_another_allocator():
    made = []

    def allocate(nbytes):
        made.append(np.zeros(nbytes + 64, "u1"))
        return made[-1], made[-1].ctypes.data

    pool = BufferPool(1, allocate)
    array = pool.empty((10,), FLOAT)
    array[:] = 5
    assert (made[0][:40].view(FLOAT) == 5).all()
    del array
    pool.empty((5,), FLOAT)
    assert len(made) == 1


def test_what_cannot_be_allocated_is_refused():
    pool = BufferPool(1)
    for shape in ((1 << 60,), (1 << 40, 1 << 40), (1 << 62, 8)):
        with pytest.raises(NumpackError, match="batch_size") as caught:
            pool.empty(shape, FLOAT)
        assert isinstance(caught.value, MemoryError)
    with pytest.raises(ValueError, match="object"):
        pool.empty((3,), np.dtype(object))
