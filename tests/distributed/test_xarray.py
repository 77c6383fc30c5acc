"""Stores as datasets of xarray."""

from __future__ import annotations

import pickle
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import dask
import dask.array
import numpy as np
import pytest
import xarray as xr
from support.crash.operations import OLD

from numpack import NumPack
from numpack.distributed import xarray as backend
from numpack.errors import InvalidValueError, NumpackError, StoreNotFoundError

HEAT = np.arange(4 * 6 * 5.0).reshape(4, 6, 5)
DAYS = np.arange("2020-01-01", "2020-01-05", dtype="M8[D]").astype("M8[ns]")
ENGINE = "numpack"


@pytest.fixture
def climate(tmp_path):
    """A store as xarray's users describe their data."""
    with NumPack(tmp_path / "climate.npk") as npk:
        arrays = {
            "heat": HEAT,
            "rain": np.arange(4, dtype="f4"),
            "time": DAYS,
            "lat": np.arange(6) / 2,
            "area": np.arange(30).reshape(6, 5),
            "version": np.array(3),
            "plain": np.zeros((2, 3), "?"),
        }
        npk.save(arrays)
        npk.attrs["heat"].update(dims=["time", "lat", "lon"], units="K", coordinates="area")
        npk.attrs["rain"].update(dims=["time"], valid_range=[0, 5], coordinates="nowhere")
        npk.attrs["time"]["dims"] = ["time"]
        npk.attrs["lat"].update(dims=["lat"], units="degrees")
        npk.attrs["area"]["dims"] = ["lat", "lon"]
        npk.attrs.store.update(title="t", coordinates=["version"])
        yield npk


@pytest.fixture
def path(climate):
    return climate._filename


def test_store_is_the_dataset_that_its_attributes_describe(path):
    with xr.open_dataset(path, engine=ENGINE) as found:
        expected = xr.Dataset(
            {
                "heat": (("time", "lat", "lon"), HEAT, {"units": "K"}),
                "rain": (
                    ("time",),
                    np.arange(4, dtype="f4"),
                    {"valid_range": [0, 5], "coordinates": "nowhere"},
                ),
                "plain": (("plain_dim_0", "plain_dim_1"), np.zeros((2, 3), "?")),
            },
            coords={
                "time": ("time", DAYS),
                "lat": ("lat", np.arange(6) / 2, {"units": "degrees"}),
                "area": (("lat", "lon"), np.arange(30).reshape(6, 5)),
                "version": ((), np.array(3)),
            },
            attrs={"title": "t"},
        )
        xr.testing.assert_identical(found.load(), expected)
        assert list(found.data_vars) == ["heat", "rain", "plain"]
        assert list(found.indexes) == ["time", "lat"]
        assert found["heat"].encoding == {"coordinates": "area"}
        assert found.encoding["coordinates"] == ["version"]
        assert (
            found["heat"]
            .sel(time="2020-01-03", lat=1.5)
            .identical(expected["heat"].sel(time="2020-01-03", lat=1.5))
        )


def test_engine_is_found_by_the_path(path, tmp_path):
    assert ENGINE in xr.backends.list_engines()
    assert xr.open_dataset(path).sizes["lon"] == 5
    assert xr.open_dataset(Path(path)).sizes["lon"] == 5
    entrypoint = backend.NumpackBackendEntrypoint()
    assert entrypoint.guess_can_open(path)
    assert entrypoint.guess_can_open(OLD / "shapes.npk")
    for other in (tmp_path, tmp_path / "no", Path(path) / "commits.log", 3, b"x", None):
        assert not entrypoint.guess_can_open(other)
    with pytest.raises(StoreNotFoundError):
        xr.open_dataset(tmp_path / "no", engine=ENGINE)
    assert not (tmp_path / "no").exists()


def test_folder_of_numpack_0_is_opened_without_attributes():
    with NumPack(OLD / "shapes.npk") as old, xr.open_dataset(OLD / "shapes.npk") as found:
        assert set(found.variables) == set(old)
        for name in old:
            assert found[name].attrs == {}
            assert np.array_equal(found[name].values, old.load(name))


def test_arrays_are_read_when_they_are_needed(path, monkeypatch):
    read = []
    real = backend.StoredArray._read
    monkeypatch.setattr(
        backend.StoredArray, "_read", lambda self, key: (read.append(key), real(self, key))[1]
    )
    dataset = xr.open_dataset(path, engine=ENGINE)
    assert {len(key) for key in read} <= {1}, "only indexes are read on opening"
    read.clear()
    part = dataset["heat"].isel(time=slice(1, 3), lon=2)[:, ::2]
    repr(dataset)
    assert read == []
    assert np.array_equal(part.values, HEAT[1:3, ::2, 2])
    assert read == [(slice(1, 3, 1), slice(0, 6, 2), 2)]


