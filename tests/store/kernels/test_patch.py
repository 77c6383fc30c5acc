"""Replacing rows in place, and the checksums of the blocks around them."""

from __future__ import annotations

import errno
import mmap
import os
import resource
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.each import for_each
from support.files import content, raises

from numpack.store.kernels.checksums import BLOCK
from numpack.store.kernels.patch import pwrite_rows, scatter, touch, update_checksums

NOISE = np.random.default_rng(7).integers(0, 256, 7 * BLOCK + 12345, np.uint8)
U32 = st.integers(0, 2**32 - 1)


# Sizes around the boundaries of the algorithm: folding widths, words, blocks.


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

    @for_each("width", [BLOCK, BLOCK + 1, 2 * BLOCK + 500, 3 * BLOCK])
    def test_rows_of_several_blocks(self, width):
        base = np.resize(NOISE, (4, width))
        fresh = base[:2] ^ 0x5A
        check_patch(base, np.array([2, 0]), fresh)
        check_patch(base, np.array([1, 2]), fresh)

    @for_each("row", [26214, 26213, 26215, 0, 52428])
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

    @for_each("row", [-1, 10, 2**62, -(2**63)])
    @for_each("others", [[], [3, 4]])
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


@for_each("width", [1, 40, 4096, 10_000])
def test_touch_causes_the_page_faults_of_scatter_and_changes_nothing(open_temporary, width):
    noise = np.random.default_rng(1).integers(0, 3, 4 << 20, np.uint8)
    file = open_temporary()
    for start in range(0, len(noise), 4096):  # so that the page cache has small folios
        os.pwrite(file, noise[start : start + 4096], start)
    memory = np.frombuffer(mmap.mmap(file, len(noise)), np.uint8)
    rows = np.arange(1, len(noise) // width, max(1, 8192 // width))
    fresh = np.ones(len(rows) * width, np.uint8)
    touch(memory, rows, width, fresh)
    assert np.array_equal(memory, noise)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    scatter(memory, rows, width, fresh)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before < len(rows) // 8
    assert (memory[rows * width] == 1).all()


def test_touch_refuses_rows_that_are_out_of_range():
    for row in (-1, 10):
        with pytest.raises(IndexError, match=f"row {row} is out of range for 10 rows"):
            touch(bytearray(80), np.array([row]), 8, bytes(8))
