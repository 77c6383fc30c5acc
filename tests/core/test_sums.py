"""Checksum kernels, checksummed writes and reads, and replacing rows in place."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpack.store.fs.syscalls import has_changed
from numpack.store.kernels import checksums
from numpack.store.kernels.checksums import (
    BLOCK,
    checksum_blocks,
    crc32,
    read_into,
    write_checksummed,
)
from numpack.store.kernels.patch import pwrite_rows, scatter, update_checksums

NOISE = np.random.default_rng(7).integers(0, 256, 7 * BLOCK + 12345, np.uint8)
U32 = st.integers(0, 2**32 - 1)

# Sizes around the boundaries of the algorithm: folding widths, words, blocks.
EDGES = sorted({edge + d for edge in (0, 8, 16, 64, 128, 256, 512, BLOCK) for d in (-1, 0, 1)})
SIZES = [size for size in EDGES if size >= 0]


def expected(content):
    """Return the checksums of the blocks of a file, and that of its last, partial block."""
    content = memoryview(content).cast("B")
    whole = len(content) // BLOCK * BLOCK
    sums = [zlib.crc32(content[i : i + BLOCK]) for i in range(0, whole, BLOCK)]
    return np.array(sums, "<u4").tobytes(), zlib.crc32(content[whole:])


def all_sums(content):
    blocks, rest = expected(content)
    tail = [rest] if len(content) % BLOCK else []
    return np.concatenate([np.frombuffer(blocks, "<u4"), np.array(tail, "<u4")])


@pytest.fixture
def open_temporary():
    """Open files in the folder of the test; they are closed at its end."""
    descriptors = []

    def open_file(content=b"", flags=os.O_RDWR, path="data.bin"):
        with open(path, "wb") as file:
            file.write(content)
        descriptors.append(os.open(path, flags))
        return descriptors[-1]

    yield open_file
    for descriptor in descriptors:
        os.close(descriptor)


def content(path="data.bin"):
    with open(path, "rb") as file:
        return file.read()


@contextlib.contextmanager
def raises(code):
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == code
    assert os.strerror(code) in str(caught.value)


# Checksums --------------------------------------------------------------------------------


@pytest.mark.parametrize("sum_", [crc32, checksums._portable_crc32])
class TestCrc32:
    def test_known_value(self, sum_):
        assert sum_(b"123456789") == 0xCBF43926
        assert sum_(b"") == 0

    @pytest.mark.parametrize("size", SIZES)
    def test_agrees_with_zlib(self, sum_, size):
        for shift in (0, 1, 3, 8, 63):
            data = NOISE[shift : shift + size]
            assert sum_(data) == zlib.crc32(data)
            assert sum_(data, 0xDEADBEEF) == zlib.crc32(data, 0xDEADBEEF)

    @given(st.integers(0, 5000), st.integers(0, 200), U32)
    def test_agrees_with_zlib_for_drawn_data(self, sum_, size, shift, start):
        data = NOISE[shift : shift + size]
        assert sum_(data, start) == zlib.crc32(data, start)

    @given(st.binary(max_size=600), st.binary(max_size=600))
    def test_continues_a_checksum(self, sum_, first, second):
        assert sum_(second, sum_(first)) == zlib.crc32(first + second)

    def test_accepts_any_contiguous_buffer(self, sum_):
        table = np.arange(30.0).reshape(5, 6)
        for data in (table, memoryview(table), bytearray(b"abc"), np.float32(3)):
            assert sum_(data) == zlib.crc32(data)
        with pytest.raises((ValueError, BufferError)):
            sum_(table[:, ::2])
        with pytest.raises(TypeError):
            sum_("text")


@pytest.mark.parametrize("start", [-1, 2**32 + 5, 2**80])
def test_start_is_truncated_to_32_bits(start):
    assert crc32(b"abc", start) == zlib.crc32(b"abc", start)


@pytest.mark.parametrize("threads", [1, 2, 3, 100])
@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, len(NOISE)])
def test_checksum_blocks(size, threads):
    assert checksum_blocks(NOISE[:size], threads) == expected(NOISE[:size])


def test_fewer_than_one_thread_is_refused(open_temporary):
    with pytest.raises(ValueError, match="at least one thread; got 0"):
        checksum_blocks(b"", 0)
    with pytest.raises(ValueError, match="at least one thread; got -1"):
        read_into(open_temporary(), bytearray(1), 0, -1)


# Writing ----------------------------------------------------------------------------------

WRITES = [0, 1, 4000, 300_000, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 5 * BLOCK + 77]


@pytest.mark.parametrize("size", WRITES)
@pytest.mark.parametrize("before", [0, 1, 4096, BLOCK - 1, BLOCK, BLOCK + 5000])
def test_write_checksummed_continues_a_file(open_temporary, before, size):
    file = open_temporary()
    first, tail = write_checksummed(file, NOISE[:before], 0, 0)
    second, rest = write_checksummed(file, NOISE[before : before + size], before, tail)
    assert content() == NOISE[: before + size].tobytes()
    assert (first + second, rest) == expected(NOISE[: before + size])


def test_write_checksummed_of_short_pieces(open_temporary):
    file, end, tail = open_temporary(), 0, 0
    for size in (*range(1, 130), *range(200, 330), 511, 512, 513, 1000):
        part = NOISE[size % 17 : size % 17 + size]  # of any alignment
        _, tail = write_checksummed(file, part, end, tail)
        end += size
        assert content()[-size:] == part.tobytes()
        assert tail == zlib.crc32(content())


@given(st.lists(st.integers(0, BLOCK + BLOCK // 2), max_size=6))
def test_write_checksummed_of_drawn_pieces(sizes):
    file = os.open("pieces.bin", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    blocks, tail, offset = b"", 0, 0
    for size in sizes:
        done, tail = write_checksummed(file, NOISE[offset : offset + size], offset, tail)
        blocks += done
        offset = min(offset + size, len(NOISE))
    os.close(file)
    assert content("pieces.bin") == NOISE[:offset].tobytes()
    assert (blocks, tail) == expected(NOISE[:offset])


def test_write_checksummed_keeps_the_rest_of_the_file(open_temporary):
    file = open_temporary(NOISE[: 4 * BLOCK].tobytes())
    write_checksummed(file, bytes(3 * BLOCK), 100, 0)
    assert content() == b"".join(
        [NOISE[:100].tobytes(), bytes(3 * BLOCK), NOISE[3 * BLOCK + 100 : 4 * BLOCK].tobytes()]
    )


@pytest.mark.parametrize("size", [10, 300_000, 3 * BLOCK])
def test_failing_write_raises_oserror(open_temporary, size):
    full = os.open("/dev/full", os.O_WRONLY) if os.path.exists("/dev/full") else None
    if full is not None:
        with raises(errno.ENOSPC):
            write_checksummed(full, bytes(size), 0, 0)
        os.close(full)
    with raises(errno.EBADF):
        write_checksummed(open_temporary(b"as it was", os.O_RDONLY), bytes(size), 0, 0)
    assert content() == b"as it was"
    closed = os.dup(open_temporary())
    os.close(closed)
    with raises(errno.EBADF):
        write_checksummed(closed, bytes(size), 0, 0)


@pytest.fixture
def file_size_limit():
    """Limit the size of files to three blocks."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (3 * BLOCK, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_write_that_fails_midway_raises_oserror(open_temporary, file_size_limit):
    file = open_temporary()
    with raises(errno.EFBIG):
        write_checksummed(file, NOISE[: 4 * BLOCK], 0, 0)
    assert content() == NOISE[: 3 * BLOCK].tobytes()
    with raises(errno.EFBIG):
        pwrite_rows(file, np.array([0, 3 * BLOCK, 1]), 1, b"abc")
    assert content()[:3] == b"a" + NOISE[1:3].tobytes()


