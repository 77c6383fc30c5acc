"""`ZeroCopyArray`."""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow as pa
import pytest
import torch
from support.arrays import (
    elements,
    make,
)
from support.each import for_each
from support.memory import address
from support.oracles import oracle

from numpack import (
    CopyWarning,
    InvalidValueError,
    MissingDependencyError,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyArray,
    ZeroCopyError,
    share,
)
from numpack.io import (
    numpy_to_torch_zero_copy,
    wrap_for_zero_copy,
)


def test_wrapper_exports_share_memory():
    a = np.arange(6.0).reshape(2, 3)
    wrapper = wrap_for_zero_copy(a)
    expected = address(a)
    assert address(wrapper.to_numpy()) == expected
    assert wrapper.to_torch(copy=False).data_ptr() == expected
    assert wrapper.to_arrow(copy=False).buffers()[1].address == expected
    assert address(np.from_dlpack(wrapper.to_dlpack(copy=False))) == expected
    assert address(np.from_dlpack(wrapper)) == expected
    assert torch.from_dlpack(wrapper).data_ptr() == expected
    assert pa.array(wrapper).buffers()[1].address == expected
    assert address(np.asarray(wrapper)) == expected
    assert share(wrapper, "torch", copy=False).data_ptr() == expected
    assert numpy_to_torch_zero_copy(wrapper, copy=False).data_ptr() == expected


def test_wrapper_copies_on_request():
    a = np.arange(6.0).reshape(2, 3)
    wrapper = ZeroCopyArray(a)
    for copied in (
        wrapper.to_numpy(copy=True),
        wrapper.to_torch(copy=True).numpy(),
        ZeroCopyArray(a, copy=True).array,
        np.array(wrapper),
        np.asarray(wrapper, copy=True),
        np.asarray(wrapper, dtype="f4"),
    ):
        assert copied.tolist() == a.tolist()
        assert not np.shares_memory(copied, a)
        assert copied.flags.writeable
    with pytest.raises(ValueError, match="copy"):
        np.asarray(wrapper, dtype="f4", copy=False)


def test_wrapper_has_the_attributes_of_its_array():
    a = np.zeros((2, 3), "f4")
    wrapper = ZeroCopyArray(a)
    assert (
        wrapper.shape,
        wrapper.dtype,
        wrapper.ndim,
        wrapper.size,
        wrapper.nbytes,
        len(wrapper),
    ) == (
        a.shape,
        a.dtype,
        a.ndim,
        a.size,
        a.nbytes,
        len(a),
    )
    assert repr(wrapper) == "ZeroCopyArray(float32 array of shape (2, 3), 24 bytes)"
    assert wrapper.__dlpack_device__() == (1, 0)
    with pytest.raises(TypeError):
        len(ZeroCopyArray(np.array(1.0)))


def test_wrapper_from_other_frameworks():
    t = torch.arange(6.0).reshape(2, 3)
    assert address(ZeroCopyArray.from_torch(t, copy=False).array) == t.data_ptr()
    array = pa.array([1.0, 2.0])
    assert (
        address(ZeroCopyArray.from_arrow(array, copy=False).array) == array.buffers()[1].address
    )
    assert address(ZeroCopyArray.from_dlpack(t, copy=False).array) == t.data_ptr()
    masked = ZeroCopyArray.from_arrow(pa.array([1, None]), nulls="mask", copy=False)
    assert masked.array.tolist() == [1, None]
    with pytest.raises(ZeroCopyError, match="not C-contiguous"):
        ZeroCopyArray.from_torch(t.t(), copy=False)
    assert ZeroCopyArray.from_torch(t.t(), order="K", copy=False).array.shape == (3, 2)
    assert ZeroCopyArray.from_torch(t, copy=True).array.ctypes.data != t.data_ptr()


METHODS = {
    "jax": ZeroCopyArray.to_jax,
    "tensorflow": ZeroCopyArray.to_tensorflow,
    "pandas": ZeroCopyArray.to_pandas,
    "polars": ZeroCopyArray.to_polars,
    "torch": ZeroCopyArray.to_torch,
}


