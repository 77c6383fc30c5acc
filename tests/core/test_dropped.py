"""Numbers of dropped rows, natively: as NumPy finds them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from numpack import NumPack
from numpack.store.kernels.deleted import map_live_to_stored, merge_deleted

COUNT = 60
Numbers = st.lists(st.integers(0, COUNT - 1), unique=True).map(sorted)


def found(dropped: np.ndarray, numbers: np.ndarray) -> np.ndarray:
    stored = np.full(len(numbers), -9)
    map_live_to_stored(dropped, numbers, stored)
    return stored


def merged(dropped: np.ndarray, numbers: np.ndarray, count: int):
    stored, all_of_them = np.full(len(numbers), -9), np.full(len(dropped) + len(numbers), -9)
    merge_deleted(dropped, numbers, count - len(dropped), stored, all_of_them)
    return stored, all_of_them


@given(Numbers, st.lists(st.integers(0, COUNT - 1)))
def test_rows_are_found_where_numpy_has_them(dropped, numbers):
    kept = np.delete(np.arange(3 * COUNT), dropped)
    numbers = np.array(numbers, np.int64)
    assert np.array_equal(found(np.array(dropped, np.int64), numbers), kept[numbers])


@pytest.mark.parametrize("order", [1, -1, 3])
@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 1000, 4097])
def test_many_rows_are_found(count, order):
    dropped = np.sort(np.random.default_rng(count).permutation(20_000)[:count])
    kept = np.delete(np.arange(20_000), dropped)
    numbers = np.arange(len(kept))[::order].copy()
    assert np.array_equal(found(dropped, numbers), kept[numbers])
    map_live_to_stored(dropped, numbers, numbers)
    assert np.array_equal(numbers, kept[::order])


@given(Numbers, Numbers)
def test_more_rows_are_dropped_as_numpy_deletes_them(dropped, numbers):
    count = 2 * COUNT
    dropped, numbers = np.array(dropped, np.int64), np.array(numbers, np.int64)
    kept = np.delete(np.arange(count), dropped)
    stored, all_of_them = merged(dropped, numbers, count)
    assert np.array_equal(stored, kept[numbers])
    assert np.array_equal(all_of_them, np.setdiff1d(np.arange(count), np.delete(kept, numbers)))


@pytest.mark.parametrize(
    "numbers", [[1, 1], [2, 1], [-1], [0, 5], [8], [2**63 - 1], [-(2**63)]]
)
def test_numbers_that_do_not_rise_or_are_no_rows_are_refused(numbers):
    with pytest.raises(ValueError, match="out of range"):
        merged(np.array([2, 4, 6]), np.array(numbers), 8)


@pytest.mark.parametrize(("stored", "merged"), [(1, 5), (3, 5), (2, 4), (2, 6)])
def test_buffers_that_do_not_fit_are_refused(stored, merged):
    dropped, numbers = np.array([2, 4, 6]), np.array([0, 1])
    room = np.full(stored, -9), np.full(merged, -9)
    with pytest.raises(ValueError, match="do not fit"):
        merge_deleted(dropped, numbers, 9, *room)
    assert (np.concatenate(room) == -9).all()
    if stored != 2:
        with pytest.raises(ValueError, match="do not fit"):
            map_live_to_stored(dropped, numbers, room[0])


@pytest.mark.parametrize("wrong", [np.zeros(2), np.zeros(2, np.int32), np.zeros(4, int)[::2]])
def test_what_is_no_plain_int64_is_refused(wrong):
    right = np.array([0, 1])
    with pytest.raises(ValueError, match=r"Buffer dtype mismatch|not C.contiguous"):
        map_live_to_stored(wrong, right, right.copy())
    with pytest.raises(ValueError, match=r"Buffer dtype mismatch|not C.contiguous"):
        map_live_to_stored(right, wrong, right.copy())


def test_what_is_read_only_is_read_and_not_written():
    numbers = np.array([0, 1])
    numbers.flags.writeable = False
    assert found(numbers, numbers).tolist() == [2, 3]
    with pytest.raises(ValueError, match="read-only"):
        map_live_to_stored(numbers, numbers, numbers)


def test_no_more_is_held_than_the_list():
    with NumPack("s.npk") as store:
        store.save({"x": np.zeros(10**6)})
        for count in (500_000, 5000, 10, 5000):
            store.drop("x", np.arange(count))
            deleted = store.load("x", lazy=True)._origin._deleted
            assert deleted.rows.base is None
            assert deleted.recent.base is None
