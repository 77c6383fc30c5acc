"""Stores in an object store, read by processes of Dask, Ray and others."""

import concurrent.futures
import multiprocessing
import pickle

import numpy as np
import pytest

from numpack import NumPack, UnsupportedError


@pytest.fixture
def url(tmp_path, monkeypatch):
    """Make a store, and return a URL by which other processes read it too."""
    monkeypatch.setenv("NUMPACK_CACHE", str(tmp_path / "cache"))
    with NumPack("remote.npk") as npk:
        npk.save({"x": np.arange(600_000.0).reshape(-1, 3), "y": np.arange(200_000)})
        npk.save({"heat": np.arange(24.0).reshape(6, 4)})
        npk.attrs["heat"]["dims"] = ["time", "site"]
    return f"file://{tmp_path}/remote.npk"


@pytest.fixture
def expected(url):
    with NumPack("remote.npk", mode="r") as npk:
        return npk.load("x")


def total(lazy):
    """Return the sum; called in another process."""
    return float(np.asarray(lazy).sum())


def test_processes_read_by_reference(url, expected):
    with NumPack(url, mode="r") as npk:
        lazy = npk.load("x", lazy=True)
        content = pickle.dumps(lazy.rows(10, 1000))
        assert len(content) <= 1024
        for kind in ("spawn", "forkserver"):
            context = multiprocessing.get_context(kind)
            with concurrent.futures.ProcessPoolExecutor(2, context) as pool:
                parts = pool.map(
                    total, [lazy.rows(at, at + 50_000) for at in range(0, 200_000, 50_000)]
                )
                assert sum(parts) == expected.sum()


def test_dask_reads_blocks_in_its_workers(url, expected):
    from numpack.distributed.dask import from_store, to_store

    x = from_store(url, "x", chunks=(30_000, 3))
    assert (x.compute(scheduler="threads") == expected).all()
    assert float(x.sum().compute(scheduler="processes", num_workers=2)) == expected.sum()
    assert x.name == from_store(url, "x", chunks=(30_000, 3)).name
    with pytest.raises(UnsupportedError, match="only read"):
        to_store(x, url, "z")


def test_xarray_opens_a_url(url):
    import xarray as xr

    remote = xr.open_dataset(url, engine="numpack", storage_options={})
    with remote, xr.open_dataset("remote.npk", engine="numpack") as local:
        assert remote.load().identical(local.load())
        assert remote["heat"].dims == ("time", "site")
    with xr.open_dataset(url, engine="numpack", chunks={}) as remote:
        assert float(remote["heat"].isel(time=[1, 2], site=slice(0, 2)).sum()) == 26.0


def test_frameworks_share_the_cache(url, expected):
    import torch

    with NumPack(url, mode="r") as npk:
        tensor = npk.share("x", "torch", copy=False)
        assert (tensor.numpy() == expected).all()
        assert (torch.from_dlpack(npk.load("x", lazy=True)).numpy() == expected).all()
        assert npk.load("x", lazy=True).__arrow_c_array__() is not None
        import jax

        assert float(jax.jit(lambda a: a.sum())(npk.load("y", lazy=True)[:10])) == 45.0
