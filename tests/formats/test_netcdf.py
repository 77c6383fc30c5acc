"""netCDF, against h5netcdf, netCDF4, SciPy and xarray."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5netcdf
import h5py
import numpy as np
import pytest
import xarray as xr
from support.each import for_each
from support.formats.arrays import LOWPREC, OTHERS, TIMES, assert_same
from support.formats.conformance import FormatConformance

from numpack import NumPack, UnsupportedError, convert
from numpack.errors import InvalidValueError


class TestNetcdf(FormatConformance):
    suffix = ".nc"
    label = "netCDF"
    holds_attributes = True
    refused_dtypes = frozenset({*LOWPREC, *OTHERS, *TIMES, "bool", "float16", "S5"})
    unwritten_dtypes = frozenset({"U4"})

    def write(self, path, arrays):
        with h5netcdf.File(path, "w") as file:
            for name, array in arrays.items():
                dims = [f"{name}{axis}" for axis in range(array.ndim)]
                file.dimensions.update(zip(dims, array.shape, strict=True))
                file.create_variable(name, dims, array.dtype, data=array)

    def read(self, path):
        with h5netcdf.File(path) as file:
            return {name: variable[...] for name, variable in file.variables.items()}


def converted(path="x.nc", **options):
    shutil.rmtree("s.npk", ignore_errors=True)
    convert(path, "s.npk", **options)
    with NumPack("s.npk", mode="r") as store:
        attrs = {name: dict(store.attrs[name]) for name in store}
        return dict(store), attrs, dict(store.attrs.store)


DATASET = xr.Dataset(
    {
        "heat": (("time", "x"), np.arange(8, dtype="f4").reshape(4, 2), {"units": "K"}),
        "flag": ("x", [True, False]),
        "name": ("x", np.array(["a", "日本"])),
    },
    {
        "time": np.arange("2026-01-01", "2026-01-05", dtype="M8[D]").astype("M8[ns]"),
        "x": [10, 20],
    },
    {"title": "Heat"},
)


def test_xarray_raw_and_decoded():
    DATASET.to_netcdf("x.nc", engine="h5netcdf")
    arrays, attrs, of_file = converted()
    assert_same(arrays["heat"], DATASET["heat"].values)
    assert_same(arrays["flag"], np.array([1, 0], "i1"))
    assert arrays["name"].tolist() == ["a", "日本"]
    assert arrays["time"].dtype == "i8"
    assert "since 2026-01-01" in attrs["time"]["units"]
    assert attrs["heat"] == {"units": "K", "_FillValue": "NaN", "dims": ["time", "x"]}
    assert of_file == {"title": "Heat"}
    convert("s.npk", "raw.nc")
    with xr.open_dataset("raw.nc", engine="h5netcdf") as again:
        assert again["heat"].dims == ("time", "x")
        assert np.array_equal(again["time"], DATASET["time"])
        assert again["flag"].dtype == bool
    arrays, attrs, _ = converted(decode=True)
    assert_same(arrays["time"], DATASET["time"].values)
    assert_same(arrays["flag"], np.array([True, False]))
    assert attrs["time"] == {"dims": ["time"]}
    with xr.open_dataset("s.npk", engine="numpack") as store:
        assert store["heat"].sel(time="2026-01-02", x=20) == 3


def test_times_and_booleans_are_encoded_if_asked_for():
    arrays = {
        "t": np.array(["2026-01-01", "NaT", "1900-02-03"], "M8[ns]"),
        "d": np.array([1, -5, "NaT"], "m8[ns]"),
        "b": np.array([True, False, True]),
    }
    with pytest.raises(UnsupportedError, match="'t'.*encode=True"):
        convert(arrays, "x.nc")
    convert(arrays, "x.nc", encode=True)
    found, _, _ = converted(decode=True)
    for name, array in arrays.items():
        assert_same(found[name], array)
    with xr.open_dataset("x.nc", engine="h5netcdf", decode_timedelta=True) as dataset:
        for name, array in arrays.items():
            assert np.array_equal(dataset[name], array, equal_nan=name != "b")


def test_times_that_datetime64_lacks_are_refused():
    with h5netcdf.File("x.nc", "w") as file:
        file.dimensions = {"t": 2}
        time = file.create_variable("t", ("t",), "i8", data=np.array([0, 40]))
        time.attrs.update(units="days since 2000-01-01", calendar="360_day")
    with pytest.raises(UnsupportedError, match="'t'.*another calendar"):
        convert("x.nc", "s.npk", decode=True)
    assert_same(converted()[0]["t"], np.array([0, 40]))


def test_dimensions_groups_and_coordinates():
    with NumPack("s.npk") as store:
        store.save({"heat": np.zeros((4, 3)), "g/x": np.arange(3), "y": np.arange(4)})
        store.attrs["heat"].update(dims=["time", "site"], coordinates=["y"])
        store.attrs["y"]["dims"] = ["time"]
        store.attrs.store["g/units"] = "K"
    convert("s.npk", "x.nc")
    with h5netcdf.File("x.nc") as file:
        assert file["heat"].dimensions == ("time", "site")
        assert file["g/x"].dimensions == ("x_dim_0",)
        assert file["g"].attrs["units"] == "K"
    _, attrs, of_file = converted()
    assert attrs == {
        "heat": {"dims": ["time", "site"], "coordinates": "y"},
        "y": {"dims": ["time"]},
        "g/x": {},
    }
    assert of_file == {"g/units": "K"}
    with NumPack("s.npk") as store:
        store.attrs["heat"]["dims"] = ["site", "time"]
    with pytest.raises(
        InvalidValueError, match="'time' has the length 3 in 'heat' and 4 in 'y'"
    ):
        convert("s.npk", "y.nc")


def test_netcdf4_reads_what_is_written(run_python):
    convert(
        {
            "x": np.arange(6.0).reshape(2, 3),
            "s": np.array(["a", "日本"]),
            "i": np.array(3, "u2"),
        },
        "x.nc",
    )
    run_python(
        """
