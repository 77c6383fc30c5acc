"""Subclasses of ndarray: kept alive, and none of their code is run."""

from __future__ import annotations

import gc
import weakref

import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
import torch
from support.each import for_each
from support.exchange.subclasses import Hooked, Masked, Owned, of_class, owned

from numpack import NumPack, UnsupportedError, ZeroCopyArray, explain, share
from numpack.io import to_dlpack

TARGETS = ("torch", "arrow", "polars", "pandas", "jax", "tensorflow", "onnxruntime", "xarray")
pytestmark = pytest.mark.filterwarnings("ignore::numpack.CopyWarning")
ROUTES = {
    "to_dlpack": lambda a: torch.from_dlpack(to_dlpack(a)),
    "wrapper": lambda a: ZeroCopyArray(a).to_torch(),
    "wrapper to Arrow": lambda a: ZeroCopyArray(a).to_arrow(),
    "tensors": lambda a: share(a, "arrow", layout="tensor"),
    "back again": lambda a: share(share(a, "torch"), "numpy")[:, 1:],
    "twice": lambda a: share(share(share(a, "arrow"), "numpy"), "polars"),
}


@pytest.fixture(scope="module", autouse=True)
def _frozen_modules():
    """Freeze the objects of the frameworks' modules, which every `gc.collect` would visit."""
    for target in (*TARGETS, "duckdb"):
        share(np.zeros((4, 16), "f4"), target)
    gc.collect()
    gc.freeze()


@for_each("kind", [Owned, np.ndarray], ids=["subclass", "plain"])
@for_each("route", ROUTES)
def test_result_of_several_steps_keeps_the_array_itself_alive(route, kind):
    for shape in ((1, 16), (4, 16)):
        gone: list[str] = []
        array = owned(gone, shape, kind)
        result = ROUTES[route](array)
        del array
        gc.collect()
        assert not gone
        del result
        gc.collect()
        assert gone


SOURCES = {
    "tensor": lambda a: torch.from_numpy(a).view(4),
    "parameter": lambda a: torch.nn.Parameter(torch.from_numpy(a)),
    "subclass": lambda a: torch.from_numpy(a).as_subclass(type("Sub", (torch.Tensor,), {})),
    "bfloat16": lambda a: torch.from_numpy(a).view(torch.bfloat16),
    "Arrow": pa.array,
    "memoryview": memoryview,
}


@for_each("source", SOURCES)
def test_array_keeps_its_source_alive(source):
    for _ in range(3):
        gone: list[str] = []
        given = SOURCES[source](np.arange(4.0, dtype="f4"))
        weakref.finalize(given, gone.append, "gone")
        result = share(given, "numpy", copy=False)
        del given
        gc.collect()
        assert not gone
        del result
        gc.collect()
        assert gone


@for_each("dtype", ["f4", "?", "M8[D]", "M8[ns]", "U2", "S2", "O", "c8"])
def test_no_code_of_a_subclass_runs(dtype):
    array = of_class(np.zeros(2, dtype), Hooked)
    for target in (*TARGETS, "duckdb", "nanoarrow", "arro3", "dlpack"):
        for copy in (None, True):
            if explain(array, target).supported:
                share(array, target, copy=copy)
                continue
            with pytest.raises(UnsupportedError):
                share(array, target, copy=copy)


def test_masks_of_other_classes_than_numpy_ma_are_refused():
    array = Masked(np.array([1.0, -999.0, 3.0], "f4"), [False, True, False])
    for target in (*TARGETS, "duckdb", "dlpack"):
        route = explain(array, target)
        assert not route.supported
        with pytest.raises(UnsupportedError) as caught:
            share(array, target)
        assert caught.value.fix == route.fix
    fixed = np.ma.array(np.asarray(array), mask=array.mask)
    assert share(fixed, "arrow").to_pylist() == [1, None, 3]
    assert share(array.filled(0), "torch").tolist() == [1, 0, 3]
    inner = np.empty(1, object)
    inner[0] = array
    with pytest.raises(UnsupportedError, match="not of numpy.ma"):
        share(inner, "arrow")


def test_all_ml_dtypes_are_stored(tmp_path):
    types = [getattr(ml_dtypes, name) for name in dir(ml_dtypes)]
    types = [each for each in types if isinstance(each, type) and issubclass(each, np.generic)]
    with NumPack(tmp_path / "s.npk") as store:
        for kind in types:
            store.save({kind.__name__: np.ones((3, 2), kind)})
            store.append({kind.__name__: np.ones((1, 2), kind)})
    with NumPack(tmp_path / "s.npk") as store:
        for kind in types:
            found = store.load(kind.__name__)
            assert found.dtype == np.dtype(kind)
            assert np.array_equal(found.view("u1"), np.ones((4, 2), kind).view("u1"))
            assert store.load(kind.__name__, lazy=True).dtype == np.dtype(kind)
            for target in (*TARGETS, "duckdb", "dlpack", "buffer"):
                if explain(found, target).supported:
                    share(found, target)
                else:
                    with pytest.raises(UnsupportedError):
                        share(found, target)
    assert len(types) >= 16
