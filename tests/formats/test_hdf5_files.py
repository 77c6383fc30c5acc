"""HDF5 files of other programs: PyTables, pandas, netCDF4 and h5py's less common types."""

from __future__ import annotations

from pathlib import Path

import h5py
import netCDF4
import numpy as np
import pandas as pd
import pytest
import tables
from support.each import for_each
from support.formats.arrays import assert_same

from numpack import NumPack, UnsupportedError, convert
from numpack.errors import InvalidValueError, MissingDependencyError


def converted(path, **options):
    convert(path, "s.npk", **options)
    with NumPack("s.npk", mode="r") as store:
        attrs = {name: dict(store.attrs[name]) for name in store}
        return dict(store), attrs, dict(store.attrs.store)


class Particle(tables.IsDescription):
    number = tables.Int32Col()
    alive = tables.BoolCol()
    name = tables.StringCol(5)
    place = tables.Float64Col(shape=(2, 3))
    wave = tables.ComplexCol(itemsize=16)


def test_pytables():
    numbers = np.arange(1000.0).reshape(100, 10)
    with tables.open_file("x.h5", "w", title="Runs") as file:
        table = file.create_table("/", "particles", Particle)
        row = table.row
        row["number"], row["alive"], row["name"], row["wave"] = 3, True, b"xx", 1j
        row.append()
        table.flush()
        for name, options in (
            ("zlib", tables.Filters(5, "zlib", fletcher32=True)),
            ("plain", None),
        ):
            file.create_carray(
                "/deep/group", name, obj=numbers, createparents=True, filters=options
            )
        flags = file.create_earray("/", "flags", obj=np.array([True, False]))
        flags.attrs.unit = np.float32(2)
        flags.attrs.steps = np.arange(3)
        flags.attrs.pickled = {"never": "loaded"}
        file.create_array("/", "scalar", obj=5.0)
        file.create_soft_link("/", "alias", "/flags")
    arrays, attrs, of_file = converted("x.h5")
    assert list(arrays) == [
        "flags",
        "particles",
        "scalar",
        "deep/group/plain",
        "deep/group/zlib",
    ]
    assert_same(arrays["deep/group/zlib"], numbers)
    assert_same(arrays["flags"], np.array([True, False]))
    assert arrays["particles"]["alive"].dtype.kind == "b"
    assert arrays["particles"]["name"].tolist() == [b"xx"]
    assert arrays["particles"]["wave"].tolist() == [1j]
    assert arrays["particles"]["place"].shape == (1, 2, 3)
    assert arrays["scalar"][()] == 5
    assert attrs["flags"]["unit"] == 2
    assert attrs["flags"]["steps"] == [0, 1, 2]
    assert attrs["flags"]["pickled"].startswith("(dp0"), "text, not an object"
    assert of_file == {"TITLE": "Runs"}


def test_what_pytables_pickles_or_compresses_by_its_own_filters_is_refused_by_name():
    with tables.open_file("x.h5", "w") as file:
        file.create_vlarray("/", "objects", tables.ObjectAtom()).append({"a": 1})
        file.create_vlarray("/", "lists", tables.Int32Atom()).append([1, 2])
        file.create_carray("/", "b", obj=np.arange(9), filters=tables.Filters(5, "blosc"))
        file.create_external_link("/", "elsewhere", "/etc/passwd:/x")
        file.create_array("/", "fine", obj=np.arange(3))
    for name, error, text in (
        (
            "objects",
            UnsupportedError,
            "a list of its own length, or an object that was pickled",
        ),
        ("lists", UnsupportedError, "offsets"),
        ("b", MissingDependencyError, r"filter 32001 \(blosc\).*pip install hdf5plugin"),
        (
            "elsewhere",
            UnsupportedError,
            "link to '/etc/passwd', and other files are not opened",
        ),
    ):
        with pytest.raises(error, match=f"'{name}' .*{text}"):
            convert("x.h5", "s.npk", arrays=[name])
    with pytest.raises((UnsupportedError, MissingDependencyError)):
        convert("x.h5", "s.npk")
    assert list(converted("x.h5", arrays=["fine"])[0]) == ["fine"]