import netCDF4
with netCDF4.Dataset("x.nc") as file:
    assert file["x"][:].tolist() == [[0, 1, 2], [3, 4, 5]]
    assert file["s"][:].tolist() == ["a", "日本"]
    assert file["i"][...] == 3
with netCDF4.Dataset("y.nc", "w") as file:
    file.createDimension("t", None)
    file.createDimension("x", 2)
    file.createVariable("long", "i4", ("t",))[:] = [1, 2, 3]
    file.createVariable("short", "f8", ("t", "x"))[:1] = [[4, 5]]
    file["short"].unit = "m"
    file.createVariable("chars", "S1", ("x",))[:] = [b"a", b"b"]
"""
    )
    arrays, attrs, _ = converted("y.nc")
    assert arrays["short"].shape == (3, 2), "the rest of an unlimited dimension"
    assert arrays["short"][0].tolist() == [4, 5]
    assert_same(arrays["long"], np.array([1, 2, 3], "i4"))
    assert_same(arrays["chars"], np.array([b"a", b"b"]))
    assert attrs["short"] == {"unit": "m", "dims": ["t", "x"]}


@for_each("form", ["NETCDF3_CLASSIC", "NETCDF3_64BIT"])
def test_version_3(form):
    dataset = DATASET.drop_vars(["flag", "name"])
    dataset.to_netcdf("x.nc", engine="scipy", format=form)
    arrays, attrs, of_file = converted()
    assert_same(arrays["heat"], DATASET["heat"].values)
    assert attrs["heat"]["dims"] == ["time", "x"]
    assert of_file == {"title": "Heat"}
    assert_same(converted(decode=True)[0]["time"], DATASET["time"].values)
    raw = Path("x.nc").read_bytes()
    for cut in (5, len(raw) // 2):
        Path("x.nc").write_bytes(raw[:cut])
        with pytest.raises(InvalidValueError, match=r"x\.nc"):
            convert("x.nc", "t.npk")


def test_links_to_other_files_are_refused():
    with h5netcdf.File("x.nc", "w") as file:
        file.dimensions = {"x": 3}
        file.create_variable("x", ("x",), "i4")
    with h5py.File("x.nc", "a") as file:
        file["link"] = h5py.ExternalLink("/etc/passwd", "/x")
    with pytest.raises(InvalidValueError, match="link, 'link', to another file, '/etc/passwd'"):
        convert("x.nc", "s.npk")


def test_strings_that_end_early_are_refused():
    with pytest.raises(UnsupportedError, match="'x'.*NUL"):
        convert({"x": np.array(["a\0b"])}, "x.nc")
    assert not Path("x.nc").exists()


@for_each("dtype", [">f8", ">f4", ">i4", ">u2", ">c16"])
def test_other_byte_orders(dtype):
    np.save("x.npy", np.arange(6).reshape(2, 3).astype(dtype))
    convert("x.npy", "x.nc")
    arrays, _, _ = converted()
    assert_same(arrays["x"], np.arange(6).reshape(2, 3).astype(dtype[1:]))
