"""Pickled stores: they open the same store or raise."""

from __future__ import annotations

import copy
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from numpack import (
    ConflictError,
    MovedError,
    NotFoundError,
    NumPack,
    StoreClosedError,
    StoreError,
)
from numpack.errors import StoreNotFoundError

ROWS = np.arange(24.0).reshape(8, 3)


@pytest.fixture
def filled(store):
    store.save({"x": ROWS, "one": np.arange(4)})
    return store


def test_pickled_store_is_opened_by_another_process(filled, run_python):
    script = """
import os, pickle, sys
os.mkdir("there"); os.chdir("there")
store = pickle.loads(bytes.fromhex(sys.argv[1]))
print(store.is_opened, store.load("x").sum() if store.is_opened else None)
"""
    assert run_python(script, pickle.dumps(filled).hex()) == f"True {ROWS.sum()}\n"
    filled.close()
    Path("there").rmdir()
    assert run_python(script, pickle.dumps(filled).hex()) == "False None\n"


@pytest.mark.parametrize("mode", ["a", "r"])
@pytest.mark.parametrize("is_open", [False, True])
def test_pickle_keeps_the_options(filled, mode, is_open):
    options = {"force_gc_on_close": True, "durability": "power", "mode": mode}
    store = NumPack("s.npk", **options)
    if is_open:
        store.open()
    again = pickle.loads(pickle.dumps(store))
    assert again.is_opened == is_open
    with again:
        assert again._force_gc
        assert again._handle._durable
        if mode == "r":
            with pytest.raises(StoreError, match="mode='r'"):
                again.save({"y": ROWS})
        else:
            again.save({"y": ROWS})
    store.close()


@pytest.mark.parametrize("options", [{"drop_if_exists": True}, {"mode": "w"}, {"mode": "x"}])
def test_pickle_of_a_store_that_is_emptied_or_created_opens_the_existing_store(options):
    unopened = NumPack("s.npk", **options)
    with NumPack("s.npk", **options) as store:
        store.save({"x": ROWS})
        for pickled in (pickle.dumps(unopened), pickle.dumps(store)):
            with pickle.loads(pickled) as again:
                assert list(again) == ["x"]


def test_pickle_keeps_strict_context_mode(filled):
    again = pickle.loads(pickle.dumps(NumPack("s.npk", strict_context_mode=True)))
    with pytest.raises(StoreClosedError, match="strict context mode"):
        again.load("x")
    with again:
        assert np.array_equal(again.load("x"), ROWS)


def reason_of(data: bytes) -> str:
    with pytest.raises(MovedError) as raised:
        pickle.loads(data)
    copied = pickle.loads(pickle.dumps(raised.value))
    assert (str(copied), copied.reason) == (str(raised.value), raised.value.reason)
    assert "s.npk" in str(copied)
    return raised.value.reason


class Features(NumPack):
    """A subclass with its own attributes and constructor."""

    def __init__(self, path: str, label: str) -> None:
        super().__init__(path)
        self.label = label


@pytest.mark.parametrize("mode", ["a", "r", "r+", "w", "x"])
def test_pickled_store_opens_the_same_store_or_raises(mode):
    if mode in ("r", "r+"):
        with NumPack("s.npk") as opened:
            opened.save({"x": ROWS})
    store = NumPack("s.npk", mode=mode)
    store.open()
    if mode != "r":
        store.save({"x": ROWS})
    data = pickle.dumps(store)
    with pickle.loads(data) as other, copy.copy(store) as third:
        assert np.array_equal(other["x"], ROWS)
        assert np.array_equal(third["x"], ROWS)
        if mode == "r":
            with pytest.raises(StoreError, match="mode='r'"):
                other.save({"y": ROWS})
        else:
            other.save({"y": ROWS})
    os.rename("s.npk", "moved.npk")
    assert reason_of(data) == "missing"
    assert not os.path.exists("s.npk")
    with NumPack("s.npk") as another:
        another.save({"x": ROWS})
    assert reason_of(data) == "another store"
    store.close()


def test_pickled_store_refuses_an_older_copy():
    with NumPack("s.npk") as store:
        store.save({"x": ROWS})
        shutil.copytree("s.npk", "copy.npk")
        store.save({"y": ROWS})
        data = pickle.dumps(store)
    shutil.rmtree("s.npk")
    os.rename("copy.npk", "s.npk")
    assert reason_of(data) == "another copy"


def test_pickle_of_a_closed_store_does_not_create_it():
    closed = pickle.loads(pickle.dumps(NumPack("s.npk")))
    assert closed.is_closed
    with pytest.raises(StoreNotFoundError):
        closed.open()
    assert not os.path.exists("s.npk")


def test_pickle_keeps_the_subclass(filled):
    features = Features("s.npk", "train")
    features.open()
    for other in (pickle.loads(pickle.dumps(features)), copy.copy(features)):
        assert (type(other), other.label, other["one"].tolist()) == (
            Features,
            "train",
            [0, 1, 2, 3],
        )
        other.close()
    features.close()


def test_pickling_writes_pending_changes_of_a_batch(filled):
    with filled.batch_mode():
        filled.save({"new": ROWS})
        filled.load("x")[0] = -1
        with pickle.loads(pickle.dumps(filled)) as other:
            assert np.array_equal(other["new"], ROWS)
            assert other["x"][0].tolist() == [-1, -1, -1]
    assert filled["x"][0].tolist() == [-1, -1, -1]


def test_errors_can_be_pickled(filled):
    filled.save({f"name {number}": np.array(number) for number in range(100)})
    with pytest.raises(NotFoundError) as raised:
        filled.load("nam 17")
    assert "'name 17'" in str(raised.value)
    assert str(pickle.loads(pickle.dumps(raised.value))) == str(raised.value)
    conflict = pickle.loads(pickle.dumps(ConflictError("text", {"x": ROWS})))
    assert np.array_equal(conflict.arrays["x"], ROWS)
