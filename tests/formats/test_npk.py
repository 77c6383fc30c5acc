"""`convert` from and to stores and packages."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from support.files import contents
from support.formats.arrays import arrays_of, assert_same
from support.store.numpack0_store import write

from numpack import NumPack, UnsupportedError, convert
from numpack.errors import (
    InvalidValueError,
    NotFoundError,
    StoreError,
    StoreNotFoundError,
)


def test_open_stores_are_source_and_target(store):
    with NumPack("t.npk") as target:
        target.save({"z": np.zeros(1)})
        commit = target.commit
        convert(store, target, arrays=["x"])
        assert target.commit == commit + 1
        assert list(target) == ["z", "x"]
        assert store.is_opened
        assert target.is_opened


def test_a_store_into_itself(store):
    convert("s.npk", "s.npk", arrays=["x"], rename={"x": "copy"}, dtype="f4")
    convert("s.npk", "s.npk", arrays=["y"], append=True)
    found = arrays_of("s.npk")
    assert_same(found["copy"], found["x"].astype("f4"))
    assert_same(found["y"], np.array([0, 1, 2, 0, 1, 2]))


def test_changes_of_a_batch_are_seen(store):
    with store.batch_mode():
        store["x"][0] = 7
        convert(store, "t.npk")
    assert arrays_of()["x"][0].tolist() == [7, 7]


def test_deleted_rows_are_left_out(store):
    rows = np.arange(3 << 20, dtype="i4").reshape(-1, 2)
    store.save({"big": rows})
    gone = np.r_[0, 3, 17:900_000:3, len(rows) - 1]
    store.drop("big", gone)
    convert("s.npk", "t.npk")
    assert_same(arrays_of()["big"], np.delete(rows, gone, 0))
    store.drop("y", [0, 1, 2])
    convert("s.npk", "y.npy", arrays="y")
    assert np.load("y.npy").shape == (0,)


def test_rows_that_are_not_in_place_yet(store, monkeypatch):
    """A reader that cannot finish a replace applies it to what it reads."""
    from numpack.store.session import Session

    with monkeypatch.context() as patched:
        patched.setattr(Session, "clear_journal", lambda *_, **__: None)
        patched.setattr(Session, "apply_replacement", lambda *_, **__: None)
        store.replace({"x": np.full((1, 2), 9.0)}, [1])
    convert("s.npk", "t.npk")
    assert arrays_of()["x"].tolist() == [[0, 1], [9, 9], [4, 5]]


def test_an_earlier_commit(store):
    seen = store.commit
    store.append({"y": np.arange(2)})
    convert("s.npk", "y.npy", arrays=["y"], at=seen)
    assert np.load("y.npy").tolist() == [0, 1, 2]


def test_rows_replaced_meanwhile_are_not_seen(store):
    store.save({"big": np.zeros((9 << 20) // 4, "f4")})

    def change(*_):
        store.replace({"big": np.ones(2, "f4")}, [0, -1])
        store.drop("y")

    convert("s.npk", "t.npk", arrays=["big", "y"], progress=change)
    assert not arrays_of()["big"].any()
    assert arrays_of()["y"].tolist() == [0, 1, 2]


def test_more_arrays_than_files_can_be_open(run_python):
    run_python(
        """
import resource, numpy as np
from numpack import NumPack, convert
convert({f"a{i}": np.full(3, i) for i in range(200)}, "s.npk")
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
convert("s.npk", "t.npk")
convert("s.npk", "x.npz")
with NumPack("t.npk", mode="r") as npk:
    assert len(npk) == 200 and npk["a150"].tolist() == [150] * 3
"""
    )


def test_only_the_arrays_that_are_read_are_held_open(run_python):
    run_python(
        """
import resource, numpy as np
from numpack import NumPack, convert
convert({f"a{i}": np.full(3, i) for i in range(200)}, "s.npk")
resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
with NumPack("s.npk") as store:
    rows = {"a7": np.ones(2, int)}
    convert(store, "x.npy", arrays=["a7"], progress=lambda *_: store.append(rows))
