"""Checksums, and checksummed writes and reads."""

from __future__ import annotations

import errno
import os
import resource
import threading
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.each import for_each
from support.files import content, raises

from numpack.store.kernels import checksums
from numpack.store.kernels.checksums import (
    BLOCK,
    checksum_blocks,
    crc32,
    read_into,
    write_checksummed,
)
from numpack.store.kernels.patch import pwrite_rows

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


@pytest.mark.parametrize("sum_", [crc32, checksums._portable_crc32])
class TestCrc32:
    def test_known_value(self, sum_):
        assert sum_(b"123456789") == 0xCBF43926
        assert sum_(b"") == 0

    @for_each("size", SIZES)
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


@for_each("threads", [1, 2, 3, 100])
@for_each("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK, len(NOISE)])
def test_checksum_blocks(size, threads):
    assert checksum_blocks(NOISE[:size], threads) == expected(NOISE[:size])


def test_fewer_than_one_thread_is_refused(open_temporary):
    with pytest.raises(ValueError, match="at least one thread; got 0"):
        checksum_blocks(b"", 0)
    with pytest.raises(ValueError, match="at least one thread; got -1"):
        read_into(open_temporary(), bytearray(1), 0, -1)


WRITES = [0, 1, 4000, 300_000, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 5 * BLOCK + 77]


@for_each("size", WRITES)
@for_each("before", [0, 1, 4096, BLOCK - 1, BLOCK, BLOCK + 5000])
def test_write_checksummed_continues_a_file(open_temporary, before, size):
    file = open_temporary()
    first, tail = write_checksummed(file, NOISE[:before], 0, 0)
    second, rest = write_checksummed(file, NOISE[before : before + size], before, tail)
    assert content() == NOISE[: before + size].tobytes()
    assert (first + second, rest) == expected(NOISE[: before + size])


def test_write_checksummed_of_large_files(open_temporary):
    """From 64 MiB on, pieces have two blocks and end at multiples of their size in the file."""
    large = 64 * BLOCK
    for before in (large - 4 * BLOCK, large - BLOCK, large, large + 1, large + 3 * BLOCK - 1):
        for size in (1, BLOCK, 2 * BLOCK, 5 * BLOCK + 7):
            descriptor = open_temporary()
            os.ftruncate(descriptor, before)  # a hole
            head = bytes(before % BLOCK)
            blocks, tail = write_checksummed(descriptor, NOISE[:size], before, zlib.crc32(head))
            assert (blocks, tail) == expected(head + NOISE[:size].tobytes())
            assert os.pread(descriptor, size + 1, before) == NOISE[:size].tobytes()


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


@for_each("threads", [1, 2, 3, 16, 50])
@for_each("offset", [0, 1, 4096, 2 * BLOCK + 3])
@for_each("size", [0, 1, 5000, 2 * BLOCK, 4 * BLOCK + 999])
def test_read_into_fills_the_buffer(open_temporary, size, offset, threads):
    file = open_temporary(NOISE.tobytes())
    memory = np.zeros(size + 2, np.uint8)
    assert read_into(file, memory[1:-1], offset, threads) == size
    assert np.array_equal(memory[1:-1], NOISE[offset : offset + size])
    assert memory[0] == 0
    assert memory[-1] == 0


@for_each("threads", [1, 2, 4])
@for_each("size_in_file", [0, 1, BLOCK, 3 * BLOCK + 5, 6 * BLOCK - 1])
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
