"""Packages are read as the stores that they were made of, from one mapping of the file."""

from __future__ import annotations

import copy
import ctypes
import gc
import os
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.arrays import NATIVE, values
from support.files import contents
from support.memory import address

import numpack
from numpack import NumPack, errors
from numpack.io import pickle_by_reference

ROWS = np.arange(1500 * 256, dtype="f4").reshape(1500, 256)


@pytest.fixture
def package():
    """Pack a store with arrays of every kind; return the path."""
    with NumPack("s.npk", mode="x") as store:
        store.save({"x": ROWS, "y": np.arange(1500), "empty": ROWS[:0], "zero": np.array(7)})
        store.append({"x": ROWS[:3] + 1})
        store.drop("x", slice(1500, 1503))
        store.attrs["x"].update(dims=["row", "column"])
        store.attrs.store["title"] = "t"
    return numpack.pack("s.npk")


@pytest.fixture
def opened(package):
    with NumPack(package, mode="r") as npk:
        yield npk


def test_every_dtype_and_shape_is_read_as_from_the_store():
    arrays = {f"{name} {shape}": values(name) for name in NATIVE for shape in ("1",)}
    arrays |= {
        "strings": np.array(["a", "ün"]),
        "bytes": np.array([b"a", b"bcd"]),
        "times": np.arange(3).astype("M8[ns]"),
        "struct": np.zeros(3, [("a", "i4"), ("b", "f8", (2,))]),
        "void": np.zeros(2, "V5"),
        "no bytes": np.zeros((3, 0)),
        "0-d": np.array(1.5),
    }
    with NumPack("s.npk") as store:
        store.save(arrays)
        numpack.pack(store, "s.npkz")
        with NumPack("s.npkz", mode="r") as npk:
            assert list(npk) == list(store)
            for name in arrays:
                found, expected = npk[name], store[name]
                assert found.dtype == expected.dtype
                assert found.shape == expected.shape
                assert found.tobytes() == expected.tobytes()
                lazy = npk.load(name, lazy=True)
                assert np.asarray(lazy).tobytes() == expected.tobytes()
            assert npk.verify().ok


def test_lazy_arrays_view_one_mapping_of_the_file(opened):
    x, y = opened.load("x", lazy=True), opened.load("y", lazy=True)
    assert address(np.asarray(x)) % 4096 == address(np.asarray(y)) % 4096 == 0
    maps = Path("/proc/self/maps").read_text()
    private = maps.count("s.npkz")
    opened.load("zero", lazy=True), opened.load("empty", lazy=True)
    assert Path("/proc/self/maps").read_text().count("s.npkz") == private <= 2
    assert opened.load("x", lazy=True) is x
    assert np.array_equal(x, ROWS)
    assert np.array_equal(y, np.arange(1500))
    assert not np.asarray(x).flags.writeable


