"""Attributes that are changed in a batch, with its arrays."""

from __future__ import annotations

import numpy as np
import pytest

from numpack import ConflictError, NumPack

ROWS = np.arange(6.0).reshape(3, 2)


def test_batch_commits_arrays_and_attributes_together(xy):
    xy.attrs["x"]["old"] = 1
    before = xy.commit
    with xy.batch_mode():
        xy.save({"new": ROWS})
        xy.attrs["new"].update(units="m", n=1)
        del xy.attrs["new"]["n"]
        xy.load("x")[:] = 7
        xy.attrs["x"]["a"] = [1]
        xy.attrs["y"].update(b=2, c=3)
        xy.attrs["y"].clear()
        xy.attrs["y"]["d"] = 4
        xy.attrs.store["title"] = "t"
        assert xy.attrs["new"] == {"units": "m"}
        assert xy.attrs["y"] == {"d": 4}
        assert xy.attrs["x"] == {"old": 1, "a": [1]}
        assert xy.attrs.store == {"title": "t"}
        assert list(xy.attrs) == ["x", "y", "new"]
        assert xy.commit == before
        with NumPack("s.npk", mode="r") as other:
            assert other.attrs["x"] == {"old": 1}
            assert other.attrs.store == {}
    assert xy.commit == before + 1
    with NumPack("s.npk", mode="r") as other:
        for store in (xy, other):
            assert store.attrs["new"] == {"units": "m"}
            assert store.attrs["y"] == {"d": 4}
            assert store.attrs["x"] == {"old": 1, "a": [1]}
            assert store.attrs.store == {"title": "t"}
            assert store.load("x")[0, 0] == 7


def test_batch_of_attributes_alone_is_one_commit_also_after_an_exception(xy):
    before = xy.commit

    def batch():
        with xy.batch_mode():
            xy.attrs["x"]["a"] = 1
            xy.attrs["y"]["a"] = 2
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        batch()
    assert xy.commit == before + 1
    assert xy.attrs["x"] == {"a": 1}
    assert xy.attrs["y"] == {"a": 2}


def test_batch_merges_attributes_with_those_of_others(xy):
    xy.attrs["x"].update(a=1, b=1)
    with NumPack("s.npk") as other, xy.batch_mode():
        xy.load("x")[:] = 7
        xy.attrs["x"].update(a=2, c=2)
        other.attrs["x"].update(a=3, b=3, d=3)
        other.attrs["y"]["e"] = 1
        assert xy.attrs["x"] == {"a": 2, "b": 3, "d": 3, "c": 2}
    assert xy.attrs["x"] == {"a": 2, "b": 3, "d": 3, "c": 2}
    assert xy.attrs["y"] == {"e": 1}
    assert xy.load("x")[0, 0] == 7  # a change of attributes is no conflict


def test_batch_reports_attributes_of_an_array_that_others_dropped(xy):
    def batch():
        with NumPack("s.npk") as other, xy.batch_mode():
            xy.attrs["x"]["a"] = 1
            xy.attrs["y"]["a"] = 1
            other.drop("x")

    with pytest.raises(ConflictError, match="'x' was dropped") as raised:
        batch()
    assert raised.value.arrays == {}
    assert xy.attrs["y"] == {"a": 1}
    assert "x" not in xy
    with xy.batch_mode():
        pass
    assert xy.attrs["y"] == {"a": 1}


def test_changes_of_arrays_in_a_batch_keep_attributes(xy):
    with xy.batch_mode():
        xy.attrs["x"]["a"] = 1
        xy.drop("x", [0])
        xy.append({"x": ROWS})
        xy.attrs["x"]["b"] = 2
        xy.clone("x", "z")
        assert xy.attrs["z"] == {"a": 1, "b": 2}
        xy.attrs["y"]["c"] = 3
        xy.drop("y")
        xy.save({"y": ROWS})
        assert xy.attrs["y"] == {}
    assert xy.attrs["x"] == {"a": 1, "b": 2}
    assert xy.attrs["y"] == {}
    with xy.batch_mode():
        xy.attrs["x"]["a"] = xy.attrs.store["t"] = 5
        xy.reset()
    assert xy.attrs.store == {}
    assert list(xy) == []


def test_memory_limit_writes_attributes_with_their_arrays(xy):
    with xy.batch_mode(memory_limit=0):
        xy.attrs["x"]["a"] = 1
        xy.save({"x": ROWS + 5})
        with NumPack("s.npk", mode="r") as other:
            assert other.attrs["x"] == {"a": 1}


def test_failed_batch_keeps_its_attributes(xy, monkeypatch):
    session = xy._handle.require_session()
    commit = session.log.commit

    def fail(**record):
        raise OSError(28, "No space left on device")

    def batch():
        with xy.batch_mode():
            xy.attrs["x"]["a"] = 1
            monkeypatch.setattr(session.log, "commit", fail)

    with pytest.raises(OSError, match="No space"):
        batch()
    assert NumPack("s.npk", mode="r").__enter__().attrs["x"] == {}
    monkeypatch.setattr(session.log, "commit", commit)
    xy.sync()
    assert NumPack("s.npk", mode="r").__enter__().attrs["x"] == {"a": 1}