INDEXES = [
    {"time": 2},
    {"time": -1, "lat": 0, "lon": 4},
    {"lat": slice(1, 5, 2)},
    {"time": slice(None, None, -1), "lon": slice(4, 0, -2)},
    {"time": [3, 0, 3]},
    {"time": [3, 0], "lat": 2},
    {"time": [3, 0], "lon": 2},
    {"time": [0, 2], "lat": slice(1, 4), "lon": [4, 4, 0]},
    {"lat": [5, 1], "lon": [0, 2]},
    {"time": 1, "lat": [5, 1, 1], "lon": slice(2)},
    {"time": slice(1, 1)},
    {"time": []},
    {"time": np.array([True, False, True, False])},
    {
        "time": xr.DataArray([0, 3, 1], dims="point"),
        "lat": xr.DataArray([5, 0, 5], dims="point"),
    },
    {
        "time": xr.DataArray([[0, 3], [1, 2]], dims=("a", "b")),
        "lon": xr.DataArray([1, 0], dims="b"),
    },
    {"lat": xr.DataArray([2, 2, 0, 5], dims="time")},
]


@pytest.mark.parametrize("dropped", [False, True])
def test_every_kind_of_index_selects_what_xarray_selects(climate, path, dropped):
    heat = HEAT
    if dropped:
        climate.save({"heat": np.insert(HEAT, [1, 3], -1.0, axis=0)})
        climate.drop("heat", [1, 4])
    with xr.open_dataset(path, engine=ENGINE, drop_variables=["time", "lat"]) as dataset:
        expected = xr.DataArray(heat, dims=("time", "lat", "lon"))
        for index in INDEXES:
            found = dataset["heat"].isel(index).drop_vars(["area", "version"])
            xr.testing.assert_equal(found, expected.isel(index))


def test_values_are_independent_and_writable(climate, path):
    with xr.open_dataset(path, engine=ENGINE) as dataset:
        for index in ({}, {"time": slice(1, 3)}, {"time": 1}, {"time": [1, 2]}, {"lon": 3}):
            values = dataset["heat"].isel(index).load().values
            values[...] = -1
        dataset["version"].load().values[...] = 7
    assert np.array_equal(climate.load("heat"), HEAT)
    assert climate.load("version") == 3


def test_dataset_is_of_one_commit(climate, path):
    dataset = xr.open_dataset(path, engine=ENGINE)
    climate.replace({"heat": -HEAT[:1]}, 0)
    climate.append({"rain": np.ones(2, "f4")})
    climate.attrs["heat"]["units"] = "C"
    climate.drop("lat")
    climate.save({"area": np.zeros((6, 5))})
    assert np.array_equal(dataset["heat"].values, HEAT)
    assert dataset["heat"].units == "K"
    assert np.array_equal(dataset["area"].values, np.arange(30).reshape(6, 5))
    dataset.close()
    dataset.close()
    climate.drop("rain")
    with xr.open_dataset(path, engine=ENGINE, drop_variables="area") as now:
        assert np.array_equal(now["heat"].values[0], -HEAT[0])
        assert now["heat"].units == "C"
        assert "area" not in now


def test_close_ends_the_hold_of_the_files(climate, path):
    dataset = xr.open_dataset(path, engine=ENGINE)
    files = climate._handle.require_session().files
    entry = climate._handle.require_session().arrays()["heat"]
    assert files.is_held(entry)
    dataset.close()
    assert not files.is_held(entry)


@pytest.mark.parametrize(
    "dims", [["a", "b"], "abc", ["a", "b", "a"], ["a", "b", 3], {"a": 1}, [], None]
)
def test_dims_that_do_not_fit_are_refused(climate, path, dims):
    climate.attrs["heat"]["dims"] = dims
    with pytest.raises(InvalidValueError, match="a list of 3 different names is needed"):
        xr.open_dataset(path, engine=ENGINE)
    xr.open_dataset(path, engine=ENGINE, drop_variables=["heat"]).close()


def test_lengths_that_differ_are_refused(climate, path):
    climate.append({"rain": np.ones(2, "f4")})
    what = "dimension 'time' has the length 4 in 'heat' and 6 in 'rain'"
    with pytest.raises(InvalidValueError, match=what):
        xr.open_dataset(path, engine=ENGINE)
    xr.open_dataset(path, engine=ENGINE, drop_variables="rain").close()


# Dask and other processes


def test_chunks_give_dask_arrays_over_the_file(path):
    with xr.open_dataset(path, engine=ENGINE, chunks={}) as dataset:
        assert isinstance(dataset["heat"].data, dask.array.Array)
        assert dataset["heat"].data.numblocks == (1, 1, 1)
        assert np.array_equal(dataset["heat"].mean("time").values, HEAT.mean(0))
    with xr.open_dataset(path, engine=ENGINE, chunks={"time": 1, "lat": 4}) as dataset:
        assert dataset["heat"].chunks == ((1, 1, 1, 1), (4, 2), (5,))
        with dask.config.set(scheduler="processes", num_workers=2):
            assert np.array_equal((dataset["heat"] * 2).values, HEAT * 2)


