"""Zarr hierarchies of other programs, and hostile ones."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import zipfile
from pathlib import Path

import numcodecs
import numpy as np
import pytest
import xarray as xr
import zarr
from support.each import for_each
from support.formats.arrays import assert_same

from numpack import NumPack, UnsupportedError, convert
from numpack.errors import InvalidValueError

pytestmark = pytest.mark.filterwarnings("ignore:The data type", "ignore:Consolidated metadata")


def converted(path="x.zarr", **options):
    convert(path, "s.npk", **options)
    with NumPack("s.npk", mode="r") as store:
        attrs = {name: dict(store.attrs[name]) for name in store}
        return dict(store), attrs, dict(store.attrs.store)


@for_each("version", [2, 3])
def test_xarray(version):
    heat = np.arange(12, dtype="f4").reshape(4, 3)
    dataset = xr.Dataset(
        {"heat": (("time", "x"), heat, {"units": "K"}), "name": ("x", ["a", "bb", "日本"])},
        {"x": [1, 2, 3]},
        {"title": "Heat"},
    )
    dataset.to_zarr("x.zarr", mode="w", zarr_format=version, consolidated=False)
    arrays, attrs, of_file = converted()
    assert_same(arrays["heat"], heat)
    assert arrays["name"].tolist() == ["a", "bb", "日本"]
    assert attrs["heat"]["dims"] == ["time", "x"]
    assert attrs["heat"]["units"] == "K"
    assert attrs["x"]["dims"] == ["x"]
    assert of_file == {"title": "Heat"}
    with NumPack("s.npk") as store:
        for name in store:
            store.attrs[name].pop("_FillValue", None)
    convert("s.npk", "y.zarr", zarr_format=version)
    with xr.open_zarr("y.zarr", consolidated=False) as again:
        assert again["heat"].dims == ("time", "x")
        assert np.array_equal(again["heat"], heat)
        assert again["x"].values.tolist() == [1, 2, 3]


@for_each("version", [2, 3])
@for_each("compression", ["auto", None, "zstd", "gzip", "blosc"])
def test_groups_attributes_and_compression(version, compression):
    with NumPack("s.npk", drop_if_exists=True) as store:
        store.save({"a/b/x": np.arange(300_000).reshape(-1, 3), "z": np.array(5)})
        store.attrs["a/b/x"].update(dims=["t", "x"], nested={"any": [1, "json", None]})
        store.attrs.store.update({"title": "T", "a/b/units": "K"})
    convert("s.npk", "x.zarr", zarr_format=version, compression=compression)
    root = zarr.open_group("x.zarr", mode="r")
    assert root.metadata.zarr_format == version
    assert root["a/b"].attrs["units"] == "K"
    assert_same(root["a/b/x"][:], np.arange(300_000).reshape(-1, 3))
    convert("x.zarr", "s.npk")
    with NumPack("s.npk", mode="r") as store:
        assert dict(store.attrs.store) == {"title": "T", "a/b/units": "K"}
        assert store.attrs["a/b/x"] == {
            "dims": ["t", "x"],
            "nested": {"any": [1, "json", None]},
        }
        assert store["z"] == 5


@for_each("shape", [(1000, 3), (3000, 1), (100_000, 3), (200_000, 3)])
def test_chunks_and_shards_of_any_shape_are_read(shape):
    array = np.random.default_rng(0).random((200_000, 3))
    made = zarr.create_array(
        "x.zarr", shape=array.shape, chunks=shape, dtype="f8", overwrite=True
    )
    made[:] = array
    assert_same(converted()[0]["x"], array)
    shutil.rmtree("x.zarr")
    shards = tuple(-(-4000 // each) * each for each in shape)
    made = zarr.create_array(
        "x.zarr", shape=array.shape, chunks=shape, shards=shards, dtype="f8"
    )
    made[:] = array
    assert_same(converted()[0]["x"], array)


def test_zip_files():
    with zarr.storage.ZipStore("x.zarr", mode="w") as store:
        group = zarr.create_group(store)
        group.create_array("g/x", data=np.arange(1000))
    arrays, _, _ = converted()
    assert_same(arrays["g/x"], np.arange(1000))


def test_other_byte_orders_and_fortran_order():
    group = zarr.open_group("x.zarr", mode="w", zarr_format=2)
    group.create_array("big", data=np.arange(5, dtype=">i4"))
    fortran = group.create_array("f", shape=(4, 3), chunks=(2, 3), dtype="f8", order="F")
    fortran[:] = np.arange(12.0).reshape(4, 3)
    arrays, _, _ = converted()
    assert_same(arrays["big"], np.arange(5, dtype="i4"))
    assert_same(arrays["f"], np.arange(12.0).reshape(4, 3))


class Evil:
    def __reduce__(self):
        return Path.touch, (Path("executed"),)


def test_codecs_that_unpickle_are_refused():
    group = zarr.open_group("x.zarr", mode="w", zarr_format=2)
    group.create_array("evil", shape=(3,), dtype="i8", filters=None, compressors=None)
    group.create_array("fine", data=np.arange(3))
    metadata = json.loads(Path("x.zarr/evil/.zarray").read_text())
    metadata["filters"] = [numcodecs.Pickle().get_config()]
    Path("x.zarr/evil/.zarray").write_text(json.dumps(metadata))
    Path("x.zarr/evil/0").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(UnsupportedError, match="'evil'.*would unpickle"):
        convert("x.zarr", "s.npk")
    assert not Path("executed").exists()
    assert list(converted(arrays=["fine"])[0]) == ["fine"]


@for_each("what", ["chunk", "folder", "metadata", "fifo"])
def test_links_out_of_the_folder_are_not_followed(what):
    shutil.rmtree("x.zarr", ignore_errors=True)
    shutil.rmtree("other", ignore_errors=True)
    zarr.create_array("other", data=np.arange(3), compressors=None)
    zarr.open_group("x.zarr", mode="w").create_array("x", data=np.arange(3), compressors=None)
    link, target = {
        "chunk": ("x.zarr/x/c/0", "other/c/0"),
        "folder": ("x.zarr/x/c", "other/c"),
        "metadata": ("x.zarr/x/zarr.json", "other/zarr.json"),
        "fifo": ("x.zarr/x/c/0", None),
    }[what]
    shutil.rmtree(link) if what == "folder" else os.unlink(link)
    os.symlink(os.path.abspath(target), link) if target else os.mkfifo(link)
    with pytest.raises(InvalidValueError, match="leads out of the Zarr folder|is not a file"):
        convert("x.zarr", "s.npk")
    assert not Path("s.npk").exists()


def test_names_out_of_the_folder_are_refused():
    for name in ("../x", "a/../../x", "", "a//b", "__secret"):
        if name:
            with pytest.raises(
                UnsupportedError, match="cannot be the name of a group or array"
            ):
                convert({name: np.arange(3)}, "x.zarr")
    with zarr.storage.ZipStore("x.zarr", mode="w") as store:
        zarr.create_group(store)
    with zipfile.ZipFile("x.zarr", "a") as archive:
        archive.writestr("../zarr.json", '{"zarr_format": 3, "node_type": "group"}')
    with pytest.raises(InvalidValueError, match="called '..'; names must not be"):
        convert("x.zarr", "s.npk")


def test_an_array_out_of_proportion_is_refused_unless_asked_for():
    zarr.create_array("x.zarr", shape=(1 << 50,), chunks=(1 << 20,), dtype="u1")
    with pytest.raises(
        InvalidValueError, match="'x' takes 1,125,899,906,842,624 bytes.*sparse"
    ):
        convert("x.zarr", "s.npk")


def test_wrong_options():
    for options in (
        {"zarr_format": 1},
        {"compression": "zip"},
        {"level": 3},
        {"compression": "gzip", "level": 10},
    ):
        with pytest.raises(InvalidValueError, match=r"must be|needs"):
            convert({"x": np.arange(3)}, "x.zarr", **options)


LONG = "n" * 256


@for_each("version", [2, 3])
@for_each("name", ["a\\b", "zarr.json", ".zarray", "g/.zgroup", "\ud800", LONG])
def test_names_that_zarr_lacks_are_refused(name, version):
    with pytest.raises(UnsupportedError, match=r"cannot be written to Zarr: .*rename="):
        convert({name: np.arange(3)}, "new.zarr", zarr_format=version)
    assert not Path("new.zarr").exists()


@for_each("version", [2, 3])
def test_a_folder_with_other_files_is_never_replaced(version):
    shutil.rmtree("x.zarr", ignore_errors=True)
    arrays = {"g/x": np.arange(12).reshape(3, 4), "y": np.array(1)}
    for _ in range(2):
        convert(arrays, "x.zarr", zarr_format=version)
    root = zarr.open_group("x.zarr", mode="a")
    root.create_array("g/z", shape=(5, 4), chunks=(2, 3), dtype="i4")[...] = 1
    if version == 3:
        root.create_array("s", shape=(8,), chunks=(2,), shards=(4,), dtype="i4")[...] = 1
    convert(arrays, "x.zarr", zarr_format=version)
    for foreign in ("notes.txt", "g/notes.txt", "g/x/data.npy", "y/0.bak", "other/1"):
        path = Path("x.zarr", foreign)
        path.parent.mkdir(exist_ok=True)
        path.write_text("mine")
        with pytest.raises(InvalidValueError, match="is not of Zarr; choose another name"):
            convert(arrays, "x.zarr")
        assert path.read_text() == "mine"
        path.unlink()
        if foreign.startswith("other"):
            path.parent.rmdir()


def test_a_source_in_the_target_is_kept():
    convert({"g/x": np.arange(3)}, "x.zarr")
    with pytest.raises(InvalidValueError, match="outside of it"):
        convert("x.zarr/g", "x.zarr", format=("zarr", None))
    assert zarr.open_array("x.zarr", path="g/x", mode="r")[:].tolist() == [0, 1, 2]


def test_special_files_are_not_opened():
    os.mkfifo("x.zarr")
    with pytest.raises(InvalidValueError, match="not a regular file"):
        convert("x.zarr", "s.npk")


def test_wide_rows_of_chunks_are_streamed(run_python):
    """Only one row of chunks, of 30 MiB here, is in memory at a time."""
    rows = np.random.default_rng(0).integers(0, 1 << 30, (3 << 19, 16), "i4")
    zarr.create_array("x.zarr", shape=rows.shape, chunks=(480_000, 1), dtype="i4")[...] = rows
    zarr.create_array("few.zarr", shape=(5,), dtype="i4")[...] = rows[:5, 0]
    script = """
import sys; from support.formats.limits import *; convert_within(64 * MIB, sys.argv[1])
"""
    pairs = [("few.zarr", "few.npk"), ("x.zarr", "s.npk")]
    run_python(script, json.dumps([(pair, {}) for pair in pairs]))
    with NumPack("s.npk", mode="r") as store:
        assert_same(store["x"][...], rows)


def test_rows_of_arrays_whose_chunks_end_at_different_rows():
    arrays = {}
    for name, height in (("x", 100_000), ("y", 130_000)):
        arrays[name] = np.arange(300_000 * 16, dtype="i4").reshape(-1, 16) + height
        made = zarr.open_group("x.zarr").create_array(
            name, shape=(300_000, 16), chunks=(height, 1), dtype="i4"
        )
        made[...] = arrays[name]
    convert("x.zarr", "x.parquet")  # the same rows of all at a time
    convert("x.parquet", "s.npk")
    with NumPack("s.npk", mode="r") as store:
        for name, array in arrays.items():
            assert_same(store[name][...], array)
