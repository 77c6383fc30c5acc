"""The gather kernel compared with NumPy: cached and uncached files, bounds and threads."""

from __future__ import annotations

import ctypes
import mmap
import os
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from support.each import for_each

from numpack._core.mapped_files import map_file
from numpack.store.kernels.gather import gather_rows, take_rows

INT64 = np.iinfo(np.int64)
WIDTHS = [1, 2, 3, 4, 7, 8, 12, 16, 20, 24, 32, 40, 48, 63, 64, 65, 128, 512, 4095, 4096, 4097]


def gather(source: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Gather rows into memory between guard bytes, and check that these do not change."""
    width = source.dtype.itemsize * int(np.prod(source.shape[1:]))
    raw = np.full(rows.size * width + 128, 0xA5, np.uint8)
    inner = raw[64 : raw.size - 64]
    assert take_rows(source, width, len(source), rows, inner) == -1
    assert (raw[:64] == 0xA5).all()
    assert (raw[-64:] == 0xA5).all()
    return inner.view(source.dtype).reshape(rows.shape + source.shape[1:])


def matrix(count: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, width), np.uint8)


def random_rows(count: int, total: int, seed: int = 1) -> np.ndarray:
    return np.random.default_rng(seed).integers(-count, count, total)


def write_file(array: np.ndarray, name: str = "rows.bin") -> Path:
    with Path(name).open("wb") as file:
        array.tofile(file)
        file.flush()
        os.fsync(file.fileno())
    return Path(name)


def evict(path: Path) -> None:
    """Drop a file from the page cache, if the operating system and file system support it."""
    with path.open("rb") as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def resident_pages(array: np.ndarray) -> int:
    pages = (ctypes.c_ubyte * -(-array.nbytes // mmap.PAGESIZE))()
    address, nbytes = ctypes.c_void_p(array.ctypes.data), ctypes.c_size_t(array.nbytes)
    assert ctypes.CDLL(None).mincore(address, nbytes, pages) == 0
    return sum(page & 1 for page in pages)


@for_each("width", WIDTHS)
@for_each("total", [0, 1, 2, 31, 32, 33, 600])
def test_rows_agree_with_numpy(width, total):
    source = matrix(97, width)
    rows = random_rows(97, total)
    np.testing.assert_array_equal(gather(source, rows), source[rows])


@given(
    st.integers(1, 300),
    st.integers(1, 200),
    st.lists(st.floats(-1, 1, exclude_max=True), max_size=1200),
)
@example(1, 1, [-1.0])
def test_drawn_widths_and_rows_agree_with_numpy(count, width, places):
    source = matrix(count, width)
    rows = np.array([int(np.floor(place * count)) for place in places], np.int64)
    np.testing.assert_array_equal(gather(source, rows), source[rows])


@for_each("dtype", ["?", "<i2", "<f4", "<f8", "<c16", "S5", "<U3", "<M8[us]", "i1,f8", "V7"])
@for_each("shape", [(50,), (50, 3), (50, 2, 3)])
def test_dtypes_and_shapes(dtype, shape):
    source = np.zeros(shape, dtype)
    source.view(np.uint8)[...] = matrix(1, source.nbytes).reshape(*shape[:-1], -1) & 1
    rows = random_rows(50, 70)
    out = np.zeros((70, *shape[1:]), dtype)
    width = source.nbytes // 50
    assert take_rows(source.view(np.uint8), width, 50, rows, out.view(np.uint8)) == -1
    assert out.tobytes() == source[rows].tobytes()


def test_buffers_other_than_arrays():
    out = bytearray(6)
    assert take_rows(b"aabbcc", 2, 3, memoryview(np.array([2, 0, -2])), out) == -1
    assert out == b"ccaabb"


def test_duplicate_first_and_last_rows():
    source = matrix(5, 40)
    rows = np.array([4, 4, 4, -5, 0, -1, 4, -5])
    np.testing.assert_array_equal(gather(source, rows), source[rows])


def test_large_batch_is_split_among_threads():
    source = matrix(1000, 512)
    rows = random_rows(1000, 40_001)
    np.testing.assert_array_equal(gather(source, rows), source[rows])


@pytest.mark.parametrize("total", [0, 3])
def test_rows_of_zero_bytes(total):
    assert take_rows(b"", 0, 2, np.arange(total) - 2, bytearray()) == -1
    assert take_rows(b"", 0, 2, np.array([1, -2, 2]), bytearray()) == 2


def test_no_rows_of_an_empty_source():
    assert take_rows(b"", 8, 0, np.empty(0, np.int64), bytearray()) == -1


@for_each("width", [0, 4, 20, 4096])
@for_each("bad", [7, -8, INT64.max, INT64.min, INT64.max - 6, INT64.min + 7])
@for_each("at", [0, 1, 31, 32, 99])
def test_first_row_out_of_range_is_reported(width, bad, at):
    rows = random_rows(7, 100)
    rows[at] = bad
    rows[at + 1 :: 5] = bad
    assert take_rows(matrix(7, width), width, 7, rows, bytearray(100 * width)) == at


@for_each("at", [[0], [39_999], [10, 39_000], [19_999, 20_000], [25_000, 35_000]])
def test_first_row_out_of_range_among_threads_is_reported(at):
    rows = random_rows(9, 40_000)
    rows[at] = 9
    assert take_rows(matrix(9, 512), 512, 9, rows, np.empty(40_000 * 512, np.uint8)) == at[0]


@pytest.mark.parametrize("row", [0, -1])
def test_any_row_of_an_empty_source_is_out_of_range(row):
    assert take_rows(b"", 8, 0, np.array([row]), bytearray(8)) == 0


def test_out_of_range_row_of_an_uncached_file():
    path = write_file(matrix(64, 4096))
    evict(path)
    rows = np.array([3, INT64.max, INT64.min, 64, -65])
    out = bytearray(5 * 4096)
    assert take_rows(map_file(path, 64 * 4096), 4096, 64, rows, out) == 1


@for_each(
    ("width", "count", "nbytes"),
    [(8, 4, 16), (8, 3, 16), (16, 2, 16), (-8, 3, 16), (8, -3, 16), (2**62, 4, 16)],
)
def test_sizes_beyond_the_source_are_refused(width, count, nbytes):
    with pytest.raises(ValueError, match="the source has 23 bytes"):
        take_rows(bytes(23), width, count, np.array([0, 1]), bytearray(nbytes))


@for_each("nbytes", [0, 15, 17, 24])
def test_output_of_wrong_size_is_refused(nbytes):
    with pytest.raises(ValueError, match="the output has"):
        take_rows(bytes(24), 8, 3, np.array([0, 1]), bytearray(nbytes))


@for_each("dtype", ["<i4", "<u8", "<f8", ">i8", "?"])
def test_row_numbers_of_another_dtype_are_refused(dtype):
    with pytest.raises(ValueError, match="must be native int64"):
        take_rows(bytes(24), 8, 3, np.zeros(2, dtype), bytearray(16))


def test_unsuitable_buffers_are_refused():
    with pytest.raises(ValueError, match="contiguous"):
        take_rows(bytes(24), 8, 3, np.zeros(4, np.int64)[::2], bytearray(16))
    with pytest.raises((BufferError, TypeError)):
        take_rows(bytes(24), 8, 3, np.zeros(2, np.int64), bytes(16))
    with pytest.raises(TypeError):
        take_rows([1, 2, 3], 8, 3, np.zeros(2, np.int64), bytearray(16))


def test_refusal_releases_the_buffers():
    out = bytearray(1)
    with pytest.raises(ValueError):
        take_rows(bytes(24), 8, 3, np.zeros(2, np.int64), out)
    out.extend(bytes(15))  # a BufferError if the buffer were still exported
    assert take_rows(bytes(24), 8, 3, np.zeros(2, np.int64), out) == -1
    out.clear()


@for_each("width", [1, 40, 512, 4096, 10_000, 300_000])
def test_uncached_file(width):
    source = matrix(6_000_000 // width, width)
    path = write_file(source)
    evict(path)
    mapped = map_file(path, source.nbytes).reshape(source.shape)
    rows = random_rows(len(source), min(3000, len(source) * 2))
    np.testing.assert_array_equal(gather(mapped, rows), source[rows])


def test_partly_cached_file():
    source = matrix(16_000, 512)
    path = write_file(source)
    evict(path)
    mapped = map_file(path, source.nbytes).reshape(source.shape)
    mapped[:4000].sum()
    rows = np.concatenate([random_rows(4000, 2000) % 4000, random_rows(16_000, 6000)])
    np.testing.assert_array_equal(gather(mapped, rows), source[rows])


def test_only_the_needed_pages_of_an_uncached_file_are_read():
    source = matrix(4096, 4096)
    path = write_file(source)
    evict(path)
    mapped = map_file(path, source.nbytes).reshape(source.shape)
    before = resident_pages(mapped)
    rows = np.arange(0, 4096, 64)
    np.testing.assert_array_equal(gather(mapped, rows), source[rows])
    assert resident_pages(mapped) <= before + rows.size * 2


def test_concurrent_calls():
    source = matrix(3000, 1000)
    mapped = map_file(write_file(source), source.nbytes).reshape(source.shape)

    def equal(seed: int) -> bool:
        rows = random_rows(3000, 5000, seed)
        return np.array_equal(gather(mapped, rows), source[rows])

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(equal, range(24)))


def test_gil_is_released():
    """Other threads run although none is preempted, so the call has released the GIL."""
    source, rows = matrix(4096, 64), random_rows(4096, 500_000)
    out = np.zeros(rows.size * 64, np.uint8)

    def seen_halfway() -> bool:
        events = []

        def work() -> None:
            events.append("begun")
            take_rows(source, 64, 4096, rows, out)
            events.append("done")

        thread = threading.Thread(target=work)
        thread.start()
        seen = list(events)
        thread.join()
        return seen == ["begun"]

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)
    try:
        assert any(seen_halfway() for _ in range(50))
    finally:
        sys.setswitchinterval(interval)


def test_after_a_fork(run_python):
    out = run_python(
        """
import os
import numpy as np
from numpack.store.kernels.gather import gather_rows, take_rows

source = np.random.default_rng(0).integers(0, 256, (4096, 512), np.uint8)
rows = np.random.default_rng(1).integers(-4096, 4096, 40_000)

def right():
    out = np.empty((rows.size, 512), np.uint8)
    return take_rows(source, 512, 4096, rows, out) == -1 and np.array_equal(out, source[rows])

assert right()
child = os.fork()
if child == 0:
    os._exit(0 if right() else 1)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), right())