def test_write_checksummed_refuses_invalid_arguments(open_temporary):
    file = open_temporary(b"as it was")
    for offset in (-1, 2**63 - 1):
        with pytest.raises(ValueError, match="no file can have 2 bytes at offset"):
            write_checksummed(file, b"ab", offset, 0)
    with pytest.raises(ValueError, match="is the start of a block"):
        write_checksummed(file, b"ab", BLOCK, 5)
    with pytest.raises(OverflowError):
        write_checksummed(file, b"ab", 0, -1)
    assert content() == b"as it was"


# Reading ----------------------------------------------------------------------------------


@pytest.mark.parametrize("threads", [1, 2, 3, 16, 50])
@pytest.mark.parametrize("offset", [0, 1, 4096, 2 * BLOCK + 3])
@pytest.mark.parametrize("size", [0, 1, 5000, 2 * BLOCK, 4 * BLOCK + 999])
def test_read_into_fills_the_buffer(open_temporary, size, offset, threads):
    file = open_temporary(NOISE.tobytes())
    memory = np.zeros(size + 2, np.uint8)
    assert read_into(file, memory[1:-1], offset, threads) == size
    assert np.array_equal(memory[1:-1], NOISE[offset : offset + size])
    assert memory[0] == 0
    assert memory[-1] == 0


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("size_in_file", [0, 1, BLOCK, 3 * BLOCK + 5, 6 * BLOCK - 1])
def test_read_into_returns_the_number_of_bytes_read(open_temporary, size_in_file, threads):
    file = open_temporary(NOISE[:size_in_file].tobytes())
    memory = np.zeros(6 * BLOCK, np.uint8)
    assert read_into(file, memory, 0, threads) == size_in_file
    assert np.array_equal(memory[:size_in_file], NOISE[:size_in_file])
    assert read_into(file, memory, size_in_file + 10, threads) == 0


