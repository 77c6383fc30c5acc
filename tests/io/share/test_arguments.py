"""Arguments and options of `share` and `explain`, and what they accept."""

from __future__ import annotations

import inspect
from typing import get_args

import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
import torch
from support.each import for_each
from support.memory import address

import numpack
from numpack import (
    InvalidValueError,
    NumPack,
    ReadOnlyWarning,
    WrongTypeError,
    ZeroCopyArray,
    explain,
    share,
)
from numpack.adapters import FRAMEWORKS
from numpack.io import (
    arrow_to_numpy_zero_copy,
    from_dlpack,
    numpy_to_arrow_zero_copy,
    numpy_to_torch_zero_copy,
    to_dlpack,
)


def test_options_reach_their_adapter():
    a = np.array([[True, False]])
    assert share(a, "arrow", type=pa.bool8(), layout="list").to_pylist() == [[True, False]]
    assert share(pa.array([1, None]), "numpy", nulls="mask").tolist() == [1, None]
    assert share(pa.array([1, None]), "arrow", nulls="mask").to_pylist() == [1, None]
    assert share(a.T, "dlpack", order="K").array.shape == (2, 1)
    assert share(a, "torch", device="cpu").shape == (1, 2)
    with pytest.raises(WrongTypeError, match="from numpy to torch there is no option 'layout'"):
        share(a, "torch", layout="list")
    with pytest.raises(WrongTypeError, match="the options are: none"):
        explain(a, "numpy", layout="list")


@for_each("framework", FRAMEWORKS, ids=lambda framework: framework.name)
def test_declared_options_match_the_signatures(framework):
    if framework.name == "cupy":  # cannot be imported without a GPU
        return
    adapter = framework.module()
    for function, options in (
        (adapter.to_numpy, adapter.FROM_OPTIONS),
        (adapter.from_numpy, adapter.TO_OPTIONS),
    ):
        parameters = inspect.signature(function).parameters.values()
        assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == options
    for route in getattr(adapter, "BRIDGE_IMPORTS", {}).values():
        parameters = inspect.signature(route.plan).parameters.values()
        assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == route.options
        assert route.options <= adapter.TO_OPTIONS


def test_option_types_can_be_imported():
    assert get_args(numpack.io.Order) == ("C", "K")
    assert "torch" in get_args(numpack.io.Target)
    with pytest.raises(AttributeError, match="no attribute 'Layuot'"):
        _ = numpack.io.Layuot


def test_wrong_arguments_are_refused():
    with pytest.raises(
        InvalidValueError, match="no framework is called 'jx'; known are: array_interface"
    ):
        share(np.zeros(2), "jx")
    for wrong in ([1, 2], 1.0, True):
        for verb in (share, explain):
            with pytest.raises(WrongTypeError, match=r"pass np.asarray\(x\)"):
                verb(wrong, "torch")
    with pytest.raises(
        InvalidValueError, match="copy must be None, False or True, not 'never'"
    ):
        share(np.zeros(2), "torch", copy="never")


def test_copy_accepts_numpy_booleans():
    a = np.zeros(2)
    assert share(a, "torch", copy=np.False_).data_ptr() == address(a)
    assert share(a, "torch", copy=np.True_).data_ptr() != address(a)


def test_subclasses_belong_to_their_framework():
    class Mine(np.ndarray):
        pass

    a = np.arange(3.0).view(Mine)
    assert share(a, "torch", copy=False).data_ptr() == address(a)
    assert share(torch.nn.Parameter(torch.ones(2)), "numpy", copy=False).tolist() == [1, 1]


def test_store_saves_arrays_of_other_frameworks():
    with NumPack("any.npk") as npk:
        npk.save(
            {
                "torch": torch.ones(2, dtype=torch.bfloat16),
                "arrow": pa.array([1, 2]),
                "wrapper": ZeroCopyArray(np.arange(2)),
                "scalar": np.float32(1),
            }
        )
        assert npk.load("torch").dtype == ml_dtypes.bfloat16
        assert npk.load("arrow").tolist() == [1, 2]
        npk.append({"wrapper": torch.tensor([7])})
        assert npk.load("wrapper").tolist() == [0, 1, 7]
        npk.save({"again": npk.load("arrow", lazy=True)})
        assert npk.load("again").tolist() == [1, 2]
        with pytest.raises(WrongTypeError, match="pass np.asarray"):
            npk.save({"list": [1, 2]})


@pytest.mark.parametrize("kind", [np.longlong, np.ulonglong])
def test_integer_type_aliases_to_torch(kind):
    a = np.arange(3).astype(kind)
    frozen = a.copy()
    frozen.flags.writeable = False
    assert numpy_to_torch_zero_copy(a).tolist() == [0, 1, 2]
    assert numpy_to_torch_zero_copy(a, copy=True).tolist() == [0, 1, 2]
    with pytest.warns(ReadOnlyWarning):
        assert numpy_to_torch_zero_copy(frozen).tolist() == [0, 1, 2]


@pytest.mark.parametrize("copy", [None, False, True])
def test_dlpack_buffer_is_refused_as_an_array(copy):
    """It is refused on the fast path and on the planned one."""
    for convert in (numpy_to_torch_zero_copy, numpy_to_arrow_zero_copy):
        with pytest.raises(WrongTypeError, match=r"got numpack\.\S+\.DLPackBuffer"):
            convert(to_dlpack(np.zeros(3)), copy=copy)
    assert numpy_to_torch_zero_copy(ZeroCopyArray(np.zeros(3)), copy=copy).shape == (3,)


@pytest.mark.parametrize("size", [0, 3])
def test_arrays_over_arrow_memory_are_read_only(size):
    arrow = pa.array(np.zeros(size))
    for array in (
        arrow_to_numpy_zero_copy(arrow),
        arrow_to_numpy_zero_copy(arrow, nulls="mask"),
        from_dlpack(arrow),
    ):
        assert not array.flags.writeable
    assert arrow_to_numpy_zero_copy(arrow, copy=True).flags.writeable
