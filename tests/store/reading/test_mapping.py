"""The mapping interface of a store."""

from __future__ import annotations

import numpy as np
import pytest
from support.files import contents

from numpack import InvalidValueError, NotFoundError, NumPack, StoreClosedError

ROWS = np.arange(12.0).reshape(6, 2)


@pytest.fixture
def filled():
    with NumPack("s.npk") as store:
        store.save({"x": ROWS, "number": np.array(5)})
    return contents()


@pytest.fixture
def store(filled):
    with NumPack("s.npk") as opened:
        yield opened


def test_store_is_a_mapping_of_names_to_arrays(store):
    from collections.abc import Mapping

    assert isinstance(store, Mapping)
    assert len(store) == 2
    assert list(store) == list(store.keys()) == ["x", "number"]
    assert "x" in store
    assert store.keys() & {"x", "y"} == {"x"}
    assert all(each not in store for each in ("X", "", "y", 5, None, b"x"))
    assert np.array_equal(store["x"], ROWS)
    assert [name for name, _ in store.items()] == ["x", "number"]
    assert [array.shape for array in store.values()] == [(6, 2), ()]
    assert np.array_equal(store.get("x"), ROWS)
    assert store.get("nope") is None
    assert store.get("nope", 5) == 5
    assert {**store}.keys() == {"x", "number"}
    with pytest.raises(NotFoundError, match="'nope'; the arrays are: 'x', 'number'"):
        store["nope"]


def test_setitem_and_delitem(store):
    store["y"] = ROWS[:1]
    store["x"] = ROWS[:2]
    assert {name: array.shape for name, array in store.items()} == {
        "x": (2, 2),
        "number": (),
        "y": (1, 2),
    }
    del store["x"]
    assert list(store) == ["number", "y"]
    with pytest.raises(NotFoundError, match="'x'; the arrays are: 'number', 'y'") as raised:
        del store["x"]
    assert isinstance(raised.value, KeyError)


def test_stores_are_compared_by_identity(store):
    other = NumPack("s.npk")
    assert store == store
    assert store != other
    assert store != {}
    assert len({store, other, store}) == 2


def test_store_is_true_while_it_is_open():
    store = NumPack("s.npk")
    assert not store
    store.open()
    assert store
    assert len(store) == 0
    store.close()
    assert not store
    with pytest.raises(StoreClosedError):
        len(store)
    strict = NumPack("s.npk", strict_context_mode=True)
    assert not strict
    with strict:
        assert strict


def test_iteration_is_over_the_names_at_its_start(store):
    for name in store:
        store.save({f"{name} again": store[name]})
        store.drop(name)
    assert list(store) == ["x again", "number again"]
    for name in store:
        store.drop(name)
    assert list(store) == []
    store.save({"x again": ROWS})
    for name, array in store.items():
        store[name] = array + 1
    assert np.array_equal(store["x again"], ROWS + 1)


def test_share_with_a_framework(store):
    buffer = store.share("x", "dlpack")
    assert np.array_equal(np.from_dlpack(buffer), ROWS)
    copied = store.share("x", "numpy", copy=True)
    copied[...] = 0
    assert np.array_equal(store.share("x", "numpy", copy=False), ROWS)
    with pytest.raises(InvalidValueError, match="no framework is called 'nope'"):
        store.share("x", "nope")
    with pytest.raises(NotFoundError, match="'nope'"):
        store.share("nope", "dlpack")