"""
    )
    assert out.split() == ["0", "True"]


@for_each("dtype", ["?", "i1", "u2", "<f4", "<f8", "<c16", "<M8[s]", "S5", "U3", "f2"])
@for_each("shape", [(7,), (7, 3), (7, 2, 5), (1, 1)])
def test_gathered_rows_agree_with_numpy(dtype, shape):
    source = np.arange(np.prod(shape)).reshape(shape).astype("i8").astype(dtype)
    rows = np.random.default_rng(0).integers(-shape[0], shape[0], 50)
    found = gather_rows(source, rows)
    assert found.dtype == source.dtype
    assert np.array_equal(found, source[rows])
    assert found.flags.writeable
    assert found.flags.c_contiguous
    assert found.ctypes.data % 64 == 0
    assert not np.shares_memory(found, source)


def test_other_ways_of_selecting_rows_are_declined():
    source, rows = np.arange(12.0).reshape(4, 3), np.array([1, 2])
    assert gather_rows(source, rows) is not None
    others = [
        [1, 2],
        1,
        slice(2),
        None,
        rows.astype("i4"),
        rows.astype("u8"),
        rows.astype(">i8"),
        rows.astype("f8"),
        rows > 1,
        rows[:, None],
        np.array(1),
        np.array([4]),
        np.array([-5]),
        np.array([], np.int64),
        np.arange(6)[::2],
        rows.view(np.matrix),
        np.frombuffer(bytes(17), np.uint8)[1:].view(np.int64),
    ]
    for other in others:
        assert gather_rows(source, other) is None, other
    sources = [
        source[::2],
        source.T,
        np.array(1.0),
        source.astype(">f8"),
        np.zeros((4, 0)),
        np.zeros((0, 3)),
        np.zeros(4, "i4,f4"),
        np.array([object()] * 4),
        np.ma.array([1.0, 2, 3, 4]),
        np.zeros(4, "V3"),
        "abcd",
        None,
    ]
    for other in sources:
        assert gather_rows(other, rows) is None, other