def test_reading_methods(opened):
    assert np.array_equal(opened["x"], ROWS)
    assert np.array_equal(opened.getitem("x", [5, -1, 5]), ROWS[[5, -1, 5]])
    assert np.array_equal(np.concatenate(list(opened.stream_load("x", 400))), ROWS)
    assert opened.get_shape("x") == (1500, 256)
    assert opened.get_metadata()["arrays"]["x"]["shape"] == [1500, 256]
    assert dict(opened.attrs["x"]) == {"dims": ["row", "column"]}
    assert dict(opened.attrs.store) == {"title": "t"}
    assert np.array_equal(opened.load("x", verify=True), ROWS)
    assert opened.load("x", lazy=True, verify=True).shape == (1500, 256)
    report = opened.verify()
    assert report.ok
    assert report.blocks == 4
    assert not report.unchecked
    with NumPack("s.npk", mode="r") as store:
        assert opened.commit == store.commit
    assert opened["x"] is not opened["x"]
    assert opened.load("x").flags.writeable
    seen = []
    opened.load("x", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (ROWS.nbytes, ROWS.nbytes)
    with pytest.raises(errors.NotFoundError, match="'a'"):
        opened.load("a")


def test_a_write_through_a_view_changes_neither_file_nor_array(opened, package):
    before = Path(package).read_bytes()
    x = opened.load("x", lazy=True)
    view = np.asarray(x)
    (ctypes.c_float * 4).from_address(address(view))[:] = [-1] * 4
    assert view[0, 0] == -1
    assert np.array_equal(opened["x"], ROWS)
    assert np.asarray(x)[0, 0] == 0
    assert np.asarray(opened.load("y", lazy=True))[1] == 1
    assert Path(package).read_bytes() == before


def test_arrays_stay_valid_after_close_and_after_the_package_was_replaced(package):
    with NumPack(package, mode="r") as npk:
        x = npk.load("x", lazy=True)
    with NumPack("s.npk") as store:
        store.save({"x": -ROWS})
        numpack.pack(store)
    gc.collect()
    assert np.array_equal(x, ROWS)
    with NumPack(package, mode="r") as npk:
        assert np.array_equal(npk.load("x", lazy=True), -ROWS)


def test_other_modes_are_refused_with_the_fix(package):
    for options in (
        {"mode": "a"},
        {"mode": "r+"},
        {"mode": "w"},
        {"mode": "x"},
        {},
    ):
        with pytest.raises(errors.UnsupportedError, match="numpack.unpack") as caught:
            NumPack(package, **options)
        assert caught.value.fix
    for options in ({"drop_if_exists": True}, {"mode": "r", "upgrade": True}, {"at": 1}):
        with pytest.raises(errors.UnsupportedError, match="leave it out|leave out"):
            NumPack(package, **options)
    with pytest.raises(errors.InvalidValueError, match="storage_options"):
        NumPack(package, mode="r", storage_options={})
    assert Path(package).is_file()


def test_changes_are_refused(opened, package):
    before = Path(package).read_bytes()
    for change in (
        lambda: opened.save({"n": ROWS}),
        lambda: opened.append({"x": ROWS}),
        lambda: opened.replace({"x": ROWS[:1]}, [0]),
        lambda: opened.drop("x"),
        lambda: opened.update("x"),
        lambda: opened.begin("n", 3, "f4"),
        lambda: opened.sync(),
        lambda: opened.attrs["x"].update(n=1),
    ):
        with pytest.raises(errors.StoreError, match="is a package, which is only read"):
            change()
    assert Path(package).read_bytes() == before
    assert os.listdir(".").count("s.npkz") == 1


def test_a_folder_with_the_suffix_is_a_store():
    with NumPack("folder.npk") as store:
        store.save({"x": ROWS})
    os.rename("folder.npk", "folder.npkz")
    with NumPack("folder.npkz", mode="r+") as store:
        assert np.array_equal(store["x"], ROWS)


def test_missing_and_other_files():
    with pytest.raises(errors.StoreNotFoundError, match="there is no package at"):
        NumPack("absent.npkz", mode="r").open()
    os.mkfifo("pipe.npkz")
    with pytest.raises(errors.NotAStoreError, match="no regular file"):
        NumPack("pipe.npkz", mode="r").open()
    Path("text.npkz").write_text("no archive")
    with pytest.raises(errors.CorruptStoreError, match="does not end as a ZIP archive"):
        NumPack("text.npkz", mode="r").open()
    Path("empty.npkz").write_bytes(b"")
    with pytest.raises(errors.CorruptStoreError, match="not a package"):
        NumPack("empty.npkz", mode="r").open()


def test_no_descriptors_and_mappings_are_left(package):
    def use() -> None:
        with NumPack(package, mode="r") as npk:
            npk.load("x", lazy=True), npk["y"], npk.verify()
            pickle.loads(pickle.dumps(npk.load("y", lazy=True)))

    use()
    gc.collect()
    files = len(os.listdir("/proc/self/fd"))
    for _ in range(40):
        use()
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) <= files + 2
    assert "s.npkz" not in Path("/proc/self/maps").read_text()


# Pickles