assert np.load("x.npy").tolist() == [7] * 3
"""
    )


def test_stores_at_urls_are_read(store):
    url = Path("published.npk").absolute().as_uri()
    store.save({"big": np.arange(3 << 20)})
    store.drop("big", [1, 5])
    store.publish(url)
    convert(url, "t.npk", cache="cache", arrays=["big", "y"])
    assert_same(arrays_of()["big"], store["big"])
    assert_same(arrays_of()["y"], store["y"])


def test_append_needs_arrays_of_the_same_rows(store):
    before = contents("s.npk")
    for given, error in (
        ({"z": np.arange(3)}, NotFoundError),
        ({"x": np.zeros((1, 3))}, InvalidValueError),
        ({"y": np.zeros(1, "f4")}, InvalidValueError),
        ({"y": np.array(1)}, InvalidValueError),
    ):
        with pytest.raises(error):
            convert(given, "s.npk", append=True)
        assert contents("s.npk") == before
    with pytest.raises(StoreNotFoundError):
        convert({"x": np.arange(3)}, "t.npk", append=True)
    with pytest.raises(UnsupportedError, match="append=True is for stores"):
        convert({"x": np.arange(3)}, "x.npz", append=True)
    convert({"x": np.ones((1, 2)), "y": np.array([9])}, "s.npk", append=True)
    assert arrays_of("s.npk")["x"].shape == (4, 2)


def test_a_target_that_cannot_be_written_is_refused_before(store):
    with NumPack("s.npk", mode="r") as reading, pytest.raises(StoreError, match="mode='r'"):
        convert({"x": np.arange(3)}, reading)
    Path("file.npk").write_text("no store")
    with pytest.raises(StoreError):
        convert("s.npk", "file.npk")
    Path("folder.npk").mkdir()
    convert("s.npk", "folder.npk")
    assert list(arrays_of("folder.npk")) == ["x", "y"]
    Path("full.npk").mkdir()
    Path("full.npk", "other").write_text("")
    with pytest.raises(StoreError):
        convert("s.npk", "full.npk")
    assert sorted(os.listdir("full.npk")) == ["other"]


def test_a_store_made_meanwhile_keeps_its_arrays(store):
    def interfere(*_):
        with NumPack("t.npk") as other:
            other.save({"other": np.arange(2)})

    convert("s.npk", "t.npk", progress=interfere)
    assert list(arrays_of()) == ["other", "x", "y"]


def test_attributes_are_added_to_those_of_the_store(store):
    store.attrs["x"].update(units="K", dims=["a", "b"])
    store.attrs.store["title"] = "new"
    with NumPack("t.npk") as target:
        target.save({"x": np.zeros(1)})
        target.attrs["x"].update(units="C", kept=True)
        target.attrs.store.update(title="old", kept=True)
    convert("s.npk", "t.npk")
    with NumPack("t.npk") as target:
        assert dict(target.attrs["x"]) == {"units": "K", "kept": True, "dims": ["a", "b"]}
        assert dict(target.attrs.store) == {"title": "new", "kept": True}


def test_durable_stores(store):
    convert("s.npk", "t.npk", durability="power")
    convert("s.npk", "t.npk", durability="power", append=True)
    assert arrays_of()["y"].tolist() == [0, 1, 2, 0, 1, 2]


def test_store_of_numpack_0_is_read(store):
    Path("old.npk").mkdir()
    write({"x": np.arange(5)})
    Path("old.npk").rename("old")
    convert("old", "x.npy", arrays=["x"])
    assert np.load("x.npy").tolist() == [0, 1, 2, 3, 4]
    with pytest.raises(StoreError, match="NumPack 0"):
        convert("s.npk", "old")


def test_packages_are_source_and_target(store):
    store.drop("y", 0)
    convert("s.npk", "x.npkz", rename={"y": "z"})
    with NumPack("x.npkz", mode="r") as package:
        assert package.verify().ok
        assert package["z"].tolist() == [1, 2]
    convert("x.npkz", "t.npk")
    assert_same(arrays_of()["x"], store["x"])
    convert({"n": np.arange(2)}, "x.npkz")
    convert("x.npkz", "n.npy")
    assert np.load("n.npy").tolist() == [0, 1]
    with pytest.raises(UnsupportedError, match="unpack it"):
        convert({"n": np.arange(2)}, "x.npkz", append=True)
    assert sorted(os.listdir()) == ["n.npy", "s.npk", "t.npk", "x.npkz"]
