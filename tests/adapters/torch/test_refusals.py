"""Tensors whose values differ from their memory, or that have none, are not shared."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from support.each import for_each
from support.exchange.tensors import LAZY, TRANSFORMS, WITHOUT_MEMORY
from support.memory import address

from numpack import (
    CopyWarning,
    InvalidValueError,
    NumpackError,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
    explain,
    share,
)
from numpack.io import from_dlpack, numpy_to_torch_zero_copy, torch_to_numpy_zero_copy


@for_each("make", LAZY.values(), ids=LAZY)
def test_lazy_values_are_resolved_or_refused(to_numpy, make):
    """Memory that holds other values, or none, is never shared; a copy emits a warning."""
    t = make()
    expected = t.detach().clone().resolve_conj().resolve_neg().tolist()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            a = to_numpy(t)
        except (ZeroCopyError, UnsupportedError):
            return
    assert a.tolist() == expected
    assert [each.category for each in caught] == [CopyWarning]


@for_each("make", LAZY.values(), ids=LAZY)
def test_lazy_values_are_refused_with_copy_false(make):
    t = make()
    for convert in (torch_to_numpy_zero_copy, from_dlpack):
        with pytest.raises(ZeroCopyError):
            convert(t, copy=False)
        assert convert(t, copy=True).tolist() == t.detach().clone().resolve_neg().tolist()
    with pytest.raises(ZeroCopyError):
        share(t, "numpy", copy=False)
    assert not explain(t, "numpy").shares_memory


@for_each("make", WITHOUT_MEMORY.values(), ids=WITHOUT_MEMORY)
def test_tensor_without_plain_memory_is_refused(to_numpy, make):
    with pytest.raises(NumpackError):
        to_numpy(make())


@for_each("make", WITHOUT_MEMORY.values(), ids=WITHOUT_MEMORY)
def test_refusal_has_a_reason_for_every_copy_value(make):
    t = make()
    route = explain(t, "numpy")
    assert not route.supported
    assert route.fix
    for copy in (None, False, True):
        for convert in (torch_to_numpy_zero_copy, from_dlpack):
            with pytest.raises(UnsupportedError, match="from torch failed"):
                convert(t, copy=copy)


@for_each("transform", TRANSFORMS)
def test_tracer_is_refused(to_numpy, transform):
    """The memory of a tracer, if it has any, does not hold the values it represents."""
    seen = []

    def look(x):
        with pytest.raises(NumpackError):
            to_numpy(x)
        seen.append(x)
        return (x * x).sum()

    TRANSFORMS[transform](look)
    assert seen


def negative() -> torch.Tensor:
    return torch.tensor([1 + 2j, 3 - 4j]).conj().imag


@for_each("convert", [torch_to_numpy_zero_copy, from_dlpack])
@for_each(
    ("make", "values"),
    [
        (lambda: torch.tensor([1 + 2j, 3 - 4j]).conj(), [1 - 2j, 3 + 4j]),
        (negative, [-2, 4]),
        (lambda: torch._efficientzerotensor((2,)), [0, 0]),
    ],
    ids=["conjugate", "negative", "zero tensor"],
)
def test_lazy_tensors_are_copied(make, values, convert):
    t = make()
    route = explain(t, "numpy")
    assert not route.shares_memory
    assert route.nbytes == t.numel() * t.element_size()
    with pytest.warns(CopyWarning, match="from torch failed") as caught:
        a = convert(t)
    assert caught[0].filename == __file__
    assert a.tolist() == values
    assert a.flags.writeable
    with pytest.raises(ZeroCopyError, match="a copy takes 1?[0-9] bytes; "):
        convert(t, copy=False)
    assert convert(t, copy=True).tolist() == values


def test_wrong_type_is_reported():
    with pytest.raises(WrongTypeError, match=r"expects a torch.Tensor, got numpy.ndarray; "):
        torch_to_numpy_zero_copy(np.zeros(3))


@pytest.mark.parametrize("device", ["meta", "cuda:99", "nonsense", 3.5])
def test_missing_device_is_reported(device):
    with pytest.raises(InvalidValueError, match="device"):
        numpy_to_torch_zero_copy(np.zeros(3), device=device)


def test_device_cpu_shares_memory():
    a = np.zeros(3)
    assert numpy_to_torch_zero_copy(a, device="cpu", copy=False).data_ptr() == address(a)


NARROW = [f"{kind}{bits}" for kind in ("uint", "int") for bits in range(1, 8)]


@for_each("repeated", [False, True], ids=["first", "again"])
@for_each("name", NARROW)
def test_sub_byte_integers_are_refused(name, repeated):
    """torch exports uint4 and similar dtypes by DLPack as integers of 8 bits."""
    t = torch.zeros(3, dtype=torch.uint8)
    if repeated:
        torch_to_numpy_zero_copy(t)
    narrow = t.view(getattr(torch, name))
    for copy in (None, False, True):
        for convert in (torch_to_numpy_zero_copy, from_dlpack):
            with pytest.raises(UnsupportedError, match="NumPy has no such dtype"):
                convert(narrow, copy=copy)
    with pytest.raises(UnsupportedError, match="NumPy has no such dtype"):
        share(narrow, "numpy")
    assert not explain(narrow, "numpy").supported


def test_message_about_a_tracer():
    found = []

    def look(x):
        with pytest.raises(UnsupportedError, match="tracer"):
            torch_to_numpy_zero_copy(x)
        assert not explain(x, "numpy").supported
        found.append(x)
        return x

    torch.vmap(look)(torch.zeros(2, 3))
    assert found
