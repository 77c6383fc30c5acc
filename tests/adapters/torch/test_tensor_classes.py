"""torch, and its tensors under unusual modes and of unusual classes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.each import for_each
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from numpack import UnsupportedError, explain, share
from numpack.io import from_dlpack

pytestmark = pytest.mark.filterwarnings("ignore::numpack.CopyWarning")


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


@for_each("name", [*NARROW, "complex32"])
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
