"""Subclasses of ndarray and torch.Tensor: kept alive, and none of their code is run."""

from __future__ import annotations

import gc
import weakref

import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
import torch
from support.subclasses import Hooked, Masked, Owned, of_class, owned
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from numpack import NumPack, UnsupportedError, ZeroCopyArray, explain, share
from numpack.io import from_dlpack, to_dlpack

TARGETS = ("torch", "arrow", "polars", "pandas", "jax", "tensorflow", "onnxruntime", "xarray")
MASKED = ("arrow", "polars", "pandas", "duckdb")  # targets that support masks

pytestmark = [
    pytest.mark.filterwarnings("ignore::numpack.CopyWarning"),
    pytest.mark.usefixtures("fast_collection"),
]

ROUTES = {
    **{target: lambda a, target=target: share(a, target) for target in (*TARGETS, "duckdb")},
    "to_dlpack": lambda a: torch.from_dlpack(to_dlpack(a)),
    "wrapper": lambda a: ZeroCopyArray(a).to_torch(),
    "wrapper to Arrow": lambda a: ZeroCopyArray(a).to_arrow(),
    "tensors": lambda a: share(a, "arrow", layout="tensor"),
    "back again": lambda a: share(share(a, "torch"), "numpy")[:, 1:],
    "twice": lambda a: share(share(share(a, "arrow"), "numpy"), "polars"),
}


@pytest.fixture(scope="module", autouse=True)
def frozen_objects():
    """Freeze the objects of all frameworks, to speed up `gc.collect`."""
    for route in ROUTES.values():
        route(np.zeros((4, 16), "f4"))
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.parametrize("kind", [Owned, np.ndarray], ids=["subclass", "plain"])
@pytest.mark.parametrize("route", ROUTES)
def test_result_keeps_the_array_itself_alive(route, kind):
    for shape in ((1, 16), (4, 16)):
        gone: list[str] = []
        array = owned(gone, shape, kind)
        result = ROUTES[route](array)
        del array
        gc.collect()
        assert not gone
        del result
        gc.collect()
        share(np.arange(64.0, dtype="f4"), "torch")  # TensorFlow releases memory with a delay
        if route != "tensorflow":
            assert gone


SOURCES = {
    "tensor": lambda a: torch.from_numpy(a).view(4),
    "parameter": lambda a: torch.nn.Parameter(torch.from_numpy(a)),
    "subclass": lambda a: torch.from_numpy(a).as_subclass(type("Sub", (torch.Tensor,), {})),
    "bfloat16": lambda a: torch.from_numpy(a).view(torch.bfloat16),
    "Arrow": pa.array,
    "memoryview": memoryview,
}


@pytest.mark.parametrize("source", SOURCES)
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


@pytest.mark.parametrize("dtype", ["f4", "?", "M8[D]", "M8[ns]", "U2", "S2", "O", "c8"])
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


# torch ------------------------------------------------------------------------------------


class Raising(torch.Tensor):
    """A tensor on which every torch function raises."""

    @classmethod
    def __torch_function__(cls, func, types, args=(), kwargs=None):
        raise RuntimeError("a hook has run")


def test_default_device_is_ignored():
    conjugate = torch.tensor([1 + 2j, 3 - 1j]).conj()
    negative = conjugate.imag
    plain, narrow = torch.arange(3.0), torch.ones(3, dtype=torch.bfloat16)
    array = np.arange(3.0)

    def check() -> None:
        assert share(conjugate, "numpy", copy=True).tolist() == [1 - 2j, 3 + 1j]
        assert share(negative, "numpy", copy=True).tolist() == [-2, 1]
        assert share(plain, "numpy", copy=False).tolist() == [0, 1, 2]
        assert share(narrow, "numpy", copy=True).tolist() == [1, 1, 1]
        for given in (array, array[::-1], np.broadcast_to(array, (2, 3))):
            tensor = share(given, "torch", copy=True)
            assert tensor.device.type == "cpu"
            assert tensor.tolist() == given.tolist()
        assert share(array, "torch").data_ptr() == array.ctypes.data

    with torch.device("meta"):
        check()
    torch.set_default_device("meta")
    torch.set_default_dtype(torch.float64)
    try:
        check()
    finally:
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    with torch.inference_mode():
        check()
        assert share(torch.arange(3.0), "numpy").tolist() == [0, 1, 2]


def test_fake_tensor_mode_is_ignored():
    array, tensor = np.arange(3.0), torch.arange(3.0)
    with FakeTensorMode():
        for given in (array, array[::-1]):
            made = share(given, "torch", copy=None)
            assert type(made) is torch.Tensor
            assert share(made, "numpy", copy=True).tolist() == given.tolist()
        assert share(tensor, "numpy", copy=True).tolist() == [0, 1, 2]


def test_torch_function_of_a_subclass_does_not_run():
    tensor = torch.arange(3.0).as_subclass(Raising)
    array = share(tensor, "numpy", copy=False)
    assert array.tolist() == [0, 1, 2]
    assert explain(tensor, "arrow").shares_memory


@pytest.mark.parametrize("kind", [UninitializedParameter, UninitializedBuffer])
def test_uninitialized_parameters_are_refused(kind):
    tensor = kind(requires_grad=False) if kind is UninitializedParameter else kind()
    assert not explain(tensor, "numpy").supported
    with pytest.raises(UnsupportedError, match=r"tensor\.materialize\(shape\)"):
        share(tensor, "numpy")
    tensor.materialize((2,))
    assert share(tensor, "numpy").shape == (2,)


def test_functional_tensors_are_refused():
    tensor = torch._to_functional_tensor(torch.arange(3.0))
    for call in (lambda: share(tensor, "numpy"), lambda: from_dlpack(tensor)):
        with pytest.raises(UnsupportedError, match="functional"):
            call()


NARROW = ("uint1", "uint4", "int4", "bits8", "bits16", "bits1x8", "float4_e2m1fn_x2")


@pytest.mark.parametrize("name", [*NARROW, "complex32"])
@pytest.mark.filterwarnings("ignore:ComplexHalf")
def test_fix_for_a_dtype_that_numpy_lacks_works(name):
    tensor = torch.zeros(2, dtype=torch.uint8).repeat(4).view(getattr(torch, name))
    with pytest.raises(UnsupportedError) as caught:
        share(tensor, "numpy")
    fixed = eval(caught.value.fix.partition(": ")[2], {"tensor": tensor, "torch": torch})
    assert share(fixed, "numpy").size
    if name == "complex32":
        assert fixed.dtype == torch.complex64


def test_stride_of_an_axis_of_length_one_is_normalized():
    whole = torch.arange(3.0)
    odd = whole.as_strided((1, 3), (7, 1))
    found = {share(each, "numpy").strides for each in (odd, odd, odd.as_subclass(Raising))}
    assert found == {(12, 4)}