def test_pandas():
    frame = pd.DataFrame({"x": [1, 2, 3], "y": [1.0, np.nan, 3], "b": [True, False, True]})
    frame.to_hdf("x.h5", key="fixed", mode="w", format="fixed")
    frame.to_hdf("x.h5", key="deep/table", format="table")
    frame["x"].to_hdf("x.h5", key="series")
    arrays, _, of_file = converted("x.h5")
    assert_same(arrays["fixed/axis0"], np.array([b"x", b"y", b"b"]))
    assert_same(arrays["fixed/block0_values"], np.array([[1], [2], [3]]))
    assert_same(arrays["fixed/block2_values"], np.array([[True], [False], [True]]))
    assert_same(arrays["series/values"], np.array([1, 2, 3]))
    table = arrays["deep/table/table"]
    assert table["index"].tolist() == [0, 1, 2]
    assert table["values_block_0"].ravel().tolist() == [1, 2, 3]
    assert not any("_i_table" in name for name in arrays), "PyTables' index"
    assert of_file["fixed/pandas_type"] == "frame"


def test_netcdf4():
    with netCDF4.Dataset("x.h5", "w") as file:
        file.title = "Heat"
        file.createDimension("time", None)
        file.createDimension("x", 3)
        heat = file.createVariable("heat", "f4", ("time", "x"), zlib=True, fill_value=np.nan)
        heat[:] = np.ones((4, 3))
        heat.units = "K"
        file.createVariable("time", "i8", ("time",))[:] = np.arange(4)
        names = file.createVariable("name", str, ("x",))
        names[:] = np.array(["a", "bb", "日本"], object)
        file.createGroup("g").createVariable("inner", "i2", ("x",))[:] = [1, 2, 3]
    arrays, attrs, of_file = converted("x.h5")
    assert set(arrays) == {"heat", "time", "name", "g/inner"}, "no dimension without values"
    assert_same(arrays["name"], np.array(["a", "bb", "日本"]))
    assert_same(arrays["g/inner"], np.array([1, 2, 3], "i2"))
    assert attrs["heat"] == {"units": "K", "_FillValue": ["NaN"], "dims": ["time", "x"]}
    assert attrs["time"] == {"dims": ["time"]}
    assert of_file == {"title": "Heat"}
    convert("s.npk", "again.h5")
    with h5py.File("again.h5") as file:
        assert np.isnan(file["heat"].attrs["_FillValue"])
        assert file["heat"].attrs["_FillValue"].dtype == "f4"
        assert [dim.label for dim in file["heat"].dims] == ["time", "x"]


def test_types_of_h5py():
    with h5py.File("x.h5", "w") as file:
        file["text"] = ["a", "日本語"]
        file["texts"] = np.array([["x", "yy"]] * 3, object)
        file["one"] = "scalar"
        file["bytes"] = np.array([b"ab", b"c"])
        file["big"] = np.arange(5, dtype=">f8")
        kind = h5py.enum_dtype({"RED": 0, "BLUE": 5}, "i1")
        file.create_dataset("enum", data=[0, 5], dtype=kind)
        file.create_dataset("pairs", (3,), dtype=np.dtype(("f4", (2,))))
        file["none"] = h5py.Empty("f4")
        file["refs"] = np.array([file["big"].ref], h5py.ref_dtype)
        file["long"] = np.ones(2, np.longdouble)
        file["broken"] = np.array([b"\xff"], h5py.string_dtype())
        file.attrs["nothing"] = h5py.Empty("i1")
        file.attrs["where"] = file["big"].ref
        file["big"].attrs["limits"] = [np.inf, -np.inf]
    good = ["text", "texts", "one", "bytes", "big", "enum", "pairs"]
    arrays, attrs, of_file = converted("x.h5", arrays=good)
    assert_same(arrays["text"], np.array(["a", "日本語"]))
    assert_same(arrays["texts"], np.array([["x", "yy"]] * 3))
    assert_same(arrays["one"], np.array("scalar"))
    assert_same(arrays["bytes"], np.array([b"ab", b"c"]))
    assert_same(arrays["big"], np.arange(5.0))
    assert_same(arrays["enum"], np.array([0, 5], "i1"))
    assert_same(arrays["pairs"], np.zeros((3, 2), "f4"))
    assert attrs["enum"] == {"enum": {"RED": 0, "BLUE": 5}}
    assert attrs["big"] == {"limits": ["Infinity", "-Infinity"]}
    assert of_file == {"nothing": None}
    for name, text in (
        ("none", "no values"),
        ("refs", "references to objects"),
        ("long", "long doubles"),
        ("broken", "not UTF-8"),
    ):
        with pytest.raises(UnsupportedError, match=f"'{name}'.*{text}"):
            convert("x.h5", "s.npk", arrays=[name])


