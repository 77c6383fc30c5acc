"""Tokens of lazy arrays for Dask."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

from numpack import LazyArray, NumPack

ROWS = np.arange(24.0).reshape(8, 3)
LARGE = np.arange(400_000.0)  # several blocks


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS, "large": LARGE, "one": np.arange(4)})
        yield opened


def roundtrip(lazy: LazyArray) -> LazyArray:
    return pickle.loads(pickle.dumps(lazy))


def test_token_changes_with_the_values(store):
    lazy = store.load("large", lazy=True)
    seen = []

    def new_token() -> bool:
        tokens = [
            lazy.__dask_tokenize__(),
            store.load("large", lazy=True).__dask_tokenize__(),
            roundtrip(store.load("large", lazy=True)).__dask_tokenize__(),
        ]
        assert tokens[1] == tokens[2]
        is_new = tokens[1] not in seen
        seen.extend(tokens)
        return is_new

    assert new_token()
    assert not new_token()
    store.append({"one": np.arange(2)})
    assert not new_token()
    before = lazy.__dask_tokenize__(), pickle.dumps(lazy)
    store.replace({"large": -LARGE[:1]}, 5)
    assert lazy.__dask_tokenize__() != before[0]
    assert pickle.dumps(lazy) != before[1]
    assert new_token()
    for change in (
        lambda: store.append({"large": LARGE[:1]}),
        lambda: store.drop("large", 7),
        lambda: store.drop("large", 7),
        lambda: store.update("large"),
        lambda: store.save({"large": LARGE}),
    ):
        change()
        assert new_token()
    rows = store.load("large", lazy=True)
    tokens = {rows.rows(0, stop).__dask_tokenize__() for stop in (1, 2, 3, None)}
    assert len(tokens) == 4


def test_token_does_not_depend_on_the_open_store(store):
    lazy = store.load("large", lazy=True)
    token = lazy.__dask_tokenize__()
    store.close()
    assert lazy.__dask_tokenize__() == token
    store.open()
    store.drop("large")
    assert lazy.__dask_tokenize__() == token


def test_token_is_unique_while_an_array_is_written_in_place(store):
    lazy = store.load("x", lazy=True)
    before = lazy.__dask_tokenize__()
    with store.writable_batch_mode() as batch:
        view = batch.load("x")
        tokens = {lazy.__dask_tokenize__() for _ in range(3)}
        tokens |= {store.load("x", lazy=True).__dask_tokenize__() for _ in range(3)}
        assert len(tokens | {before}) == 7
        assert pickle.dumps(lazy) != pickle.dumps(lazy)
        assert np.array_equal(roundtrip(lazy), ROWS)
        view[0] = -1
        assert np.array_equal(roundtrip(lazy)[0], [-1, -1, -1])
    assert lazy.__dask_tokenize__() not in {*tokens, before}
