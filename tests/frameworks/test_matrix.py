"""The table: every dtype × layout × writability × target × policy from NumPy memory.

Expected results are derived from docs/exchange.md only. Actual results are determined from
addresses and values, and must match the route that `explain` returned before.
"""

from __future__ import annotations

import warnings

import numpy as np
import pyarrow as pa
import pytest
import torch
from support.arrays import (
    CONTIGUOUS,
    LOWPREC,
    NATIVE,
    OTHERS,
    TIMES,
    aligned,
    cells,
    dtype_of,
    elements,
    make,
)
from support.memory import address, is_private_copy_on_write, shares_pages

from numpack import (
    CopyWarning,
    ReadOnlyWarning,
    UnsupportedError,
    ZeroCopyArray,
    ZeroCopyError,
    explain,
    share,
)
from numpack.io import from_dlpack

ALL = [*NATIVE, *LOWPREC, *TIMES, *OTHERS]
SUB_BYTE = ("int4", "uint4", "int2", "uint2", "int1", "uint1")  # torch defines these names
SHARE, COPY, REFUSE = "share", "copy", "refuse"


def expected_to_torch(name: str, layout: str) -> str:
    if not isinstance(getattr(torch, name, None), torch.dtype) or name == "object":
        return REFUSE
    if name in SUB_BYTE or layout == "masked":
        return REFUSE
    if layout in ("swapped", "negative") or not aligned(name, layout):
        return COPY
    return SHARE


def expected_to_arrow(name: str, layout: str) -> str:
    kind, unit = dtype_of(name).kind, None
    if kind in "mM":
        unit, count = np.datetime_data(dtype_of(name))
        exact = ("s", "ms", "us", "ns", "h", "m", "W", "D") + (
            ("M", "Y") if kind == "M" else ()
        )
        if unit not in exact:
            return REFUSE
        if unit not in ("s", "ms", "us", "ns") or count != 1:
            return COPY
    if kind == "c" or name in (*LOWPREC, "longdouble", "clongdouble", "struct"):
        return REFUSE
    if kind in "bUTO":
        return COPY
    shared = layout in CONTIGUOUS or (layout == "odd_bytes" and aligned(name, layout))
    return SHARE if shared else COPY


def expected_to_dlpack(name: str, layout: str, order: str = "C") -> str:
    if name not in (*NATIVE, *LOWPREC) or layout == "masked":
        return REFUSE
    if layout == "swapped" or not aligned(name, layout):
        return COPY
    if order == "K":
        return COPY if layout == "negative" else SHARE
    return SHARE if layout in CONTIGUOUS or layout == "odd_bytes" else COPY


def torch_bytes(tensor: torch.Tensor, dtype: np.dtype) -> bytes:
    if dtype.type.__module__ == "ml_dtypes":
        tensor = tensor.view({1: torch.uint8, 2: torch.uint16}[dtype.itemsize])
    return np.ascontiguousarray(tensor.numpy()).tobytes()


def arrow_values(array: pa.Array, dtype: np.dtype) -> list:
    """Return the values of an Arrow array as converted by pyarrow itself."""
    if dtype.kind in "mM":
        return array.to_numpy(zero_copy_only=False).astype(dtype).tolist()
    return array.to_pylist()


def numpy_values(array: np.ndarray) -> list:
    flat = np.ma.getdata(array).view(np.ndarray).ravel()
    if array.dtype.kind in "SV":
        width = array.dtype.itemsize
        flat = np.array([bytes(each).ljust(width, b"\0") for each in flat], object)
    found = flat.tolist()
    if isinstance(array, np.ma.MaskedArray):
        hidden = np.ma.getmaskarray(array).ravel()
        return [None if masked else each for each, masked in zip(found, hidden, strict=True)]
    return found


class Target:
    """Access to the values, shape and memory of the results of one target."""

    def __init__(self, name: str, expected, **options):
        self.name, self.expected, self.options = name, expected, options

    def same_values(self, source: np.ndarray, result) -> bool:
        if self.name == "torch":
            return torch_bytes(result, source.dtype) == elements(source)
        if self.name == "arrow":
            return arrow_values(result, source.dtype) == numpy_values(source)
        return elements(from_dlpack(result)) == elements(source)

    def shape(self, result) -> tuple:
        if self.name == "torch":
            return tuple(result.shape)
        return (len(result),) if self.name == "arrow" else result.array.shape

    def memory(self, result) -> tuple[int, object]:
        """Return the address of the first element, and the object that owns the memory."""
        if self.name == "torch":
            return result.data_ptr(), result
        if self.name == "arrow":
            return result.buffers()[1].address + result.offset, result
        consumer = from_dlpack(result)
        return address(consumer), consumer


