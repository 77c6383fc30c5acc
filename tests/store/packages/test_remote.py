"""A package in an object store is one object, which is read by ranges."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
from support.store import remote

import numpack
from numpack import NumPack, errors
from numpack.store.remote.packages import package_place

ROWS = np.arange(1500 * 256, dtype="f4").reshape(1500, 256)


@pytest.fixture
def package(monkeypatch, tmp_path):
    """Pack a store, and let its URL be opened by a store that counts requests."""
    remote.install(monkeypatch)
    monkeypatch.setenv("NUMPACK_CACHE", str(tmp_path / "cache"))
    with NumPack("s.npk", mode="x") as store:
        store.save({"x": ROWS, "y": np.arange(1500), "empty": ROWS[:0], "zero": np.array(7)})
        store.drop("y", [3])
        store.attrs["x"]["n"] = 1
    return remote.url_of(numpack.pack("s.npk"))


def requests() -> list[tuple]:
    return [request for each in remote.FolderStore.opened for request in each.requests]


def test_place_of_a_package():
    assert package_place("s3://bucket/a/x.npkz") == ("s3://bucket/a", "x.npkz")
    assert package_place("s3://bucket/x.npkz") == ("s3://bucket", "x.npkz")
    assert package_place("https://host/a/x.npkz?k=v") == ("https://host/a?k=v", "x.npkz")
    for other in ("s3://bucket/x.npk", "s3://x.npkz", "s3://bucket/x.npkz/", 3):
        assert package_place(other) is None


def test_opening_takes_one_request(package):
    with NumPack(package, mode="r") as npk:
        assert [(kind, name) for kind, name, *_ in requests()] == [("tail", "s.npkz")]
        assert list(npk) == ["x", "y", "empty", "zero"]
        assert dict(npk.attrs["x"]) == {"n": 1}


def test_arrays_are_read_by_ranges_of_one_object(package):
    with NumPack(package, mode="r") as npk, NumPack("s.npk", mode="r") as store:
        assert np.array_equal(npk.getitem("x", [3, 1200]), ROWS[[3, 1200]])
        fetched = sum(size for *_, size in requests())
        assert fetched < 200_000, "the package was fetched as a whole"
        for name in store:
            assert np.array_equal(npk[name], store[name])
            assert np.array_equal(npk.load(name, lazy=True), store[name])
            assert np.array_equal(npk.load(name, verify=True), store[name])
        assert npk.verify().ok
        assert {name for _, name, *_ in requests()} == {"s.npkz"}
        npk.backup("backup.npk", verify=True)
        numpack.pack(npk, "again.npkz")
    for path in ("backup.npk", "again.npkz"):
        with NumPack(path, mode="r") as copied:
            assert np.array_equal(copied["x"], ROWS)


def test_pickles_hold_the_url(package):
    with NumPack(package, mode="r") as npk:
        lazy = npk.load("x", lazy=True)
        assert np.array_equal(pickle.loads(pickle.dumps(lazy)), ROWS)
        assert np.array_equal(pickle.loads(pickle.dumps(lazy.rows(2, 5))), ROWS[2:5])
        again = pickle.loads(pickle.dumps(npk))
        assert np.array_equal(again["y"], npk["y"])
        again.close()


def test_a_package_that_is_replaced_is_not_read(package):
    with NumPack(package, mode="r") as npk:
        with NumPack("s.npk") as store:
            store.save({"x": -ROWS})
            numpack.pack(store)
        with pytest.raises(errors.MovedError):
            npk["x"]
    with NumPack(package, mode="r") as npk:
        assert np.array_equal(npk["x"], -ROWS)


def test_what_is_no_package_is_refused(package):
    Path("text.npkz").write_text("no archive")
    for name, kind, words in (
        ("absent", errors.StoreNotFoundError, "there is no package at"),
        ("text", errors.CorruptStoreError, "is not a package, or is damaged"),
    ):
        with pytest.raises(kind, match=words):
            NumPack(package.replace("s.npkz", f"{name}.npkz"), mode="r").open()
    with pytest.raises(errors.UnsupportedError, match="only read"):
        NumPack(package, mode="r+")


def test_damaged_rows_are_found(package):
    data = bytearray(Path("s.npkz").read_bytes())
    data[5000] ^= 1
    Path("s.npkz").write_bytes(data)
    with NumPack(package, mode="r") as npk:
        with pytest.raises(errors.CorruptStoreError, match="checksum of block 0"):
            npk["x"]
        assert np.array_equal(npk["zero"], 7)