def test_pickled_arrays_and_ranges_are_references(opened):
    for name in ("x", "y"):
        lazy = opened.load(name, lazy=True)
        data = pickle.dumps(lazy)
        assert len(data) < 600
        again = pickle.loads(data)
        assert np.array_equal(again, lazy)
        part = pickle.loads(pickle.dumps(lazy.rows(3, 9)))
        assert np.array_equal(part, lazy[3:9])
        assert np.array_equal(pickle.loads(pickle.dumps(part)), lazy[3:9])
        assert np.array_equal(pickle.loads(pickle.dumps(part.rows(1, 2))), lazy[4:5])
    for name in ("empty", "zero"):
        assert np.array_equal(
            pickle.loads(pickle.dumps(opened.load(name, lazy=True))), opened[name]
        )


def test_pickled_views_are_references(opened):
    x = opened.load("x", lazy=True)
    with pickle_by_reference():
        for view in (x[3:5], x.T, x[::-2, 5], np.asarray(x), x[0]):
            data = pickle.dumps(view)
            assert len(data) < 800
            again = pickle.loads(data)
            assert np.array_equal(again, view)
            assert not again.flags.writeable
            assert np.array_equal(pickle.loads(pickle.dumps(again)), view)


def test_a_pickle_finds_a_copy_elsewhere_and_the_replaced_file(opened, package):
    x = opened.load("x", lazy=True)
    data = pickle.dumps(x)
    shutil.copy(package, "copy")
    os.replace("copy", package)  # another inode, the same content
    assert np.array_equal(pickle.loads(data), ROWS)
    with NumPack("s.npk") as store:
        store.save({"x": -ROWS})
        numpack.pack(store)
    assert np.array_equal(pickle.loads(data), ROWS)  # through this process
    os.unlink(package)
    assert np.array_equal(pickle.loads(data), ROWS)


@pytest.mark.parametrize(
    ("act", "reason"),
    [("remove", "missing"), ("pack", "another copy"), ("text", "another copy")],
)
def test_a_pickle_of_rows_that_have_moved(package, act, reason, run_python):
    data = run_python(
        f"""
import pickle
from numpack import NumPack
with NumPack({package!r}, mode="r") as npk:
    print(pickle.dumps(npk.load("x", lazy=True)).hex())
"""
    )
    if act == "remove":
        os.unlink(package)
    elif act == "pack":
        with NumPack("s.npk") as store:
            store.save({"x": -ROWS})
            numpack.pack(store)
    else:
        Path(package).write_text("text")
    with pytest.raises(errors.MovedError) as caught:
        pickle.loads(bytes.fromhex(data.strip()))
    assert caught.value.reason == reason


def test_pickled_packages(opened, package):
    again = pickle.loads(pickle.dumps(opened))
    assert again.is_opened
    assert np.array_equal(again["x"], ROWS)
    again.close()
    data = pickle.dumps(opened)
    with NumPack("s.npk") as store:
        store.save({"y": ROWS})
    numpack.pack("s.npk")
    with pytest.raises(errors.MovedError):
        pickle.loads(data)
    closed = pickle.loads(pickle.dumps(NumPack(package, mode="r")))
    assert closed.is_closed


def test_tokens_and_copies(opened):
    x = opened.load("x", lazy=True)
    assert x.__dask_tokenize__() == opened.load("x", lazy=True).__dask_tokenize__()
    assert x.__dask_tokenize__() != opened.load("y", lazy=True).__dask_tokenize__()
    assert np.array_equal(copy.deepcopy(x), ROWS)


# Other consumers


def test_backup_and_convert(opened, package):
    opened.backup("backup.npk", verify=True)
    numpack.convert(package, "converted.npk")
    for path in ("backup.npk", "converted.npk"):
        with NumPack(path) as store:
            assert store.verify().ok
            assert np.array_equal(store["x"], ROWS)
            assert dict(store.attrs["x"]) == {"dims": ["row", "column"]}
            store.append({"x": ROWS[:1]})
    assert len(contents("backup.npk")) > 5


def test_loader(package):
    loader = numpack.Loader(package, ["x", "y"], batch_size=128, seed=3, target="numpy")
    seen = [batch["y"].tolist() for batch in loader]
    assert sorted(np.concatenate(seen).tolist()) == list(range(1500))
    loader = numpack.Loader(package, ["x", "y"], batch_size=128, seed=3, target="numpy")
    again = pickle.loads(pickle.dumps(loader))
    assert [batch["y"].tolist() for batch in again] == seen
