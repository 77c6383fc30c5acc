"""Records of staged rows, also from an untrusted source, and what the writes have covered."""

from __future__ import annotations

import itertools
import random
import zlib

import numpy as np
import pytest
from support.each import for_each

from numpack.store.format.dtype_codes import InvalidRecordError
from numpack.store.format.log.lines import encode
from numpack.store.format.staged import coverage, records
from numpack.store.format.staged.records import Write, begun, done, parse
from numpack.store.kernels.checksums import BLOCK, combine_crc32

A, B = "0123456789abcdef", "fedcba9876543210"


def test_records_are_read_as_they_were_written():
    content = begun(A, 0, 7) + begun(B, 7, 10) + done(B, 5, 2**32 - 1)
    assert parse(content, 10) == [Write(0, 7, 0), Write(7, 10, 1, 2, 5, 2**32 - 1)]
    assert parse(b"", 10) == []


def test_incomplete_record_is_ignored_wherever_it_is():
    whole = begun(A, 0, 7) + done(A, 1, 2)
    for torn in (begun(B, 7, 10), done(B, 0, 0)):
        for length in range(len(torn) - 2):
            assert parse(whole + torn[:length], 10) == parse(whole, 10)
            assert parse(torn[:length] + whole, 10) == parse(whole, 10)


INVALID = {
    "rows beyond the array": {"begin": A, "rows": [3, 11]},
    "no rows": {"begin": A, "rows": [3, 3]},
    "negative rows": {"begin": A, "rows": [-1, 3]},
    "huge rows": {"begin": A, "rows": [0, 2**70]},
    "booleans": {"begin": A, "rows": [False, True]},
    "floats": {"begin": A, "rows": [0.0, 1.0]},
    "three rows": {"begin": A, "rows": [0, 1, 2]},
    "no list": {"begin": A, "rows": 3},
    "no identifier": {"begin": 7, "rows": [0, 1]},
    "a long identifier": {"begin": A * 2, "rows": [0, 1]},
    "another member": {"begin": A, "rows": [0, 1], "more": 1},
    "a missing member": {"begin": A},
    "a repeated write": {"begin": B, "rows": [0, 1]},
    "the end of an unknown write": {"done": A, "head": 0, "tail": 0},
    "a negative checksum": {"done": B, "head": -1, "tail": 0},
    "a large checksum": {"done": B, "head": 0, "tail": 2**32},
    "a checksum that is no integer": {"done": B, "head": 0, "tail": 1.0},
    "both": {"begin": A, "done": B},
    "neither": {"x": 1},
}


@for_each("name", INVALID)
def test_invalid_record_is_damage(name):
    with pytest.raises(InvalidRecordError):
        parse(begun(B, 0, 1) + encode(INVALID[name]), 10)


def test_record_that_is_no_object_is_damage():
    for text in (b"[1", b"1", b'"x"'):
        body = text + b',"crc32":"%08x"}' % zlib.crc32(text)
        with pytest.raises((InvalidRecordError, ValueError)):
            parse(body, 10)


def test_second_end_of_a_write_is_damage():
    with pytest.raises(InvalidRecordError, match="not in progress"):
        parse(begun(A, 0, 1) + done(A, 0, 0) * 2, 10)


def test_arbitrary_bytes_never_claim_rows_that_the_array_lacks():
    dice = random.Random(3)
    whole = begun(A, 0, 7) + done(A, 1, 2) + begun(B, 7, 10) + done(B, 0, 0)
    for _ in range(2000):
        content = bytearray(whole)
        for _ in range(dice.choice([1, 1, 3])):
            at = dice.randrange(len(content))
            match dice.randrange(3):
                case 0:
                    content[at] = dice.randrange(256)
                case 1:
                    del content[at : at + dice.randrange(40)]
                case _:
                    content[at:at] = content[: dice.randrange(90)]
        try:
            writes = parse(bytes(content), 10)
        except InvalidRecordError:
            continue
        for write in writes:
            assert 0 <= write.first < write.stop <= 10
            assert 0 <= write.head < 2**32
            assert 0 <= write.tail < 2**32


# Rows that are covered


def finished(first: int, stop: int, begun: int, done: int) -> Write:
    return Write(first, stop, begun, done)


