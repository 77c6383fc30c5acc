"""Attributes of arrays and of the store."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from support.files import content

from numpack import CorruptStoreError, NumPack, StoreClosedError, StoreError
from numpack.errors import InvalidValueError, NotFoundError, WrongTypeError

ROWS = np.arange(6.0).reshape(3, 2)
HEADER = "s.npk/numpack.json"
VALUES = {
    "text": "°C\n\"'\\\ud800\0",
    "": "an empty name",
    "int": -(2**63),
    "long": 2**64 - 1,
    "float": 0.1 + 0.2,
    "tiny": 5e-324,
    "zero": -0.0,
    "true": True,
    "none": None,
    "list": [1, 1.0, [], [None, {"a": []}]],
    "dict": {"": {}, "é": [False, "x"]},
}


def test_values_come_back_from_every_opening(xy):
    for attributes in (xy.attrs["x"], xy.attrs.store):
        attributes.update(VALUES)
        attributes["int"] = 7
    expected = {**VALUES, "int": 7}

    def check(store):
        for attributes in (store.attrs["x"], store.attrs.store):
            assert attributes == expected
            assert list(attributes) == list(VALUES)
            kinds = {key: type(value) for key, value in attributes.items()}
            assert kinds == {key: type(value) for key, value in expected.items()}
            assert str(attributes["zero"]) == "-0.0"
        assert dict(store.attrs["y"]) == {}

    check(xy)
    with NumPack("s.npk", mode="r") as other:  # reads the commits
        check(other)
    xy.close()  # writes a snapshot
    for mode in ("r", "r+"):
        with NumPack("s.npk", mode=mode) as store:
            check(store)
            assert store.verify().ok
    assert np.array_equal(NumPack("s.npk", mode="r").__enter__().load("x"), ROWS)


def test_each_change_is_one_commit_and_no_change_is_none(xy):
    x, before = xy.attrs["x"], xy.commit
    x["a"] = 1
    assert xy.commit == before + 1
    x.update({"b": [1]}, c=3)
    assert xy.commit == before + 2
    x["a"] = 1
    x.update(b=[1])
    x.update()
    assert xy.commit == before + 2
    x["a"] = 1.0  # another JSON text
    assert xy.commit == before + 3
    assert type(x["a"]) is float
    del x["c"]
    assert xy.commit == before + 4
    assert x.pop("a") == 1
    assert x.pop("a", None) is None
    assert x.setdefault("b", 5) == [1]
    assert x.setdefault("d", 5) == 5
    assert x == {"b": [1], "d": 5}
    assert len(x) == 2
    at = xy.commit
    x.clear()
    assert xy.commit == at + 1
    assert x == {}
    assert not x
    x.clear()
    assert xy.commit == at + 1


def test_mappings_behave_as_mappings(xy):
    x = xy.attrs["x"]
    x["a"] = [1]
    assert "a" in x
    assert "b" not in x
    assert 3 not in x
    assert x == {"a": [1]} == x
    assert x != {"a": [2]}
    assert x != [("a", [1])]
    assert repr(x) == "Attributes({'a': [1]})"
    with pytest.raises(TypeError, match="unhashable"):
        hash(x)
    attrs = xy.attrs
    assert list(attrs) == ["x", "y"]
    assert len(attrs) == 2
    assert "x" in attrs
    assert "z" not in attrs
    assert 3 not in attrs
    assert repr(attrs) == "StoreAttributes(of 'x', 'y')"
    assert dict(attrs.items())["x"] == {"a": [1]}


def test_returned_values_are_copies(xy):
    xy.attrs["x"]["dims"] = given = ["a", {"b": []}]
    given.append(1)
    found = xy.attrs["x"]["dims"]
    found[1]["b"].append(1)
    found.append(2)
    assert xy.attrs["x"]["dims"] == ["a", {"b": []}]
    for _, value in xy.attrs["x"].items():
        value.clear()
    assert xy.attrs["x"]["dims"] == ["a", {"b": []}]


def test_names_of_attributes_are_strings(xy):
    for bad in (1, None, b"x", ("a",)):
        with pytest.raises(WrongTypeError, match="the name of an attribute"):
            xy.attrs["x"][bad] = 1
    with pytest.raises(WrongTypeError):
        xy.attrs[3]


def test_missing_arrays_and_attributes_are_named(xy):
    with pytest.raises(NotFoundError, match="no array is called 'z'; the arrays are: 'x', 'y'"):
        xy.attrs["z"]
    x = xy.attrs["x"]
    x["a"] = 1
    for call in (lambda: x["b"], lambda: x.pop("b"), lambda: x.__delitem__("b")):
        with pytest.raises(KeyError, match="'x' has no attribute 'b'; its attributes are: 'a'"):
            call()
    with pytest.raises(NotFoundError, match="the store has no attribute 'b'"):
        xy.attrs.store["b"]
    xy.drop("x")
    for call in (lambda: x["a"], lambda: x.update(b=1), lambda: list(x), lambda: x.clear()):
        with pytest.raises(NotFoundError, match="no array is called 'x'"):
            call()


def test_attributes_belong_to_the_name(xy):
    expected = {"dims": ["time", "lat"]}
    xy.attrs["x"].update(expected)
    xy.attrs.store["title"] = "t"
    changes = {
        "append": lambda: xy.append({"x": ROWS}),
        "append several": lambda: xy.append({"x": ROWS, "y": ROWS}),
        "drop rows": lambda: xy.drop("x", [1]),
        "drop more rows": lambda: xy.drop(["x", "y"], [0, 1]),
        "update": lambda: xy.update("x"),
        "replace": lambda: xy.replace({"x": ROWS[:1]}, 0),
        "save": lambda: xy.save({"x": ROWS + 2}),
        "save of another dtype": lambda: xy.save({"x": np.arange(3)}),
        "writable": lambda: _write_in_place(xy),
        "held": lambda: _replace_held(xy),
        "batch": lambda: _batch(xy),
        "reopen": lambda: (xy.close(), xy.open()),
        "sync": xy.sync,
    }
    for what, change in changes.items():
        change()
        assert xy.attrs["x"] == expected, what
        assert xy.attrs.store == {"title": "t"}, what
        with NumPack("s.npk", mode="r") as other:
            assert (other.attrs["x"], other.attrs.store) == (expected, {"title": "t"}), what
    xy.clone("x", "copy")
    assert xy.attrs["copy"] == expected
    xy.attrs["copy"]["dims"] = []
    assert xy.attrs["x"] == expected
    xy.drop("x")
    xy.save({"x": ROWS})
    assert xy.attrs["x"] == {}
    assert xy.attrs.store == {"title": "t"}
    assert xy.verify().ok


def _write_in_place(store):
    with store.writable_batch_mode() as batch:
        batch.load("x")[:] = 5


def _replace_held(store):
    snapshot = store._snapshot(["x"])
    store.replace({"x": store.load("x")[:1] + 1}, 0)
    _write_in_place(store)
    snapshot.close()


def _batch(store):
    with store.batch_mode():
        store.load("x")[:] += 1


@pytest.mark.parametrize("empty", ["reset", "w"])
def test_reset_and_mode_w_remove_all_attributes(xy, empty):
    xy.attrs["x"]["a"] = xy.attrs.store["a"] = 1
    if empty == "reset":
        xy.reset()
    else:
        xy.close()
        NumPack("s.npk", mode="w").open()
        xy.open()
    assert xy.attrs.store == {}
    assert list(xy.attrs) == []
    xy.save({"x": ROWS})
    assert xy.attrs["x"] == {}


def test_reset_of_a_store_without_arrays_removes_its_attributes(store):
    store.attrs.store["a"] = 1
    store.reset()
    assert store.attrs.store == {}
    before = store.commit
    store.reset()
    assert store.commit == before


def test_header_tells_older_versions_only_once_attributes_are_used(xy):
    one = b'{"format": "numpack", "version": 1}\n'
    two = b'{"format": "numpack", "version": 2}\n'
    xy.append({"x": ROWS})
    xy.attrs["x"].update()
    with pytest.raises(NotFoundError):
        xy.attrs["z"]
    assert content(HEADER) == one
    with NumPack("s.npk") as other:
        assert other.attrs["x"] == {}
        xy.attrs["x"]["a"] = 1
        assert content(HEADER) == two
        other.attrs["y"]["b"] = 2
        other.append({"x": ROWS})
        assert xy.attrs["y"] == {"b": 2}
        assert xy.attrs["x"] == {"a": 1}
    xy.reset()
    assert content(HEADER) == two
    assert sorted(each.name for each in Path("s.npk").iterdir()) == [
        *("commits.log", "data", "lock", "numpack.json")
    ]


def test_other_members_of_the_header_are_kept(xy):
    Path("s.npk/numpack.json").write_text('{"by":"hand","version":1,"format":"numpack"}')
    xy.attrs["x"]["a"] = 1
    assert content(HEADER) == b'{"by": "hand", "version": 2, "format": "numpack"}\n'


def test_attributes_of_a_header_that_a_power_loss_undid_are_read(xy):
    xy.attrs["x"]["a"] = 1
    Path("s.npk/numpack.json").write_bytes(b'{"format": "numpack", "version": 1}\n')
    with NumPack("s.npk") as other:
        assert other.attrs["x"] == {"a": 1}
        other.save({"x": ROWS})  # commits the attributes again
    assert b"2" in content(HEADER)


def test_sizes_are_limited(xy):
    x = xy.attrs["x"]
    x["a"] = "é" * 500_000
    before = xy.commit
    with pytest.raises(InvalidValueError, match=r"attributes of 'x': .* take 1,1.* save large"):
        x["b"] = "x" * 100_000
    with pytest.raises(InvalidValueError, match="attributes of the store"):
        xy.attrs.store["b"] = "x" * 1_048_577
    with xy.batch_mode():
        with pytest.raises(InvalidValueError, match="over|no more than"):
            x["b"] = "x" * 100_000
        x["b"] = "x" * 10
    assert xy.commit == before + 1
    assert set(x) == {"a", "b"}
    xy.close()
    with NumPack("s.npk") as store:
        assert store.attrs["x"]["a"] == "é" * 500_000


def test_size_of_all_attributes_is_limited(store, monkeypatch):
    from numpack.store.commits import attributes

    monkeypatch.setattr(attributes, "TOTAL_LIMIT", 100)
    store.save({"x": ROWS, "y": ROWS})
    store.attrs["x"]["a"] = "x" * 60
    refused = [
        lambda: store.attrs["y"].update(a="x" * 60),
        lambda: store.attrs.store.update(a="x" * 60),
        lambda: store.clone("x", "z"),
    ]
    for call in refused:
        with pytest.raises(InvalidValueError, match="all attributes of the store would take"):
            call()
    assert list(store) == ["x", "y"]
    assert store.attrs["y"] == {}
    store.save({"x": ROWS})
    store.attrs["x"]["a"] = "y" * 80
    assert len(list(Path("s.npk/data").iterdir())) == 2


def test_read_only_and_closed_stores_refuse_changes(xy):
    xy.attrs["x"]["a"] = 1
    attrs = xy.attrs
    with NumPack("s.npk", mode="r") as reader:
        changes = [
            lambda: reader.attrs["x"].update(b=1),
            lambda: reader.attrs.store.clear(),
            lambda: reader.attrs["x"].pop("a"),
        ]
        for call in changes:
            with pytest.raises(StoreError, match="mode='r'"):
                call()
        with (
            pytest.raises(StoreError, match="mode='r'"),
            reader.batch_mode(),
        ):
            reader.attrs["x"]["b"] = 1
        assert reader.attrs["x"] == {"a": 1}
    xy.close()
    for call in (lambda: xy.attrs, lambda: list(attrs), lambda: attrs.store["a"]):
        with pytest.raises(StoreClosedError):
            call()


def test_attributes_pickle_with_their_store(xy):
    xy.attrs["x"]["a"] = [1]
    copy = pickle.loads(pickle.dumps(xy.attrs["x"]))
    assert copy == {"a": [1]}
    copy["b"] = 2
    assert xy.attrs["x"] == {"a": [1], "b": 2}
    copy._store.close()


def test_damaged_header_is_reported_before_attributes_are_committed(xy):
    Path("s.npk/numpack.json").write_text("{")
    before = xy.commit
    with pytest.raises(CorruptStoreError, match=r"numpack\.json is damaged"):
        xy.attrs["x"]["a"] = 1
    assert xy.commit == before