TARGETS = {
    "torch": Target("torch", expected_to_torch),
    "arrow": Target("arrow", expected_to_arrow),
    "dlpack": Target("dlpack", expected_to_dlpack),
    "dlpack-K": Target("dlpack", lambda n, la: expected_to_dlpack(n, la, "K"), order="K"),
}


def record_warnings(function):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = function()
    for warning in caught:
        assert warning.filename == __file__, "a warning points at the caller's line"
    return result, [warning.category for warning in caught]


@pytest.mark.parametrize("readonly", [False, True], ids=["writable", "readonly"])
@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
@pytest.mark.parametrize(("name", "layout"), cells(ALL), ids=lambda each: each)
def test_conversion_from_numpy(name, layout, target, readonly, tmp_path):
    array = make(name, layout, tmp_path, readonly=readonly)
    before = elements(array)
    expected = target.expected(name, layout)
    route = explain(array, target.name, **target.options)
    assert route.supported == (expected != REFUSE)
    assert route.shares_memory == (expected == SHARE)
    assert route.nbytes == (array.nbytes if expected == COPY else 0)
    assert bool(route.reason) == bool(route.fix) == (expected != SHARE)
    if expected == REFUSE:
        for copy in (None, False, True):
            with pytest.raises(UnsupportedError, match="Zero-copy conversion to"):
                share(array, target.name, copy=copy, **target.options)
        return
    check_default(array, target, expected)
    check_without_copy(array, target, expected)
    check_copied(array, target)
    assert elements(array) == before


def check_default(array, target, expected):
    result, categories = record_warnings(lambda: share(array, target.name, **target.options))
    assert categories == warnings_for(array, target, expected)
    assert target.same_values(array, result)
    assert np.prod(target.shape(result), dtype=int) == array.size
    if array.nbytes:
        assert is_shared(array, target, result) == (expected == SHARE)


def check_without_copy(array, target, expected):
    if expected == SHARE:
        result, _ = record_warnings(
            lambda: share(array, target.name, copy=False, **target.options)
        )
        assert target.same_values(array, result)
        assert not array.nbytes or is_shared(array, target, result)
    else:
        message = (
            f"Zero-copy conversion to .* failed: .*; a copy takes {array.nbytes:,} bytes; "
        )
        with pytest.raises(ZeroCopyError, match=message):
            share(array, target.name, copy=False, **target.options)


def check_copied(array, target):
    result, categories = record_warnings(
        lambda: share(array, target.name, copy=True, **target.options)
    )
    assert categories == []
    assert target.same_values(array, result)
    if not array.nbytes:
        return
    assert not is_shared(array, target, result)
    if target.name == "torch":
        before = elements(array)
        result.view(-1).view(torch.uint8)[0] ^= 1  # the copy is writable
        assert elements(array) == before  # and independent of the source


def warnings_for(array, target, expected) -> list:
    if expected == COPY:
        return [CopyWarning]
    if target.name == "torch" and array.nbytes and not array.flags.writeable:
        ordinary = not isinstance(array.base, np.memmap) and not isinstance(array, np.memmap)
        return [ReadOnlyWarning] if ordinary or array_is_writable_map(array) else []
    return []


def array_is_writable_map(array) -> bool:
    """Whether the array views a file mapped for writing and is only flagged read-only."""
    maps = [each for each in (array, array.base) if isinstance(each, np.memmap)]
    return any(each.mode != "r" for each in maps)


def is_shared(array, target, result) -> bool:
    source = address(array)
    got, _owner = target.memory(result)
    if source == got:
        return True
    read_only_map = isinstance(array, np.memmap) and not array_is_writable_map(array)
    return read_only_map and shares_pages(source, got) and is_private_copy_on_write(got)


@pytest.mark.parametrize(
    "layout", ["c", "fortran", "sliced", "negative", "swapped", "odd_bytes"]
)
@pytest.mark.parametrize("order", ["C", "K"])
@pytest.mark.parametrize("name", ["float32", "bfloat16", "M8[D]", "U5", "object", "struct"])
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