def test_missing_rows_are_those_of_no_finished_write():
    assert coverage.missing_rows([], 5) == [(0, 5)]
    assert coverage.missing_rows([], 0) == []
    writes = [finished(2, 4, 0, 1), finished(3, 6, 2, 3), Write(8, 9, 4)]
    assert coverage.missing_rows(writes, 10) == [(0, 2), (6, 10)]
    assert coverage.missing_rows([*writes, finished(0, 10, 5, 6)], 10) == []


def test_rows_of_a_write_that_did_not_finish_have_to_be_written_after_it_began():
    before, broken, after = finished(0, 10, 0, 1), Write(3, 5, 2), finished(4, 10, 3, 4)
    assert coverage.missing_rows([before, broken], 10) == [(3, 5)]
    assert coverage.missing_rows([before, broken, after], 10) == [(3, 4)]
    assert coverage.missing_rows([before, broken, finished(3, 5, 3, 4)], 10) == []


def test_missing_rows_are_those_that_a_model_finds():
    dice = random.Random(5)
    for _ in range(500):
        rows = dice.randrange(1, 12)
        model, writes = np.zeros(rows, bool), []
        for number in range(dice.randrange(6)):
            first = dice.randrange(rows)
            stop = dice.randrange(first + 1, rows + 1)
            is_finished = dice.random() < 0.8
            model[first:stop] = is_finished  # one after the other
            writes.append(Write(first, stop, 2 * number, 2 * number + 1 if is_finished else -1))
        missing = coverage.missing_rows(writes, rows)
        listed = [row for first, stop in missing for row in range(first, stop)]
        assert listed == np.flatnonzero(~model).tolist()


# Checksums


def test_combined_checksum_is_that_of_the_whole():
    dice = random.Random(1)
    data = dice.randbytes(BLOCK)
    for _ in range(50):
        cut = dice.randrange(1, BLOCK)
        parts = zlib.crc32(data[:cut]), zlib.crc32(data[cut:])
        assert combine_crc32(*parts, BLOCK - cut) == zlib.crc32(data)
    assert combine_crc32(0, 5, 3) == 5
    for length in (-1, BLOCK):
        with pytest.raises(ValueError, match="less than"):
            combine_crc32(1, 2, length)


def test_parts_of_blocks_have_the_checksums_of_writes():
    dice = random.Random(2)
    for width in (1, 1000, BLOCK // 3, BLOCK, 3 * BLOCK + 5):
        rows = max(2, 4 * BLOCK // width)
        cuts = sorted({0, rows, *(dice.randrange(rows) for _ in range(5))})
        data = dice.randbytes(rows * width)
        writes = []
        for number, (first, stop) in enumerate(itertools.pairwise(cuts)):
            start, end = first * width, stop * width
            boundary = min(-(-start // BLOCK) * BLOCK, end)
            reaches = start % BLOCK and end >= -(-start // BLOCK) * BLOCK
            head = zlib.crc32(data[start:boundary]) if reaches else 0
            tail = zlib.crc32(data[max(start, end // BLOCK * BLOCK) : end])
            writes.append(Write(first, stop, 2 * number, 2 * number + 1, head, tail))
        assert not coverage.blocks_written_twice(writes, width)
        for block, parts in coverage.parts_of_blocks(writes, width).items():
            expected = zlib.crc32(data[block * BLOCK : (block + 1) * BLOCK])
            assert coverage.combined(parts) == expected


def test_blocks_written_twice_are_all_that_share_bytes():
    dice = random.Random(4)
    for _ in range(300):
        width = dice.choice([1, BLOCK // 2, BLOCK // 3 + 1, BLOCK, 2 * BLOCK + 1])
        rows = 9
        counts = np.zeros(rows, int)
        writes = []
        for number in range(dice.randrange(5)):
            first = dice.randrange(rows)
            stop = dice.randrange(first + 1, rows + 1)
            counts[first:stop] += 1
            writes.append(Write(first, stop, number))
        shared = np.flatnonzero(counts > 1)
        expected = {
            block
            for row in shared.tolist()
            for block in range(row * width // BLOCK, ((row + 1) * width - 1) // BLOCK + 1)
        }
        assert coverage.blocks_written_twice(writes, width) == expected


def test_records_have_a_limit():
    assert records.LIMIT < 2**31
