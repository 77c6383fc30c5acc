"""Packages in Dask and xarray, whose workers map the file by reference."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import xarray

import numpack
from numpack import NumPack, errors
from numpack.distributed.dask import from_store, to_store

ROWS = np.arange(64_000, dtype="f4").reshape(1000, 64)


@pytest.fixture
def package():
    with NumPack("s.npk", mode="x") as store:
        store.save({"x": ROWS, "y": np.arange(1000)})
        store.attrs["x"]["dims"] = ["row", "column"]
    return numpack.pack("s.npk")


def test_dask_arrays_refer_to_the_package(package):
    array = from_store(package, "x", chunks=(100, 64))
    data = pickle.dumps(array)
    assert len(data) < 20_000 < ROWS.nbytes
    assert np.array_equal(pickle.loads(data).compute(scheduler="sync"), ROWS)
    assert np.array_equal(array[5:7].compute(scheduler="sync"), ROWS[5:7])
    with pytest.raises(errors.UnsupportedError, match="numpack.unpack"):
        to_store(array, package, "z")


def test_xarray_opens_a_package(package):
    with xarray.open_dataset(package, engine="numpack") as found:
        assert found["x"].dims == ("row", "column")
        assert np.array_equal(found["x"].values, ROWS)
