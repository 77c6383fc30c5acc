"""Libraries that receive a lazy array from their users, each by a call of its own."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from support.memory import address, shares_pages

from numpack import LazyArray, NumPack

FLOATS = np.random.default_rng(5).random((64, 8), "f4")
NUMBERS = np.arange(64.0)
IMAGE = np.arange(48, dtype="u1").reshape(4, 4, 3)
ARRAYS = {"floats": FLOATS, "numbers": NUMBERS, "image": IMAGE}
DROPPED = [3, 9]


@pytest.fixture
def stored():
    """A store of each array, and of each with dropped rows."""
    with NumPack("s.npk") as store:
        store.save(ARRAYS | {f"{name} holed": array for name, array in ARRAYS.items()})
        store.drop("floats holed", DROPPED)
        store.drop("numbers holed", DROPPED)
        store.drop("image holed", [1])
        yield store


def both(store: NumPack, name: str) -> list[tuple[LazyArray, np.ndarray]]:
    """Return an array and the one with dropped rows, each lazy and as NumPy computes it."""
    found = [(store.load(name, lazy=True), ARRAYS[name])]
    dropped = [1] if name == "image" else DROPPED
    holed = store.load(f"{name} holed", lazy=True)
    return [*found, (holed, np.delete(ARRAYS[name], dropped, axis=0))]


def is_shared(lazy: LazyArray, first: int) -> bool:
    return shares_pages(first, address(np.asarray(lazy)))


def test_pillow(stored):
    from PIL import Image

    lazy = stored.load("image", lazy=True)
    image = Image.fromarray(lazy)
    assert (image.mode, image.size) == ("RGB", (4, 4))
    assert np.array_equal(np.asarray(image), IMAGE)
    grey = Image.fromarray(stored.load("numbers", lazy=True).view("u1").reshape(8, 64))
    assert grey.tobytes() == NUMBERS.tobytes()
    stored.save({"grey": IMAGE[..., 0]})
    grey = Image.fromarray(stored.load("grey", lazy=True))  # mode L is mapped, not copied
    assert grey.readonly
    grey.putpixel((0, 0), 99)
    assert grey.getpixel((0, 0)) == 99
    assert np.array_equal(stored.load("grey"), IMAGE[..., 0])
    holed = stored.load("image holed", lazy=True)
    with pytest.raises(AttributeError, match=r"rows were deleted.*lazy.copy\(\)"):
        Image.fromarray(holed)
    assert Image.fromarray(holed.copy()).size == (4, 3)


def test_opencv_takes_a_view(stored):
    import cv2

    lazy = stored.load("image", lazy=True)
    assert np.array_equal(cv2.flip(lazy[:], 0), IMAGE[::-1])
    assert cv2.mean(lazy[:])[:3] == pytest.approx(IMAGE.mean(axis=(0, 1)))
    assert is_shared(lazy, address(lazy[:]))


def test_usearch_takes_a_view(stored):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from usearch.index import Index, search

    lazy = stored.load("floats", lazy=True)
    index = Index(ndim=8)
    index.add(np.arange(64), lazy[:])
    assert index.search(lazy[5], 1).keys.tolist() == [5]
    assert search(lazy[:], lazy[7:9], 1, exact=True).keys.ravel().tolist() == [7, 8]


def test_faiss(stored):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of SWIG, about its own types
        import faiss

    for lazy, array in both(stored, "floats"):
        index = faiss.IndexFlatL2(8)
        index.add(lazy)
        assert index.search(lazy, 1)[1].ravel().tolist() == list(range(len(array)))
        assert faiss.knn(lazy, lazy, 1)[1].ravel().tolist() == list(range(len(array)))


def test_zarr(stored):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import zarr

        for number, (lazy, array) in enumerate(both(stored, "floats")):
            created = zarr.create_array(f"z{number}.zarr", data=lazy)
            assert np.array_equal(created[:], array)
            created[:] = lazy
            assert np.array_equal(created[:], array)
            zarr.save(f"s{number}.zarr", lazy)
            assert np.array_equal(zarr.load(f"s{number}.zarr"), array)
            assert np.array_equal(zarr.array(lazy)[:], array)


def test_polars(stored):
    import polars as pl

    for lazy, array in both(stored, "numbers"):
        series = pl.Series("x", lazy)
        assert series.to_list() == array.tolist()
        assert pl.DataFrame({"x": lazy})["x"].to_list() == array.tolist()
    lazy = stored.load("numbers", lazy=True)
    assert is_shared(lazy, address(pl.Series("x", lazy).to_numpy()))
    rows = pl.Series("x", stored.load("floats", lazy=True))
    assert np.array_equal(np.array(rows.to_list(), "f4"), FLOATS)


def test_pyarrow(stored):
    import pyarrow as pa

    for lazy, array in both(stored, "numbers"):
        for found in (pa.array(lazy), pa.chunked_array(lazy).chunk(0)):
            assert found.type == pa.float64()
            assert found.to_pylist() == array.tolist()
        assert pa.table({"x": lazy})["x"].to_pylist() == array.tolist()
        assert pa.array(lazy, pa.float32()).type == pa.float32()
    lazy = stored.load("numbers", lazy=True)
    assert is_shared(lazy, pa.array(lazy).buffers()[1].address)
    assert is_shared(lazy, pa.py_buffer(lazy).address)
    schema, values = lazy.__arrow_c_array__()
    assert pa.Array._import_from_c_capsule(schema, values).to_pylist() == NUMBERS.tolist()
    rows = pa.array(stored.load("floats", lazy=True))
    assert rows.type == pa.list_(pa.float32(), 8)
    assert rows.to_pylist() == FLOATS.tolist()
    stored.save({"zero": np.array(1.0)})
    with pytest.raises(TypeError, match=r"0-d.*lazy.reshape\(1\)"):
        pa.array(stored.load("zero", lazy=True))


def test_duckdb(stored):
    import duckdb

    numbers, holed = (lazy for lazy, _ in both(stored, "numbers"))
    with duckdb.connect() as connection:
        for lazy, total in ((numbers, NUMBERS.sum()), (holed, NUMBERS.sum() - 12)):
            connection.register("x", lazy)
            assert connection.sql("select sum(value) from x").fetchall() == [(total,)]


def test_jax(stored):
    import jax
    import jax.numpy as jnp

    for lazy, array in both(stored, "floats"):
        put = jax.device_put(lazy)
        assert isinstance(put, jax.Array)
        assert np.array_equal(put, array)
        total = jax.jit(lambda x: (x * 2).sum())(lazy)
        assert float(total) == pytest.approx(2 * array.sum(dtype="f8"), rel=1e-5)
        assert np.array_equal(jax.vmap(lambda row: row[0])(lazy), array[:, 0])
        assert jax.grad(lambda x: (x**2).sum())(lazy).shape == array.shape
        for found in (jnp.asarray(lazy), jnp.add(lazy, 0), jnp.zeros(8, "f4") + lazy):
            assert np.array_equal(found, array)
        assert jax.tree.map(np.shape, {"x": lazy}) == {"x": array.shape}


JAX_LATER = """
import numpy as np
from numpack import NumPack
npk = NumPack("s.npk"); npk.open()
before = npk.load("floats", lazy=True)
import jax
after = npk.load("numbers", lazy=True)
assert jax.jit(lambda x: x.sum())(before) == before.sum()
assert jax.device_put(after).shape == (64,)
print("done")
"""


def test_jax_may_be_imported_later(stored, run_python):
    stored.save({"floats": np.ones((64, 8), "f4")})
    assert run_python(JAX_LATER) == "done\n"


def test_functions_that_want_ndarrays_take_a_view(stored):
    import torch

    lazy = stored.load("floats", lazy=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, that the memory is read-only
        batch = torch.utils.data.default_collate([lazy[:2], lazy[2:4]])
        shared = torch.from_numpy(lazy[:])
    assert np.array_equal(batch, FLOATS[:4].reshape(2, 2, 8))
    assert is_shared(lazy, shared.data_ptr())
    assert memoryview(lazy[2:4]).shape == (2, 8)


def test_tensors_and_frames_from_a_lazy_array(stored):
    import pandas as pd
    import torch
    import xarray as xr

    for lazy, array in both(stored, "floats"):
        assert np.array_equal(pd.DataFrame(lazy), array)
        assert np.array_equal(xr.DataArray(lazy), array)
    lazy = stored.load("floats", lazy=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of torch, that the memory is read-only
        assert np.array_equal(torch.tensor(lazy), FLOATS)
        assert is_shared(lazy, torch.as_tensor(lazy).data_ptr())


def test_scikit_learn_and_scipy(stored):
    from scipy import sparse, stats
    from sklearn.decomposition import PCA
    from sklearn.utils import check_array

    for lazy, array in both(stored, "floats"):
        assert np.array_equal(check_array(lazy), array)
        assert PCA(2).fit_transform(lazy).shape == (len(array), 2)
        assert np.array_equal(sparse.csr_array(lazy).toarray(), array)
        assert np.allclose(stats.zscore(lazy), stats.zscore(array))
    lazy = stored.load("floats", lazy=True)
    assert is_shared(lazy, address(check_array(lazy)))
