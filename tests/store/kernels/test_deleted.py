"""The kernels of the deleted-row list, compared with NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.each import for_each

from numpack import NumPack
from numpack.store.kernels.checksums import crc32
from numpack.store.kernels.deleted import (
    live_span,
    map_live_to_stored,
    merge_deleted,
    row_numbers,
    stored_number,
    stored_rows,
)

COUNT = 60
Numbers = st.lists(st.integers(0, COUNT - 1), unique=True).map(sorted)


def live_to_stored(dropped: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    stored = np.full(len(numbers), -9)
    map_live_to_stored(dropped, numbers, stored)
    return stored


def merge(dropped: np.ndarray, numbers: np.ndarray, count: int):
    stored, all_of_them = np.full(len(numbers), -9), np.full(len(dropped) + len(numbers), -9)
    merge_deleted(dropped, numbers, count - len(dropped), stored, all_of_them)
    return stored, all_of_them


@given(Numbers, st.lists(st.integers(0, COUNT - 1)))
def test_map_live_to_stored_agrees_with_numpy(dropped, numbers):
    kept = np.delete(np.arange(3 * COUNT), dropped)
    numbers = np.array(numbers, np.int64)
    assert np.array_equal(live_to_stored(np.array(dropped, np.int64), numbers), kept[numbers])


@for_each("order", [1, -1, 3])
@for_each("count", [0, 1, 2, 7, 8, 9, 1000, 4097])
def test_map_live_to_stored_with_many_rows(count, order):
    dropped = np.sort(np.random.default_rng(count).permutation(20_000)[:count])
    kept = np.delete(np.arange(20_000), dropped)
    numbers = np.arange(len(kept))[::order].copy()
    assert np.array_equal(live_to_stored(dropped, numbers), kept[numbers])
    map_live_to_stored(dropped, numbers, numbers)
    assert np.array_equal(numbers, kept[::order])


@given(Numbers, Numbers)
def test_merge_deleted_agrees_with_numpy(dropped, numbers):
    count = 2 * COUNT
    dropped, numbers = np.array(dropped, np.int64), np.array(numbers, np.int64)
    kept = np.delete(np.arange(count), dropped)
    stored, all_of_them = merge(dropped, numbers, count)
    assert np.array_equal(stored, kept[numbers])
    assert np.array_equal(all_of_them, np.setdiff1d(np.arange(count), np.delete(kept, numbers)))


@for_each("numbers", [[1, 1], [2, 1], [-1], [0, 5], [8], [2**63 - 1], [-(2**63)]])
def test_unsorted_or_out_of_range_rows_are_refused(numbers):
    with pytest.raises(ValueError, match="out of range"):
        merge(np.array([2, 4, 6]), np.array(numbers), 8)


@for_each(("stored", "merged"), [(1, 5), (3, 5), (2, 4), (2, 6)])
def test_buffers_of_wrong_size_are_refused(stored, merged):
    dropped, numbers = np.array([2, 4, 6]), np.array([0, 1])
    room = np.full(stored, -9), np.full(merged, -9)
    with pytest.raises(ValueError, match="do not fit"):
        merge_deleted(dropped, numbers, 9, *room)
    assert (np.concatenate(room) == -9).all()
    if stored != 2:
        with pytest.raises(ValueError, match="do not fit"):
            map_live_to_stored(dropped, numbers, room[0])


@pytest.mark.parametrize("wrong", [np.zeros(2), np.zeros(2, np.int32), np.zeros(4, int)[::2]])
def test_other_than_contiguous_int64_is_refused(wrong):
    right = np.array([0, 1])
    with pytest.raises(ValueError, match=r"Buffer dtype mismatch|not C.contiguous"):
        map_live_to_stored(wrong, right, right.copy())
    with pytest.raises(ValueError, match=r"Buffer dtype mismatch|not C.contiguous"):
        map_live_to_stored(right, wrong, right.copy())


def test_read_only_input_is_accepted_and_output_refused():
    numbers = np.array([0, 1])
    numbers.flags.writeable = False
    assert live_to_stored(numbers, numbers).tolist() == [2, 3]
    with pytest.raises(ValueError, match="read-only"):
        map_live_to_stored(numbers, numbers, numbers)


def test_deleted_row_list_keeps_no_larger_buffer_alive():
    with NumPack("s.npk") as store:
        store.save({"x": np.zeros(10**6)})
        for count in (500_000, 5000, 10, 5000):
            store.drop("x", np.arange(count))
            deleted = store.load("x", lazy=True)._origin._deleted
            assert deleted.rows.base is None
            assert deleted.recent.base is None


@given(Numbers, Numbers)
def test_stored_number_agrees_with_numpy(rows, recent):
    live = np.delete(np.arange(2 * COUNT), rows)
    live = np.delete(live, recent)
    rows, recent = np.array(rows, np.int64), np.array(recent, np.int64)
    for number in range(-len(live), len(live)):
        assert stored_number(rows, recent, len(live), number) == live[number]
    for number in (len(live), -len(live) - 1, 2**62, -(2**62)):
        assert stored_number(rows, recent, len(live), number) == -1


@given(Numbers, Numbers, st.lists(st.integers(-3 * COUNT, 3 * COUNT)))
def test_stored_rows_agrees_with_numpy(rows, recent, index):
    live = np.delete(np.arange(2 * COUNT), rows)
    live = np.delete(live, recent)
    rows, recent = np.array(rows, np.int64), np.array(recent, np.int64)
    index = np.array(index, np.int64)
    found = stored_rows(rows, recent, len(live), index, len(index))
    try:
        expected = live[index]
    except IndexError:
        assert found is None
    else:
        assert np.array_equal(found, expected)


@for_each(
    "index",
    [np.arange(5), np.arange(4, dtype=">i8"), np.arange(4, dtype="i4"), np.arange(8)[::2]]
    + [np.zeros((2, 2), np.int64), np.ones(4, bool), np.arange(4.0), [0, 1], 1, slice(2), None],
)
def test_stored_rows_refuses_other_indexes_than_short_int64(index):
    assert stored_rows(np.array([1]), np.array([0]), 8, index, 4) is None


@given(Numbers)
def test_live_span_is_that_of_contiguous_live_rows(dropped):
    live = np.delete(np.arange(COUNT), dropped)
    span = live_span(np.array(dropped, np.int64), COUNT)
    is_contiguous = not len(live) or live[-1] - live[0] == len(live) - 1
    assert (span is not None) == is_contiguous
    if span is not None:
        assert np.array_equal(np.arange(*span), live)


@given(st.permutations(range(COUNT)), st.integers(0, COUNT))
def test_row_numbers_are_sorted(order, length):
    numbers = np.array(order[:length], "<i8")
    content = numbers.tobytes()
    found = row_numbers(content, crc32(content), COUNT)
    assert found.dtype == np.int64
    assert found.tolist() == sorted(order[:length])
    assert row_numbers(content, crc32(content) ^ 1, COUNT) is None


@for_each("numbers", [[-1], [COUNT], [3, 3], [5, 1, 5], [2**62], [-(2**63), 0]])
def test_row_numbers_of_no_rows_are_refused(numbers):
    content = np.array(numbers, "<i8").tobytes()
    assert row_numbers(content, crc32(content), COUNT) is None
    assert row_numbers(content[:-1], crc32(content[:-1]), COUNT) is None
