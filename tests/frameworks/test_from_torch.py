"""torch to NumPy: every dtype, layout and value of `copy`, and refusals."""

from __future__ import annotations

import warnings

import ml_dtypes
import numpy as np
import pytest
import torch
from support.memory import address

from numpack import CopyWarning, UnsupportedError, WrongTypeError, ZeroCopyError, explain, share
from numpack.io import from_dlpack, torch_to_numpy_zero_copy

NAMES = (
    "bool int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64 complex64 "
    "complex128 bfloat16 float8_e4m3fn float8_e4m3fnuz float8_e5m2 float8_e5m2fnuz "
    "float8_e8m0fnu"
).split()

LAYOUTS = {
    "c": lambda t: t,
    "transposed": lambda t: t.t(),
    "sliced": lambda t: t[::2, 1::2],
    "expanded": lambda t: t[:1].expand(5, 6),
    "zero_d": lambda t: t[1, 2],
    "empty": lambda t: t[:, :0],
    "offset": lambda t: t.view(-1)[5:],
    "parameter": lambda t: torch.nn.Parameter(t, requires_grad=False),
    "subclass": lambda t: t.as_subclass(type("Sub", (torch.Tensor,), {})),
}


def tensor(name: str) -> torch.Tensor:
    numbers = torch.arange(1, 25).reshape(4, 6)
    if name == "float8_e8m0fnu":
        numbers = 2 ** (numbers % 4)
    return numbers.to(getattr(torch, name))


def numpy_dtype(name: str) -> np.dtype:
    return np.dtype(getattr(ml_dtypes, name, name))


def contents(t: torch.Tensor) -> bytes:
    return bytes(
        t.detach().as_subclass(torch.Tensor).contiguous().view(-1).view(torch.uint8).tolist()
    )


@pytest.mark.parametrize("convert", [torch_to_numpy_zero_copy, from_dlpack])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", NAMES)
def test_plain_tensors_are_shared(name, layout, convert):
    t = LAYOUTS[layout](tensor(name))
    assert explain(t, "numpy").shares_memory
    for copy in (None, False):
        a = convert(t, copy=copy)
        assert a.dtype == numpy_dtype(name)
        assert a.shape == tuple(t.shape)
        assert a.tobytes() == contents(t)
        assert a.flags.writeable
        if a.size:
            assert address(a) == t.data_ptr()
            assert a.strides == tuple(s * t.element_size() for s in t.stride())
    copied = convert(t, copy=True)
    assert copied.tobytes() == contents(t)
    assert copied.flags.writeable
    if copied.size:
        assert address(copied) != t.data_ptr()


def test_writes_go_both_ways():
    t = torch.zeros(3)
    a = torch_to_numpy_zero_copy(t)
    a[0], t[1] = 1, 2
    assert t.tolist() == [1, 2, 0]
    assert a.tolist() == [1, 2, 0]


def test_tensor_that_requires_grad_is_shared():
    t = torch.ones(2, requires_grad=True)
    assert address(torch_to_numpy_zero_copy(t, copy=False)) == t.data_ptr()


def negative() -> torch.Tensor:
    return torch.tensor([1 + 2j, 3 - 4j]).conj().imag


@pytest.mark.parametrize("convert", [torch_to_numpy_zero_copy, from_dlpack])
@pytest.mark.parametrize(
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


def traced():
    found = []

    def look(x):
        with pytest.raises(UnsupportedError, match="tracer"):
            torch_to_numpy_zero_copy(x)
        assert not explain(x, "numpy").supported
        found.append(x)
        return x

    torch.vmap(look)(torch.zeros(2, 3))
    return found


def fake() -> torch.Tensor:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        return torch.zeros(3)


def nested() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.nested.nested_tensor([torch.zeros(3)])


def jagged() -> torch.Tensor:
    return torch.nested.nested_tensor([torch.zeros(3), torch.zeros(2)], layout=torch.jagged)


def quantized() -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8)


REFUSED = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "csr": lambda: torch.eye(3).to_sparse_csr(),
    "quantized": quantized,
    "nested": nested,
    "jagged": jagged,
    "meta": lambda: torch.zeros(3, device="meta"),
    "fake": fake,
    "complex32": lambda: torch.zeros(2, dtype=torch.float16).view(torch.complex32),
    "float4_x2": lambda: torch.zeros(2, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
    "bits8": lambda: torch.zeros(2, dtype=torch.uint8).view(torch.bits8),
}


@pytest.mark.filterwarnings("ignore:Sparse CSR:UserWarning", "ignore:ComplexHalf:UserWarning")
@pytest.mark.parametrize("convert", [torch_to_numpy_zero_copy, from_dlpack])
@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_tensors_without_plain_memory_are_refused(make, convert):
    t = make()
    route = explain(t, "numpy")
    assert not route.supported
    assert route.fix
    for copy in (None, False, True):
        with pytest.raises(UnsupportedError, match="from torch failed"):
            convert(t, copy=copy)


def test_tracer_is_refused():
    assert traced()


def test_wrong_type_is_reported():
    with pytest.raises(WrongTypeError, match=r"expects a torch.Tensor, got numpy.ndarray; "):
        torch_to_numpy_zero_copy(np.zeros(3))


@pytest.mark.parametrize("device", ["meta", "cuda:99", "nonsense", 3.5])
def test_missing_device_is_reported(device):
    from numpack import InvalidValueError
    from numpack.io import numpy_to_torch_zero_copy

    with pytest.raises(InvalidValueError, match="device"):
        numpy_to_torch_zero_copy(np.zeros(3), device=device)


def test_device_cpu_shares_memory():
    from numpack.io import numpy_to_torch_zero_copy

    a = np.zeros(3)
    assert numpy_to_torch_zero_copy(a, device="cpu", copy=False).data_ptr() == address(a)


@pytest.mark.parametrize("target", ["arrow", "dlpack", "torch"])
def test_tensor_is_shared_with_other_targets(target):
    t = torch.arange(6.0).reshape(2, 3)
    assert explain(t, target).shares_memory
    back = (
        share(share(t, target, copy=False), "torch", copy=False) if target != "arrow" else None
    )
    if back is not None:
        assert back.data_ptr() == t.data_ptr()


NARROW = [f"{kind}{bits}" for kind in ("uint", "int") for bits in range(1, 8)]


@pytest.mark.parametrize("repeated", [False, True], ids=["first", "again"])
@pytest.mark.parametrize("name", NARROW)
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


DTYPES = sorted(
    {each for each in vars(torch).values() if isinstance(each, torch.dtype)}, key=str
)


@pytest.mark.filterwarnings("ignore:.*quantize.*:UserWarning")
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_torch_dtypes_are_preserved_or_refused(dtype):
    """All dtypes of the installed torch: NumPy has one of the same name, or it is refused."""
    try:
        t = torch.zeros(16, dtype=torch.uint8).view(dtype)
    except (RuntimeError, TypeError):
        t = torch.zeros(2, dtype=dtype)
    for _ in range(2):
        try:
            a = share(t, "numpy", copy=False)
        except UnsupportedError:
            continue
        assert a.dtype.name == str(dtype).removeprefix("torch.")
        assert address(a) == t.data_ptr()
