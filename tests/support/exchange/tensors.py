"""Tensors of torch of every kind, and the ways to convert them to NumPy and back."""

from __future__ import annotations

import warnings

import torch

from numpack import ZeroCopyArray, share
from numpack._core.dtypes import DTYPES
from numpack.io import from_dlpack, numpy_to_torch_zero_copy, torch_to_numpy_zero_copy

TO_NUMPY = {
    "function": lambda t: torch_to_numpy_zero_copy(t),
    "copy=None": lambda t: torch_to_numpy_zero_copy(t, copy=None),
    "copy=False": lambda t: torch_to_numpy_zero_copy(t, copy=False),
    "from_dlpack": lambda t: from_dlpack(t),
    "share": lambda t: share(t, "numpy"),
    "wrapper": lambda t: ZeroCopyArray.from_torch(t, order="K").array,
    "wrapper by DLPack": lambda t: ZeroCopyArray.from_dlpack(t, order="K").array,
}


TO_TORCH = {
    "function": lambda a: numpy_to_torch_zero_copy(a),
    "copy=None": lambda a: numpy_to_torch_zero_copy(a, copy=None),
    "copy=False": lambda a: numpy_to_torch_zero_copy(a, copy=False),
    "share": lambda a: share(a, "torch"),
    "wrapper": lambda a: ZeroCopyArray(a, order="K").to_torch(),
    "wrapper copy=False": lambda a: ZeroCopyArray(a, order="K").to_torch(copy=False),
    "buffer": lambda a: share(ZeroCopyArray(a, order="K"), "torch"),
}


TORCH_NAMES = [row.numpy for row in DTYPES if row.torch]


class Plain(torch.Tensor):
    """A subclass without behaviour of its own."""


def tensor(name: str) -> torch.Tensor:
    numbers = torch.arange(1, 25).reshape(4, 6)
    if name == "float8_e8m0fnu":
        numbers = 2 ** (numbers % 4)
    return numbers.to(getattr(torch, name))


def complexes(n=4):
    return torch.arange(n, dtype=torch.float32) + 1j * torch.arange(n, 0, -1)


LAZY = {
    "conjugate": lambda: complexes().conj(),
    "conjugate slice": lambda: complexes().conj()[1::2],
    "negative": lambda: torch._neg_view(torch.arange(4.0)),
    "negative int": lambda: torch._neg_view(torch.arange(4)),
    "negative imaginary part": lambda: complexes().conj().imag,
    "negative complex": lambda: torch._neg_view(complexes()),
    "negative conjugate": lambda: torch._neg_view(complexes()).conj(),
    "parameter conjugate": lambda: torch.nn.Parameter(complexes().conj(), False),
    "parameter negative": lambda: torch.nn.Parameter(torch._neg_view(torch.ones(3)), False),
    "subclass negative": lambda: torch._neg_view(torch.arange(4.0)).as_subclass(Plain),
    "subclass conjugate": lambda: complexes().conj().as_subclass(Plain),
    "zero tensor": lambda: torch._efficientzerotensor((3,)),
    "complex zero tensor": lambda: torch._efficientzerotensor((3,), dtype=torch.complex64),
}


def without_warnings(make):
    def run():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return make()

    return run


def fake() -> torch.Tensor:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return torch.zeros(3)


class Wrapping(torch.Tensor):
    """A wrapper subclass with its own dispatch and without memory of its own."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise NotImplementedError


WITHOUT_MEMORY = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "csr": without_warnings(lambda: torch.eye(3).to_sparse_csr()),
    "mkldnn": lambda: torch.ones(3).to_mkldnn(),
    "quantized": without_warnings(
        lambda: torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8)
    ),
    "quantized by channel": without_warnings(
        lambda: torch.quantize_per_channel(
            torch.zeros(3, 2), torch.ones(3), torch.zeros(3), 0, torch.quint8
        )
    ),
    "nested": without_warnings(
        lambda: torch.nested.nested_tensor([torch.zeros(3), torch.zeros(2)])
    ),
    "jagged": without_warnings(
        lambda: torch.nested.nested_tensor([torch.zeros(3)], layout=torch.jagged)
    ),
    "meta": lambda: torch.zeros(3, device="meta"),
    "empty meta": lambda: torch.zeros(0, device="meta"),
    "fake": fake,
    "wrapper subclass": lambda: Wrapping(torch.zeros(3)),
    "complex32": without_warnings(
        lambda: torch.zeros(2, dtype=torch.float16).view(torch.complex32)
    ),
    "two float4 in a byte": lambda: torch.zeros(2, dtype=torch.uint8).view(
        torch.float4_e2m1fn_x2
    ),
    "bits": lambda: torch.zeros(2, dtype=torch.uint8).view(torch.bits8),
}


TRANSFORMS = {
    "vmap": lambda f: torch.vmap(f)(torch.arange(6.0).reshape(2, 3)),
    "vmap of vmap": lambda f: torch.vmap(torch.vmap(f))(torch.zeros(2, 2, 3)),
    "grad": lambda f: torch.func.grad(f)(torch.arange(3.0)),
    "grad of grad": lambda f: torch.func.grad(lambda x: torch.func.grad(f)(x).sum())(
        torch.arange(3.0)
    ),
    "vjp": lambda f: torch.func.vjp(f, torch.arange(3.0)),
    "functionalize": lambda f: torch.func.functionalize(f)(torch.arange(3.0)),
}


CHANGES = {  # applied to the tensor after its conversion
    "deleted": lambda t: None,
    "given other data": lambda t: setattr(t, "data", torch.zeros(3)),
    "data of another dtype": lambda t: setattr(t, "data", t.data.double()),
    "set to nothing": lambda t: t.set_(),
    "set to another": lambda t: t.set_(torch.zeros(3)),
    "set to a storage": lambda t: t.set_(torch.zeros(3).untyped_storage()),
    "swapped": lambda t: torch.utils.swap_tensors(t, torch.zeros(3)),
    "resized larger": lambda t: t.resize_(100_000),
    "resized smaller": lambda t: t.resize_(3),
    "resized as another": lambda t: t.resize_as_(torch.zeros(100_000)),
    "an operation's out": lambda t: torch.cat([torch.zeros(100_000)], out=t),
    "its storage larger": lambda t: t.untyped_storage().resize_(400_000),
    "its storage smaller": lambda t: t.untyped_storage().resize_(8),
    "its storage freed": lambda t: t.untyped_storage().resize_(0),
}


def reuse_freed_memory() -> list[torch.Tensor]:
    """Allocate tensors that reuse the memory of a freed tensor of 1000 elements."""
    return [torch.full((1000,), float("nan")) for _ in range(60)]