@pytest.mark.parametrize("name", METHODS)
def test_wrapper_to_other_frameworks(name):
    wrapper = ZeroCopyArray(np.arange(6, dtype="f4"), copy=True)  # 64-byte aligned
    where = address(wrapper.array)
    for convert in (METHODS[name], lambda wrapper, **options: wrapper.to(name, **options)):
        assert oracle(name).address(convert(wrapper, copy=False)) == where
        assert oracle(name).address(convert(wrapper, copy=True)) != where
        assert oracle(name).values(convert(wrapper)).tolist() == [0, 1, 2, 3, 4, 5]


def test_wrapper_passes_options_on():
    wrapper = ZeroCopyArray(np.arange(6.0).reshape(3, 2))
    with pytest.warns(CopyWarning, match="it has to be cast to float32") as caught:
        assert wrapper.to_jax(dtype="float32").dtype == "float32"
    assert caught[0].filename == __file__
    assert wrapper.to("polars", schema=["a", "b"], copy=True).columns == ["a", "b"]
    with pytest.raises(WrongTypeError, match="there is no option 'schema'"):
        wrapper.to("torch", schema=["a"])
    with pytest.raises(InvalidValueError, match="no framework is called 'spark'"):
        wrapper.to("spark")


def test_wrapper_to_cupy_reports_what_is_missing():
    with pytest.raises((MissingDependencyError, UnsupportedError), match="[Cc]u[Pp]y"):
        ZeroCopyArray(np.zeros(3)).to_cupy()


def test_wrapper_keeps_a_mask_or_refuses():
    a = np.ma.array([[1, 2], [3, 4]], mask=[[0, 1], [0, 0]])
    wrapper = ZeroCopyArray(a.T, order="C", copy=True)
    assert wrapper.array.tolist() == a.T.tolist()
    assert wrapper.to_arrow(layout="list").to_pylist() == a.T.tolist()
    with pytest.raises(UnsupportedError, match="would drop its mask"):
        np.asarray(wrapper)


def test_wrapper_over_read_only_memory():
    a = np.zeros(3)
    a.flags.writeable = False
    assert not np.from_dlpack(ZeroCopyArray(a)).flags.writeable
    assert ZeroCopyArray(a, copy=True).array.flags.writeable


@pytest.mark.parametrize("wrong", [[1], 1.0, torch.zeros(2), None, np.float64(1)])
def test_wrapper_refuses_other_objects(wrong):
    with pytest.raises(WrongTypeError, match="ZeroCopyArray expects a numpy.ndarray, got"):
        ZeroCopyArray(wrong)


def record_warnings(function):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function()
    for warning in caught:
        assert warning.filename == __file__, "a warning points at the caller's line"
    return result, [warning.category for warning in caught]


@for_each("layout", ["c", "fortran", "sliced", "negative", "swapped", "odd_bytes"])
@for_each("order", ["C", "K"])
@for_each("name", ["float32", "bfloat16", "M8[D]", "U5", "object", "struct"])
def test_wrapper_normalizes_an_array_once(name, layout, order, tmp_path):
    if layout == "odd_bytes" and name == "object":
        return  # objects cannot be made at an odd address
    array = make(name, layout, tmp_path)
    is_normalized = array.flags.c_contiguous and array.dtype.isnative and array.flags.aligned
    if order == "K" or is_normalized:
        wrapper = ZeroCopyArray(array, order=order, copy=False)
        assert wrapper.array is array
    else:
        with pytest.raises(ZeroCopyError, match="not C-contiguous|not in native|not aligned"):
            ZeroCopyArray(array, order=order, copy=False)
        wrapper, categories = record_warnings(lambda: ZeroCopyArray(array, order=order))
        assert categories == [CopyWarning]
        assert wrapper.array.flags.c_contiguous
        assert wrapper.array.dtype.isnative
        assert array.dtype.hasobject or address(wrapper.array) % 64 == 0
    assert elements(wrapper.array) == elements(array)
    assert wrapper.to_numpy() is wrapper.to_numpy()