def test_names_and_attributes_of_groups():
    with NumPack("s.npk") as store:
        store.save({"a/b/x": np.arange(3), "a/y": np.arange(2), "z": np.arange(4)})
        store.attrs["a/y"]["dims"] = ["time"]
        store.attrs.store.update({"title": "T", "a/b/units": "K", "no/group": 1, "none": None})
    convert("s.npk", "x.h5")
    with h5py.File("x.h5") as file:
        assert file["a/b"].attrs["units"] == "K"
        assert dict(file.attrs) == {"title": "T", "no/group": 1, "none": h5py.Empty("i1")}
    arrays, attrs, of_file = converted("x.h5")
    assert set(arrays) == {"a/b/x", "a/y", "z"}
    assert attrs["a/y"] == {"dims": ["time"]}
    assert of_file == {"title": "T", "a/b/units": "K", "no/group": 1, "none": None}


@for_each("name", ["", "/x", "x/", "a//b", ".", "a/../b", "x\0y"])
def test_names_that_are_no_paths(name):
    if name:
        with pytest.raises(UnsupportedError, match="cannot be the name of a group or array"):
            convert({name: np.arange(3)}, "x.h5")


def test_names_that_are_groups_of_others():
    with pytest.raises(UnsupportedError, match="'a' would have to be a group as well"):
        convert({"a": np.arange(3), "a/b": np.arange(3)}, "x.h5")


@for_each("value", [{"a": 1}, [[1, 2], [3]], [1, "x"], [None]])
def test_attributes_that_hdf5_lacks(value):
    with NumPack("s.npk", drop_if_exists=True) as store:
        store.save({"x": np.arange(3)})
        store.attrs["x"]["odd"] = value
    with pytest.raises(UnsupportedError, match="attribute 'odd' of 'x'.*attrs=False"):
        convert("s.npk", "x.h5")
    convert("s.npk", "x.h5", attrs=False)


RESERVED = ["DIMENSION_LIST", "REFERENCE_LIST", "_Netcdf4Dimid", "_nc3_strict", "_NCProperties"]


@for_each("suffix", [".h5", ".nc"])
@for_each("of_file", [False, True])
def test_attributes_without_a_code_or_with_a_reserved_name_are_refused(suffix, of_file):
    odd = [("k", "a\0b"), ("k", "\ud800"), ("k", ["a", "\ud800"]), ("k\0", 1), ("", 1)]
    odd += [(name, 1) for name in RESERVED] + [("\ud800", 1), ("k", [0.5] * 10_000)]
    odd += [("k", [2**63, -1]), ("k", [2**53 + 1, 0.5])]
    odd += [("CLASS", 1), ("NAME", 1)] if suffix == ".nc" else []
    for key, value in odd:
        with NumPack("s.npk", drop_if_exists=True) as store:
            store.save({"x": np.arange(3)})
            (store.attrs.store if of_file else store.attrs["x"])[key] = value
        with pytest.raises(UnsupportedError, match=r"attribute .* of .*attrs=False"):
            convert("s.npk", f"x{suffix}")
        assert not Path(f"x{suffix}").exists()


