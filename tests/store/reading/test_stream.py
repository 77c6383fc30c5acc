"""Reading an array in batches."""

from __future__ import annotations

import numpy as np
import pytest
from support.each import for_each

from numpack import NumPack

ROWS = np.arange(12.0).reshape(6, 2)


@pytest.fixture
def filled(store):
    store.save({"x": ROWS, "number": np.array(5)})
    return store


@for_each("size", [None, 1, 2, 4, 6, 7, 10**30, np.int64(4), np.uint8(4)])
def test_stream_yields_all_rows_in_batches(filled, size):
    batches = list(filled.stream_load("x", size))
    rows = 1 if size is None else min(int(size), 6)
    assert [len(batch) for batch in batches] == [
        len(ROWS[i : i + rows]) for i in range(0, 6, rows)
    ]
    assert np.array_equal(np.concatenate(batches), ROWS)
    assert all(batch.flags.writeable for batch in batches)


@pytest.mark.parametrize("size", [np.int8(100), np.uint8(100), np.int16(300)])
def test_stream_with_a_huge_batch_size(store, size):
    array = np.arange(40_000)
    store.save({"x": array})
    assert np.array_equal(np.concatenate(list(store.stream_load("x", size))), array)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (4, 0)])
def test_stream_of_an_empty_array(store, shape):
    store.save({"x": np.zeros(shape)})
    assert [batch.shape for batch in store.stream_load("x", 3)] == [
        (min(3, shape[0] - start), *shape[1:]) for start in range(0, shape[0], 3)
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.append({"x": ROWS}),
        lambda s: s.save({"x": ROWS[::-1]}),
        lambda s: s.drop("x"),
        lambda s: NumPack("s.npk", drop_if_exists=True).open(),
        lambda s: s.close(),
    ],
    ids=["append", "save", "drop", "drop_if_exists", "close"],
)
def test_stream_shows_the_state_at_the_call(filled, change):
    begun, fresh = filled.stream_load("x", 2), filled.stream_load("x", 2)
    batches = [next(begun)]
    change(filled)
    batches += begun
    assert np.array_equal(np.concatenate(batches), ROWS)
    assert np.array_equal(np.concatenate(list(fresh)), ROWS)


def test_batches_are_independent(filled):
    first, second, *_ = filled.stream_load("x", 2)
    first[:] = -1
    assert np.array_equal(second, ROWS[2:4])
    assert np.array_equal(filled.load("x"), ROWS)
