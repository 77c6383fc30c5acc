"""Property-based round trips of arbitrary views of arbitrary arrays."""

from __future__ import annotations

import warnings
from itertools import pairwise

import numpy as np
import pyarrow as pa
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from support.arrays import LOWPREC, NATIVE, elements, values
from support.memory import address

from numpack import CopyWarning, NumPack, UnsupportedError, ZeroCopyError, explain, share

COMMON = settings(max_examples=150)
NAMES = [*NATIVE, *LOWPREC]


@st.composite
def views(draw, names=NAMES) -> np.ndarray:
    """Draw an array, transposed and indexed with arbitrary slices, possibly read-only."""
    name = draw(st.sampled_from(names))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5))
    array = values(name, shape)
    array = array.transpose(draw(st.permutations(range(array.ndim))))
    if array.ndim:
        array = array[draw(hnp.basic_indices(array.shape, allow_ellipsis=True))]
    array = np.asarray(array)
    if draw(st.booleans()):
        array.flags.writeable = False
    return array


@COMMON
@given(
    views(), st.sampled_from(["torch", "arrow", "dlpack"]), st.sampled_from([None, False, True])
)
def test_view_of_an_array_round_trips(array, target, copy):
    route = explain(array, target)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            result = share(array, target, copy=copy)
        except UnsupportedError:
            assert not route.supported
            return
        except ZeroCopyError:
            assert copy is False
            assert not route.shares_memory
            return
    assert route.supported
    copied = [w for w in caught if w.category is CopyWarning]
    assert len(copied) == (copy is None and not route.shares_memory)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        back = share(result, "numpy")
    assert back.size == array.size
    if target != "arrow":
        assert back.dtype == array.dtype
        assert back.shape == array.shape
    assert elements(back) == elements(array)
    if array.size and target != "dlpack":
        same = address(back) == address(array)
        assert same == (route.shares_memory and not copy)


@COMMON
@given(array=views([*NATIVE, "M8[ns]", "m8[s]", "S5", "U5", "V3", "struct"]))
def test_view_of_an_array_is_stored(array, tmp_path):
    with NumPack(tmp_path / "any.npk") as npk:
        npk.save({"x": array})
        for loaded in (npk.load("x"), np.asarray(npk.load("x", lazy=True))):
            assert loaded.dtype == array.dtype
            assert loaded.shape == array.shape
            assert elements(loaded) == elements(array)


@COMMON
@given(
    st.lists(st.one_of(st.none(), st.integers(-(2**63), 2**63 - 1)), max_size=20),
    st.integers(0, 20),
    st.lists(st.integers(0, 20), max_size=3),
)
def test_arrow_with_nulls_slices_and_chunks(integers, start, cuts):
    array = pa.array(integers, pa.int64())[start:]
    bounds = sorted({0, *(min(cut, len(array)) for cut in cuts), len(array)})
    chunks = [array[a:b] for a, b in pairwise(bounds)]
    source = pa.chunked_array(chunks, pa.int64())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CopyWarning)
        masked = share(source, "numpy", nulls="mask")
        assert masked.tolist() == array.to_pylist()
        route = explain(source, "numpy")
        try:
            converted = share(source, "numpy")
        except UnsupportedError:
            assert not route.supported
            return
    expected = array.to_pylist()
    found = [None if np.isnan(each) else int(each) for each in converted]
    assert found == expected


@COMMON
@given(
    st.sampled_from(["float32", "bfloat16", "int64", "complex64", "bool"]),
    hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5),
    st.data(),
)
def test_view_of_a_tensor_round_trips(name, shape, data):
    count = int(np.prod(shape))
    tensor = (torch.arange(count) % 2).to(getattr(torch, name)).reshape(shape)
    tensor = tensor.permute(data.draw(st.permutations(range(tensor.ndim))))
    for axis in range(tensor.ndim):
        tensor = tensor.narrow(axis, 0, data.draw(st.integers(0, tensor.shape[axis])))
    array = share(tensor, "numpy", copy=False)
    assert array.shape == tuple(tensor.shape)
    assert array.astype(complex).tolist() == tensor.to(torch.complex128).tolist()
    if array.size:
        assert address(array) == tensor.data_ptr()
        assert share(array, "torch", copy=False).data_ptr() == tensor.data_ptr()