VALUES = {
    "u1": {"_FillValue": -1, "missing_value": 300, "valid_range": [0, 255]},
    "f4": {"_FillValue": 0.1, "missing_value": 1e300, "valid_min": 0.5},
    "i8": {"_FillValue": 2**63, "missing_value": 0.5, "all": [2**63, 1]},
}


@for_each("suffix", [".h5", ".nc"])
@for_each("dtype", VALUES)
def test_missing_values_that_the_dtype_lacks_keep_their_own(suffix, dtype):
    with NumPack("o.npk", drop_if_exists=True) as store:
        store.save({"x": np.arange(3, dtype=dtype)})
        store.attrs["x"].update(VALUES[dtype])
    convert("o.npk", f"x{suffix}")
    _, attrs, _ = converted(f"x{suffix}")
    assert {key: attrs["x"][key] for key in VALUES[dtype]} == VALUES[dtype]
    assert all(type(attrs["x"][key]) is type(VALUES[dtype][key]) for key in VALUES[dtype])
    assert [type(each) for each in attrs["x"].get("all", [])] in ([], [int, int])


@for_each("suffix", [".h5", ".nc"])
def test_arrays_that_hdf5_lacks_are_refused_by_name(suffix):
    path = f"x{suffix}"
    with pytest.raises(UnsupportedError, match="'x'.*surrogate"):
        convert({"x": np.array(["a", "\ud800"])}, path)
    with pytest.raises(UnsupportedError, match="surrogate.*rename="):
        convert({"\ud800": np.arange(3)}, path)
    with pytest.raises(UnsupportedError, match="'x' is an array of 33 dimensions"):
        convert({"x": np.zeros((1,) * 33)}, path)
    convert({"x": np.zeros((1,) * 32)}, path)


def test_titles_of_fields_are_refused():
    titled = np.zeros(2, [(("a title", "a"), "i4")])
    with pytest.raises(UnsupportedError, match="no titles"):
        convert({"x": titled}, "x.h5")


FULL = """
import gc, os, resource, signal, sys
from pathlib import Path
import numpy as np
from numpack import convert
target = sys.argv[1]
convert({"x": np.arange(3)}, target)
before = Path(target).read_bytes()
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
for limit in (1 << 10, 1 << 20, 3 << 20):
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))
    try:
        convert({"x": np.arange(500_000), "y": np.ones((7, 9))}, target)
        raise SystemExit("no error")
    except OSError as error:
        assert "too large" in str(error), error
    gc.collect()
assert Path(target).read_bytes() == before and os.listdir() == [target]
"""


@for_each("suffix", [".h5", ".nc"])
def test_a_file_that_does_not_fit_leaves_the_old_one(suffix, run_python, tmp_path):
    run_python(FULL, f"full{suffix}")
    (tmp_path / f"full{suffix}").unlink()


@for_each("compression", [None, "gzip", "lzf"])
def test_chunks_and_compression(compression):
    array = np.arange(3_000_000, dtype="i4").reshape(-1, 3)
    convert({"x": array, "wide": np.zeros((2, 1 << 20))}, "x.h5", compression=compression)
    with h5py.File("x.h5") as file:
        assert file["x"].compression == compression
        assert file["x"].chunks[0] * 12 <= 1 << 20
        assert file["x"].maxshape == (None, 3)
        assert np.array_equal(file["x"], array)
        assert file["wide"].shape == (2, 1 << 20)


def test_wrong_options():
    for options in ({"compression": "zip"}, {"level": 3}, {"compression": "gzip", "level": 10}):
        with pytest.raises(InvalidValueError, match="compression"):
            convert({"x": np.arange(3)}, "x.h5", **options)


@for_each("chunk", [(10, 3), (3000, 1), (50_000, 3)])
def test_chunks_of_any_shape_are_read(chunk):
    array = np.random.default_rng(0).random((50_000, 3))
    with h5py.File("x.h5", "w") as file:
        file.create_dataset("x", data=array, chunks=chunk, compression="gzip")
    assert_same(converted("x.h5")[0]["x"], array)