def test_large_arrays_prefer_chunks_of_rows(climate, path, monkeypatch):
    monkeypatch.setattr(backend, "_CHUNK_BYTES", 600)
    with xr.open_dataset(path, engine=ENGINE, chunks={}) as dataset:
        assert dataset["heat"].encoding["preferred_chunks"] == {"time": 2, "lat": 6, "lon": 5}
        assert dataset["heat"].chunks == ((2, 2), (6,), (5,))
        assert dataset["rain"].chunks == ((4,),)
    monkeypatch.setattr(backend, "_CHUNK_BYTES", 10)
    with xr.open_dataset(path, engine=ENGINE, chunks={}) as dataset:
        assert dataset["heat"].chunks[0] == (1, 1, 1, 1)


CHANGES = {
    "append": lambda s: s.append({"rain": np.ones(1, "f4"), "heat": HEAT[:1]}),
    "replace": lambda s: s.replace({"rain": np.ones(1, "f4"), "heat": HEAT[:1] + 1}, 2),
    "drop": lambda s: s.drop(["rain", "heat"], 1),
    "save": lambda s: s.save({"rain": np.ones(4, "f4"), "heat": HEAT + 1}),
}


@pytest.mark.parametrize("change", CHANGES)
def test_names_of_dask_arrays_change_with_the_rows_only(climate, path, change):
    def names() -> list[str]:
        options = {"chunks": {}, "drop_variables": ["time"]}
        with xr.open_dataset(path, engine=ENGINE, **options) as dataset:
            return [dataset[name].data.name for name in ("heat", "rain", "plain")]

    before = names()
    assert names() == before
    CHANGES[change](climate)
    after = names()
    assert after[0] != before[0]
    assert after[1] != before[1]
    with xr.open_dataset(path, engine=ENGINE, chunks={}, drop_variables=["time"]) as dataset:
        assert np.array_equal(dataset["rain"].values, climate.load("rain"))


def total(dataset: xr.Dataset) -> float:
    return float(dataset["heat"].sum())


@pytest.mark.parametrize("chunks", [None, {"time": 1}])
def test_datasets_pickle_by_reference(climate, path, chunks):
    large = {"heat": np.ones((4, 600, 50)), "area": np.ones((600, 50))}
    climate.save({"lat": np.arange(600), **large})
    with xr.open_dataset(path, engine=ENGINE, chunks=chunks, cache=False) as dataset:
        pickled = pickle.dumps(dataset)
        assert len(pickled) < 40_000
        with ProcessPoolExecutor(1, get_context("spawn")) as pool:
            assert pool.submit(total, dataset).result() == 120_000
        copy = pickle.loads(pickled)
        copy.close()
        assert total(copy) == 120_000
        assert total(dataset) == 120_000


# Writing


def test_saved_dataset_is_read_as_it_was(tmp_path):
    dataset = xr.Dataset(
        {
            "heat": (("time", "lat"), HEAT[:, :, 0], {"units": "K", "range": (0, np.int8(9))}),
            "flag": ((), np.array(True)),
        },
        coords={
            "time": DAYS,
            "lat": ("lat", np.arange(6.0), {"units": "degrees"}),
            "area": (("lat",), np.arange(6)),
        },
        attrs={"title": "t"},
    )
    path = tmp_path / "s.npk"
    with NumPack(path) as store:
        store.save({"heat": np.zeros(3), "other": np.zeros(2)})
        store.attrs["heat"]["old"] = store.attrs.store["old"] = 1
    backend.to_store(dataset.chunk({"time": 2}), path)
    with xr.open_dataset(path, drop_variables="other") as found:
        dataset["heat"].attrs["range"] = [0, 9]
        dataset.attrs["old"] = 1
        xr.testing.assert_identical(found.load(), dataset)
    with NumPack(path, mode="r") as store:
        assert store._handle.require_session().history.refresh().commit == 4
        assert "other" in store


def test_datasets_that_cannot_be_saved_change_nothing(tmp_path):
    one = xr.DataArray([1], dims="a")
    refused = {
        "rename it": xr.Dataset({"x": one.assign_attrs(dims=3)}),
        "the dataset .* rename it": xr.Dataset({"x": one}, attrs={"coordinates": "x"}),
        "'bad': an attribute cannot be bytes": xr.Dataset({"x": one}, attrs={"bad": b""}),
        "'y': .*object": xr.Dataset({"x": one, "y": ("a", np.array([{}], object))}),
        "str as the name": xr.Dataset({"x": one, 3: one}),
        "an xarray.Dataset": one,
    }
    path = tmp_path / "s.npk"
    NumPack(path).open()
    for what, dataset in refused.items():
        with pytest.raises(NumpackError, match=what):
            backend.to_store(dataset, path)
        with NumPack(path, mode="r") as store:
            assert list(store) == []
            assert store.attrs.store == {}