def test_failing_read_raises_oserror(open_temporary):
    for size in (10, 5 * BLOCK):
        with raises(errno.EBADF):
            read_into(open_temporary(b"abc", os.O_WRONLY), bytearray(size), 0, 2)
        with raises(errno.EISDIR):
            folder = os.open(".", os.O_RDONLY)
            try:
                read_into(folder, bytearray(size), 0, 2)
            finally:
                os.close(folder)


def test_read_into_refuses_invalid_arguments(open_temporary):
    file = open_temporary(b"abc")
    with pytest.raises(ValueError, match="at offset -1"):
        read_into(file, bytearray(2), -1, 1)
    with pytest.raises((BufferError, ValueError)):
        read_into(file, b"read-only", 0, 1)


# Replacing rows ---------------------------------------------------------------------------


@st.composite
def replacements(draw, most=3 * BLOCK):
    """Draw the content of a file, and new bytes for some of its rows."""
    near = st.builds(lambda edge, d: max(1, edge + d), st.sampled_from([1, 40, 4096]), U32)
    width = draw(st.one_of(st.integers(1, 100), near.map(lambda n: n % (2 * BLOCK) + 1)))
    count = draw(st.integers(1, max(1, most // width)))
    chosen = draw(st.lists(st.integers(0, count - 1), unique=True, max_size=20))
    if draw(st.booleans()):  # add a run of rows
        chosen.sort()
        first = draw(st.integers(0, count - 1))
        chosen += [row for row in range(first, min(count, first + 50)) if row not in chosen]
    seed = draw(U32)
    fresh = np.random.default_rng(seed).integers(0, 256, (len(chosen), width), np.uint8)
    base = np.resize(NOISE, (count, width))
    return base, np.array(chosen, np.int64), fresh


def replaced(base, rows, fresh):
    after = base.copy()
    after[rows] = fresh
    return after


def check_patch(base, rows, fresh):
    sums = all_sums(base.reshape(-1))
    update_checksums(sums, base, rows, fresh.shape[1], fresh)
    assert np.array_equal(sums, all_sums(replaced(base, rows, fresh).reshape(-1)))


class TestRows:
    @given(replacements())
    def test_update_checksums_agrees_with_recomputing(self, replacement):
        check_patch(*replacement)

    @given(replacements())
    def test_scatter_and_pwrite_rows_agree_with_numpy(self, replacement):
        base, rows, fresh = replacement
        after = replaced(base, rows, fresh)
        target = base.copy()
        scatter(target, rows, fresh.shape[1], fresh)
        assert np.array_equal(target, after)
        base.tofile("rows.bin")
        file = os.open("rows.bin", os.O_WRONLY)
        pwrite_rows(file, rows, fresh.shape[1], fresh)
        os.close(file)
        assert content("rows.bin") == after.tobytes()

    @pytest.mark.parametrize("width", [BLOCK, BLOCK + 1, 2 * BLOCK + 500, 3 * BLOCK])
    def test_rows_of_several_blocks(self, width):
        base = np.resize(NOISE, (4, width))
        fresh = base[:2] ^ 0x5A
        check_patch(base, np.array([2, 0]), fresh)
        check_patch(base, np.array([1, 2]), fresh)

    @pytest.mark.parametrize("row", [26214, 26213, 26215, 0, 52428])
    def test_rows_at_the_edge_of_a_block(self, row):  # row 26214 of 40 bytes lies in two blocks
        base = np.resize(NOISE, (2 * BLOCK // 40, 40))
        check_patch(base, np.array([min(row, len(base) - 1)]), ~base[:1])

    def test_no_rows(self, open_temporary):
        none = np.empty((0, 40), np.uint8)
        check_patch(np.resize(NOISE, (100, 40)), np.empty(0, np.int64), none)
        scatter(bytearray(), none, 40, none)
        pwrite_rows(open_temporary(b"abc"), none, 40, none)
        assert content() == b"abc"

    def test_unaligned_row_numbers(self):
        base = np.resize(NOISE, (100, 10))
        numbers = np.frombuffer(b"x" + np.array([3, 99, 4]).tobytes(), np.uint8)[1:]
        fresh = np.arange(30, dtype=np.uint8).reshape(3, 10)
        target = base.copy()
        scatter(target, numbers, 10, fresh)
        assert np.array_equal(target, replaced(base, [3, 99, 4], fresh))

    @pytest.mark.parametrize("row", [-1, 10, 2**62, -(2**63)])
    @pytest.mark.parametrize("others", [[], [3, 4]])
    def test_rows_out_of_range_change_nothing(self, open_temporary, row, others):
        base = np.resize(NOISE, (10, 8))
        rows = np.array([*others, row], np.int64)
        fresh = np.zeros((len(rows), 8), np.uint8)
        sums, target = all_sums(base.reshape(-1)), base.copy()
        with pytest.raises(IndexError, match=f"row {row} is out of range for 10 rows"):
            update_checksums(sums, base, rows, 8, fresh)
        with pytest.raises(IndexError, match=f"row {row} is out of range for 10 rows"):
            scatter(target, rows, 8, fresh)
        assert np.array_equal(sums, all_sums(base.reshape(-1)))
        assert np.array_equal(target, base)
        if row != 10:  # a file may be longer than 10 rows
            with pytest.raises(IndexError, match=f"row {row} is out of range"):
                pwrite_rows(open_temporary(b"abc"), rows, 8, fresh)
            assert content() == b"abc"

    def test_buffers_of_wrong_size_are_refused(self):
        base, rows = np.zeros((10, 8), np.uint8), np.array([1, 2])
        sums = all_sums(base.reshape(-1))
        for width, fresh in (
            (8, bytes(15)),
            (8, bytes(24)),
            (7, bytes(16)),
            (2**62, bytes(16)),
        ):
            with pytest.raises(ValueError, match="need as many new bytes"):
                update_checksums(sums, base, rows, width, fresh)
            with pytest.raises(ValueError, match="need as many new bytes"):
                scatter(base, rows, width, fresh)
        for width in (0, -8):
            with pytest.raises(ValueError, match="at least one byte"):
                scatter(base, rows, width, bytes(16))
        with pytest.raises(ValueError, match="8 bytes each"):
            scatter(base, np.zeros(3, np.int32), 8, bytes(16))
        for wrong in (np.zeros(0, np.uint32), np.zeros(2, np.uint32), bytearray(3)):
            with pytest.raises(ValueError, match="1 blocks have 4 bytes of checksums"):
                update_checksums(wrong, base, rows, 8, bytes(16))
        with pytest.raises((BufferError, ValueError)):
            scatter(bytes(80), rows, 8, bytes(16))

    def test_failing_write_raises_oserror(self, open_temporary):
        with raises(errno.EBADF):
            pwrite_rows(open_temporary(b"abc", os.O_RDONLY), np.array([0]), 1, b"x")
        assert content() == b"abc"


# Changed files, threads and forks ---------------------------------------------------------


def test_has_changed(open_temporary):
    file = open_temporary(b"12345")
    assert has_changed(file, 5) is False
    assert has_changed(file, 4) is True
    assert has_changed(file, -1) is True
    os.link("data.bin", "other.bin")
    assert has_changed(file, 5) is True
    os.unlink("other.bin")
    assert has_changed(file, 5) is False
    os.unlink("data.bin")
    assert has_changed(file, 5) is True
    with raises(errno.EBADF):
        has_changed(-1, 5)


def round_trip(path):
    """Write, read and sum with several threads; return the exit status of a process."""
    data = NOISE[: 5 * BLOCK + 9]
    file = os.open(path, os.O_RDWR | os.O_CREAT)
    memory = np.empty_like(data)
    written = write_checksummed(file, data, 0, 0)
    read = read_into(file, memory, 0, 3)
    os.close(file)
    return int(
        read != len(data) or written != expected(data) or checksum_blocks(memory, 3) != written
    )


def test_threads_and_forked_children():
    failed = []

    def work(i):
        failed.append(round_trip(f"thread{i}.bin"))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [0] * 4

    child = os.fork()
    if child == 0:
        os._exit(round_trip("child.bin"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
