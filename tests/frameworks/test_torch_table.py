"""torch and NumPy through torch's DLPack C exchange API: memory, lifetimes and result_types.

The C exchange API exports the memory of a tensor unchanged. A tensor whose values differ from
its memory, or that has no memory, must not be exported by it, and no result may dangle.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import pickle
import pydoc
import subprocess
import sys
import threading
import typing
import warnings
import weakref
from collections.abc import Callable

import ml_dtypes
import numpy as np
import pytest
import torch
from support.arrays import LAYOUTS, LOWPREC, NATIVE, cells, dtype_of, make, values
from support.memory import address

import numpack
from numpack import (
    CopyWarning,
    InvalidValueError,
    NumpackError,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyArray,
    ZeroCopyError,
    explain,
    share,
)
from numpack._core.dtypes import DTYPES
from numpack.adapters import _options
from numpack.io import (
    DLPackBuffer,
    arrow_to_numpy_zero_copy,
    from_dlpack,
    numpy_to_arrow_zero_copy,
    numpy_to_torch_zero_copy,
    table_to_numpy_zero_copy,
    to_dlpack,
    torch_to_numpy_zero_copy,
    wrap_for_zero_copy,
)

TO_NUMPY = {
    "function": lambda t: torch_to_numpy_zero_copy(t),
    "copy=None": lambda t: torch_to_numpy_zero_copy(t, copy=None),
    "copy=False": lambda t: torch_to_numpy_zero_copy(t, copy=False),
    "from_dlpack": lambda t: from_dlpack(t),
    "share": lambda t: share(t, "numpy"),
    "wrapper": lambda t: ZeroCopyArray.from_torch(t, order="K").array,
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


@pytest.fixture(scope="module", autouse=True)
def registered_fast_paths():
    """Convert one tensor, which registers the fast paths, before all tests.

    The objects that torch has loaded are frozen, so that garbage collections skip them.
    """
    torch_to_numpy_zero_copy(torch.zeros(1))
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(params=TO_NUMPY)
def to_numpy(request):
    return TO_NUMPY[request.param]


@pytest.fixture(params=TO_TORCH)
def to_torch(request):
    return TO_TORCH[request.param]


# torch to NumPy: values and strides -------------------------------------------------------

SHAPES = {
    "c": lambda t: t,
    "transposed": lambda t: t.t(),
    "sliced": lambda t: t[1::2, ::3],
    "expanded": lambda t: t[0].expand(7, 6),
    "one row": lambda t: t[2:3],
    "0-d": lambda t: t[1, 2],
    "empty": lambda t: t[:, 6:],
    "unfolded": lambda t: t.reshape(-1).unfold(0, 5, 2),
    "permuted": lambda t: t.reshape(2, 2, 6).permute(2, 0, 1),
    "as_strided": lambda t: t.as_strided((3, 2), (2, 5), 4),
    "requires grad": lambda t: t.clone().requires_grad_() if t.is_floating_point() else t,
    "parameter": lambda t: torch.nn.Parameter(t, requires_grad=False),
    "grad parameter": lambda t: torch.nn.Parameter(t, t.is_floating_point()),
    "detached": lambda t: t.detach(),
    "subclass": lambda t: t.as_subclass(Plain),
}


class Plain(torch.Tensor):
    """A subclass without behaviour of its own."""


def tensor(name: str) -> torch.Tensor:
    numbers = torch.arange(1, 25).reshape(4, 6)
    if name == "float8_e8m0fnu":
        numbers = 2 ** (numbers % 4)
    return numbers.to(getattr(torch, name))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", TORCH_NAMES)
def test_values_address_and_strides_match_torch(name, shape):
    t = SHAPES[shape](tensor(name))
    carrier = f"uint{8 * t.element_size()}" if t.element_size() < 16 else "complex128"
    expected = t.detach().view(getattr(torch, carrier)).numpy() if t.ndim else t.detach()
    for way, convert in TO_NUMPY.items():
        a = convert(t)
        assert type(a) is np.ndarray, way
        assert a.dtype == dtype_of(name), way
        assert a.shape == tuple(t.shape), way
        assert a.flags.writeable, way
        if t.ndim:
            assert a.tobytes() == expected.tobytes(), way
        else:
            assert a.tolist() == t.tolist(), way
        if a.size:
            assert address(a) == t.data_ptr(), way
            used = [axis for axis in range(a.ndim) if a.shape[axis] > 1]
            assert [a.strides[i] for i in used] == [
                t.stride(i) * t.element_size() for i in used
            ], way


def test_tensor_that_requires_grad_is_shared(to_numpy):
    t = torch.arange(3.0, requires_grad=True)
    a = to_numpy(t)
    assert a.tolist() == [0, 1, 2]
    assert address(a) == t.data_ptr()
    assert address(to_numpy(t * 2)) != t.data_ptr()


def test_inference_tensor_is_shared(to_numpy):
    with torch.inference_mode():
        t = torch.arange(3.0)
        assert address(to_numpy(t)) == t.data_ptr()
    assert address(to_numpy(t)) == t.data_ptr()


def test_dual_tensor_of_forward_mode_ad():
    from torch.autograd import forward_ad

    with forward_ad.dual_level():
        t = without_warnings(lambda: forward_ad.make_dual(torch.arange(3.0), torch.ones(3)))()
        assert torch_to_numpy_zero_copy(t).tolist() == [0, 1, 2]


@pytest.mark.parametrize("axes", [64, 65])
def test_more_than_64_dimensions_are_refused(to_numpy, axes):
    t = torch.zeros((1,) * axes)
    if axes == 64:
        assert to_numpy(t).ndim == 64
    else:
        with pytest.raises((UnsupportedError, InvalidValueError), match="64"):
            to_numpy(t)


def test_default_device_is_ignored(to_numpy):
    t = torch.arange(3.0)
    with torch.device("meta"):
        assert address(to_numpy(t)) == t.data_ptr()
        assert torch_device_of(np.zeros(3)) == "cpu"


def torch_device_of(a):
    return numpy_to_torch_zero_copy(a).device.type


# torch to NumPy: values that differ from the memory ---------------------------------------


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


@pytest.mark.parametrize("make", LAZY.values(), ids=LAZY)
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


@pytest.mark.parametrize("make", LAZY.values(), ids=LAZY)
def test_lazy_values_are_refused_with_copy_false(make):
    t = make()
    for convert in (torch_to_numpy_zero_copy, from_dlpack):
        with pytest.raises(ZeroCopyError):
            convert(t, copy=False)
        assert convert(t, copy=True).tolist() == t.detach().clone().resolve_neg().tolist()
    with pytest.raises(ZeroCopyError):
        share(t, "numpy", copy=False)
    assert not explain(t, "numpy").shares_memory


def test_double_negation_and_double_conjugation_are_shared(to_numpy):
    t = torch._neg_view(torch._neg_view(torch.arange(3.0)))
    assert address(to_numpy(t)) == t.data_ptr()
    t = complexes().conj().conj()
    assert address(to_numpy(t)) == t.data_ptr()


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


REFUSED = {
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


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_tensor_without_plain_memory_is_refused(to_numpy, make):
    with pytest.raises(NumpackError):
        to_numpy(make())


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_refusal_has_a_reason_for_every_copy_value(make):
    t = make()
    assert not explain(t, "numpy").supported
    for copy in (None, False, True):
        for convert in (torch_to_numpy_zero_copy, from_dlpack):
            with pytest.raises(UnsupportedError, match="from torch failed"):
                convert(t, copy=copy)


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


@pytest.mark.parametrize("transform", TRANSFORMS)
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


def test_torch_function_and_fake_tensor_modes_are_ignored(to_numpy):
    """A mode that intercepts operations does not change the memory of a tensor."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.overrides import TorchFunctionMode

    class Watching(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    t = torch.arange(3.0)
    with Watching():
        assert address(to_numpy(t)) == t.data_ptr()
    with FakeTensorMode():
        assert torch_to_numpy_zero_copy(t).tolist() == [0, 1, 2]


def test_mode_that_returns_wrong_types_does_not_crash(run_python):
    """A mode that intercepts operations may return any object."""
    run_python(
        """
import torch
from torch.overrides import TorchFunctionMode
from numpack.io import from_dlpack, numpy_to_torch_zero_copy, torch_to_numpy_zero_copy

class Answering(TorchFunctionMode):
    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.untyped_storage:
            return answer
        return func(*args, **(kwargs or {}))

t, z = torch.arange(3.0), torch.zeros(2, dtype=torch.complex64)
torch_to_numpy_zero_copy(t)
for answer in (None, 3, [1], object(), "x", False, True, torch.zeros(3), torch.float32):
    for convert in (torch_to_numpy_zero_copy, from_dlpack):
        for each in (t, z):
            with Answering():
                try:
                    convert(each)
                except Exception:
                    pass
assert torch_to_numpy_zero_copy(t).tolist() == [0, 1, 2]
"""
    )


def test_write_to_a_lazy_clone_does_not_reach_the_original(to_numpy):
    """Both tensors share memory until one is written; the array shares that of the clone."""
    original = torch.zeros(3)
    clone = torch._lazy_clone(original)
    to_numpy(clone)[0] = 7
    assert original.tolist() == [0, 0, 0]
    assert clone.tolist() == [7, 0, 0]


# torch to NumPy: lifetimes ----------------------------------------------------------------

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


@pytest.mark.parametrize("change", CHANGES)
def test_array_keeps_its_memory_when_the_tensor_changes(change):
    """torch may refuse a change because the memory is shared."""
    for way, convert in TO_NUMPY.items():
        t = torch.arange(1000.0)
        a = convert(t)
        before = address(a)
        with contextlib.suppress(RuntimeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            CHANGES[change](t)
        del t
        kept = reuse_freed_memory()
        assert address(a) == before, way
        assert np.array_equal(a, np.arange(1000.0)), way
        assert len(kept) == 60


@pytest.mark.parametrize("kind", ["tensor", "parameter", "needs grad", "view"])
def test_memory_is_freed_with_the_last_array(to_numpy, kind):
    """Observed by a weak reference to the array under the tensor."""
    memory = np.arange(1000.0)
    end = weakref.ref(memory)
    t = torch.from_numpy(memory)
    del memory
    if kind == "parameter":
        t = torch.nn.Parameter(t, requires_grad=False)
    elif kind == "needs grad":
        t.requires_grad_()
    elif kind == "view":
        t = t[1:]
    a = to_numpy(t)
    t.data = torch.zeros(3, dtype=torch.float64)
    assert end() is not None
    del t
    assert end() is not None
    b = a[5:]
    del a
    assert end() is not None
    del b
    assert end() is None


def test_converting_a_module_does_not_change_shared_arrays(to_numpy):
    """`module.double()`, like `half()` and `to()`, assigns new data to each parameter."""
    memory = np.ones((40, 30), "f4")
    end = weakref.ref(memory)
    module = torch.nn.Linear(30, 40)
    module.weight = torch.nn.Parameter(torch.from_numpy(memory))
    del memory
    a = to_numpy(module.weight)
    module.double()
    assert module.weight.dtype == torch.float64
    assert end() is not None
    assert (a == 1).all()
    del a
    assert end() is None


def test_tensors_can_be_swapped_after_a_conversion(to_numpy):
    """`module.to` does so with `torch.__future__.set_swap_module_params_on_conversion`."""
    t, other = torch.arange(3.0), torch.arange(5.0)
    try:
        torch.utils.swap_tensors(t, other)
    except RuntimeError:
        pytest.fail("torch itself does not swap these")
    a = to_numpy(t)
    del a
    torch.utils.swap_tensors(t, other)
    assert t.tolist() == [0, 1, 2]


CHANGES_BEFORE = {  # applied to the tensor before its conversion
    "given other data": lambda t: setattr(t, "data", torch.arange(5.0)),
    "set to another": lambda t: t.set_(torch.arange(5.0)),
    "resized smaller": lambda t: t.resize_(5),
}


@pytest.mark.parametrize("change", CHANGES_BEFORE)
def test_tensor_changed_before_the_conversion(to_numpy, change):
    t = torch.arange(1000.0)
    CHANGES_BEFORE[change](t)
    a = to_numpy(t)
    assert a.tolist() == [0, 1, 2, 3, 4]
    assert address(a) == t.data_ptr()


def test_tensor_reset_by_set_is_empty(to_numpy):
    t = torch.arange(1000.0)
    t.set_()
    assert to_numpy(t).shape == (0,)


FREED = {
    "the tensor": lambda t: t,
    "a view of its beginning": lambda t: t[:500],
    "a view further on": lambda t: t[5:],
    "every other element": lambda t: t[1::2],
    "rows": lambda t: t.view(10, 100)[3],
}


def result_types(t):
    """Return the type of each result or exception; printing such a tensor would crash."""
    found = {}
    for way, convert in TO_NUMPY.items():
        try:
            found[way] = type(convert(t))
        except Exception as error:
            found[way] = type(error)
    return found


@pytest.mark.parametrize("view", FREED)
def test_tensor_with_a_freed_storage_is_refused(view):
    t = torch.arange(1000.0)
    v = FREED[view](t)
    t.untyped_storage().resize_(0)
    supported, found = explain(v, "numpy").supported, result_types(v)
    assert not supported
    assert found == dict.fromkeys(TO_NUMPY, UnsupportedError)


@pytest.mark.parametrize("nbytes", [8, 3996])
def test_tensor_that_exceeds_its_storage_is_refused(nbytes):
    """The last elements of the tensor lie outside its storage."""
    t = torch.arange(1000.0)
    t.untyped_storage().resize_(nbytes)
    found = result_types(t)
    assert found == dict.fromkeys(TO_NUMPY, UnsupportedError)


def test_array_and_tensor_are_freed_on_other_threads(to_numpy):
    memory = [np.arange(1000.0) for _ in range(20)]
    ends = [weakref.ref(each) for each in memory]
    tensors = [torch.from_numpy(each) for each in memory]
    del memory
    arrays = [to_numpy(t) for t in tensors]

    def drop(things, other):
        while things:
            things.pop()
        other.wait()

    barrier = threading.Barrier(2)
    threads = [
        threading.Thread(target=drop, args=(things, barrier)) for things in (arrays, tensors)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [end() for end in ends] == [None] * 20


def test_array_made_on_one_thread_is_read_on_another(to_numpy):
    found = []
    thread = threading.Thread(target=lambda: found.append(to_numpy(torch.arange(1000.0))))
    thread.start()
    thread.join()
    kept = reuse_freed_memory()
    assert np.array_equal(found[0], np.arange(1000.0))
    assert kept


# torch to NumPy: ZeroCopyArray.from_dlpack ------------------------------------------------


def by_dlpack(t):
    return ZeroCopyArray.from_dlpack(t, order="K").array


def test_wrapper_shares_a_tensor_that_requires_grad():
    t = torch.arange(3.0, requires_grad=True)
    assert address(by_dlpack(t)) == t.data_ptr()


@pytest.mark.parametrize("make", LAZY.values(), ids=LAZY)
def test_wrapper_resolves_or_refuses_lazy_values(make):
    t = make()
    expected = t.detach().clone().resolve_conj().resolve_neg().tolist()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            a = by_dlpack(t)
        except (ZeroCopyError, UnsupportedError):
            return
    assert a.tolist() == expected


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_wrapper_refuses_tensors_without_plain_memory(make):
    t = make()
    with pytest.raises(NumpackError):
        by_dlpack(t)


@pytest.mark.parametrize("change", ["given other data", "set to nothing", "resized larger"])
def test_wrapper_keeps_its_memory_when_the_tensor_changes(change):
    t = torch.arange(1000.0)
    a = by_dlpack(t)
    with contextlib.suppress(RuntimeError):
        CHANGES[change](t)
    kept = reuse_freed_memory()
    assert np.array_equal(a, np.arange(1000.0))
    assert kept


# NumPy to torch ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "layout",
    [
        "c",
        "fortran",
        "sliced",
        "transposed",
        "broadcast_writable",
        "zero_d",
        "empty_first",
        "empty_last",
        "empty_middle",
        "empty_odd_strides",
        "inside",
        "memmap_c",
        "memmap_r+",
    ],
)
@pytest.mark.parametrize(
    "name", [row.numpy for row in DTYPES if row.torch and not row.extension]
)
def test_tensor_matches_from_numpy(name, layout, tmp_path):
    a = LAYOUTS[layout](values(name), tmp_path)
    for way, convert in TO_TORCH.items():
        if layout == "empty_odd_strides":
            expected = torch.from_numpy(np.empty(a.shape, a.dtype))  # it refuses these strides
        else:
            expected = torch.from_numpy(a)
        t = convert(a)
        assert type(t) is torch.Tensor, way
        assert t.dtype == expected.dtype, way
        assert t.shape == expected.shape, way
        assert not t.requires_grad, way
        assert not t.is_inference(), way
        assert t.device.type == "cpu", way
        assert torch.equal(t, expected), way
        if a.size:
            assert t.data_ptr() == expected.data_ptr(), way
            used = [axis for axis in range(a.ndim) if a.shape[axis] > 1]
            assert [t.stride(i) for i in used] == [expected.stride(i) for i in used], way


@pytest.mark.parametrize("name", [row.numpy for row in DTYPES if row.torch and row.extension])
@pytest.mark.parametrize("layout", ["c", "transposed", "sliced", "zero_d", "empty_last"])
def test_low_precision_floats_are_shared(to_torch, name, layout):
    a = LAYOUTS[layout](values(name), None)
    t = to_torch(a)
    assert t.dtype == getattr(torch, name)
    assert t.shape == a.shape
    if a.size:
        assert t.data_ptr() == address(a)
        assert t.to(torch.float32).tolist() == a.astype("f4").tolist()
        a[...] = a.dtype.type(2)
        assert (t.to(torch.float32) == 2).all()


@pytest.mark.parametrize("name", ["float32", "int64", "bool", "complex64", "bfloat16"])
def test_tensor_supports_operations_autograd_and_pickle(to_torch, name):
    t = to_torch(values(name))
    assert (t == t.clone()).all()
    assert torch.cat([t, t]).shape == (8, 6)
    assert t.contiguous().data_ptr() == t.data_ptr()
    if t.is_floating_point():
        x = t.requires_grad_()
        (x * 2).sum().backward()
        assert x.grad.sum() == 48
    assert pickle.loads(pickle.dumps(t.detach())).shape == (4, 6)


@pytest.mark.parametrize("name", sorted(set(LOWPREC) - set(TORCH_NAMES)))
def test_dtype_that_torch_lacks_is_refused_without_a_leak(to_torch, name):
    a = values(name)
    before = sys.getrefcount(a)
    for _ in range(5):
        with pytest.raises(UnsupportedError, match="torch has no such dtype"):
            to_torch(a)
    gc.collect(1)
    assert sys.getrefcount(a) == before


@pytest.mark.parametrize(
    "a",
    [
        np.zeros(3, "M8[s]"),
        np.zeros(3, "m8[ns]"),
        np.zeros(3, "S3"),
        np.zeros(3, "U3"),
        np.zeros(3, "O"),
        np.zeros(3, "i4,f8"),
        np.zeros(3, "g"),
        np.zeros(3, np.dtypes.StringDType()),
    ],
    ids=lambda a: str(a.dtype),
)
def test_other_dtypes_are_refused_without_a_leak(to_torch, a):
    before = sys.getrefcount(a)
    for _ in range(5):
        with pytest.raises(UnsupportedError, match="to torch failed"):
            to_torch(a)
    gc.collect(1)
    assert sys.getrefcount(a) == before


@pytest.mark.parametrize(
    "make",
    [
        lambda: np.arange(6.0)[::-1],
        lambda: np.arange(6, dtype=">f8"),
        lambda: np.zeros(6, "u1,f8")["f1"],
        lambda: np.frombuffer(bytearray(49), "u1")[1:].view("f8"),
    ],
    ids=["reversed", "swapped", "field", "misaligned"],
)
def test_copy_keeps_no_reference_to_the_array(make):
    a = make()
    before = sys.getrefcount(a)
    for _ in range(5):
        with pytest.warns(CopyWarning, match="to torch failed"):
            t = numpy_to_torch_zero_copy(a)
        assert t.tolist() == a.tolist()
        with pytest.raises(ZeroCopyError):
            numpy_to_torch_zero_copy(a, copy=False)
    del t
    gc.collect(1)
    assert sys.getrefcount(a) == before


def test_array_is_freed_with_the_last_view_of_the_tensor(to_torch):
    a = np.arange(1000.0)
    before, end = sys.getrefcount(a), weakref.ref(a)
    t = to_torch(a)
    assert sys.getrefcount(a) > before
    views = [t[5:], t.view(10, 100), t.untyped_storage()]
    del t
    del a
    assert end() is not None
    assert views[0][0] == 5
    views.clear()
    assert end() is None


def test_array_is_released_when_the_tensor_gets_other_memory(to_torch):
    a = np.arange(1000.0)
    before = sys.getrefcount(a)
    for change in (lambda t: t.set_(), lambda t: setattr(t, "data", torch.zeros(2))):
        t = to_torch(a)
        change(t)
        assert sys.getrefcount(a) == before


def test_resizing_a_tensor_does_not_write_past_the_array(to_torch):
    """torch refuses to resize foreign memory, or allocates its own and releases the array."""
    a = np.arange(1000.0)
    t = to_torch(a)
    with contextlib.suppress(RuntimeError):
        t.resize_(100_000)
        t.fill_(-1)
    assert np.array_equal(a, np.arange(1000.0))


def test_tensor_is_freed_on_another_thread(to_torch):
    a = np.arange(1000.0)
    before = sys.getrefcount(a)
    held = [to_torch(a) for _ in range(50)]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert sys.getrefcount(a) == before


def test_round_trip_shares_memory(to_numpy, to_torch):
    a = np.arange(12.0).reshape(3, 4)
    b = to_numpy(to_torch(a.T))
    assert address(b) == address(a)
    assert b.strides == a.T.strides
    b[0, 0] = 7
    assert a[0, 0] == 7


def test_concurrent_conversions_of_one_array():
    a = np.arange(1000.0)
    before = sys.getrefcount(a)

    def work():
        for _ in range(300):
            t = numpy_to_torch_zero_copy(a)
            b = torch_to_numpy_zero_copy(t)
            assert address(b) == address(a)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sys.getrefcount(a) == before


# Calls of the functions -------------------------------------------------------------------

FUNCTIONS = {
    each.__name__: each
    for each in (
        arrow_to_numpy_zero_copy,
        from_dlpack,
        numpy_to_arrow_zero_copy,
        numpy_to_torch_zero_copy,
        table_to_numpy_zero_copy,
        to_dlpack,
        torch_to_numpy_zero_copy,
        wrap_for_zero_copy,
        share,
        explain,
    )
}
METHODS = ("to_torch", "to_arrow", "to_numpy", "to_dlpack")


@pytest.fixture(params=FUNCTIONS)
def function(request):
    return FUNCTIONS[request.param]


def argument_of(name: str) -> object:
    import pyarrow as pa

    if name.startswith("torch"):
        return torch.zeros(3)
    if name.startswith("arrow"):
        return pa.array([1.0])
    if name.startswith("table"):
        return pa.table({"x": [1.0]})
    return np.zeros(3)


def undecorated(function):
    """Return the function without its fast path."""
    return inspect.unwrap(function)


def outcome(call):
    try:
        return type(call())
    except Exception as error:
        return type(error), str(error)


CALLS = {
    "nothing": lambda f, x: f(),
    "two": lambda f, x: f(x, x, x),
    "copy by position": lambda f, x: f(x, None, None, None),
    "an unknown keyword": lambda f, x: f(x, nonsense=1),
    "copy and an unknown keyword": lambda f, x: f(x, copy=None, nonsense=1),
    "an unknown keyword and copy": lambda f, x: f(x, nonsense=1, copy=None),
    "the argument twice": lambda f, x: f(x, **{first_parameter(f): x}),
    "copy twice": lambda f, x: f(x, copy=None, COPY=None),
    "copy alone": lambda f, x: f(copy=None),
    "copy of a wrong kind": lambda f, x: f(x, copy="yes"),
    "copy=0": lambda f, x: f(x, copy=0),
    "copy=1": lambda f, x: f(x, copy=1),
    "None": lambda f, x: f(None),
    "a list": lambda f, x: f([1.0, 2.0]),
    "a type": lambda f, x: f(np.ndarray),
    "a scalar": lambda f, x: f(np.float64(3)),
}


def first_parameter(function) -> str:
    return next(iter(inspect.signature(function).parameters))


@pytest.mark.parametrize("call", CALLS)
def test_call_errors_match_the_undecorated_function(function, call):
    x = argument_of(function.__name__)
    expected = outcome(lambda: CALLS[call](undecorated(function), x))
    assert outcome(lambda: CALLS[call](function, x)) == expected


def test_first_argument_can_be_a_keyword(function):
    x = argument_of(function.__name__)
    if function in (share, explain):
        assert undecorated(function)(x=x, target="numpy") is not None
        assert function(x=x, target="numpy") is not None
    else:
        assert type(function(**{first_parameter(function): x})) is type(function(x))


@pytest.mark.parametrize("copy", [None, False, True])
def test_copy_values(copy):
    a = np.arange(3.0)
    t = numpy_to_torch_zero_copy(a, copy=copy)
    assert (t.data_ptr() == address(a)) is not bool(copy)
    b = torch_to_numpy_zero_copy(t, copy=copy)
    assert (address(b) == t.data_ptr()) is not bool(copy)
    assert (address(from_dlpack(t, copy=copy)) == t.data_ptr()) is not bool(copy)
    assert (share(t, "numpy", copy=copy) is None) is False
    assert (to_dlpack(a, copy=copy).array is a) is not bool(copy)
    assert (wrap_for_zero_copy(a, copy=copy).array is a) is not bool(copy)
    assert (address(ZeroCopyArray(a, copy=copy).array) == address(a)) is not bool(copy)


@pytest.mark.parametrize("copy", [np.False_, np.True_, np.bool_(0)])
def test_copy_accepts_numpy_bool(copy):
    a = np.arange(3.0)
    assert (numpy_to_torch_zero_copy(a, copy=copy).data_ptr() == address(a)) is not bool(copy)


# Introspection of the functions -----------------------------------------------------------


def test_signature_matches_the_undecorated_function(function):
    assert inspect.signature(function) == inspect.signature(undecorated(function))
    parameters = inspect.signature(function).parameters
    if function is not explain:
        assert parameters["copy"].kind is inspect.Parameter.KEYWORD_ONLY


def test_function_has_name_module_and_docstring(function):
    name = next(key for key, each in FUNCTIONS.items() if each is function)
    assert function.__name__ == function.__qualname__ == name
    assert function.__module__.startswith("numpack.io")
    assert getattr(sys.modules[function.__module__], name) is function
    assert "Parameters" in function.__doc__
    assert name in repr(function)
    assert inspect.getdoc(function) == inspect.getdoc(undecorated(function))
    assert inspect.getsource(function) == inspect.getsource(undecorated(function))
    assert function.__annotations__ == undecorated(function).__annotations__


def test_help_shows_signature_and_documentation(function):
    page = pydoc.plain(pydoc.render_doc(function))
    assert f"{function.__name__}(" in page
    assert "Parameters" in page


def test_function_is_callable_and_a_routine(function):
    assert callable(function)
    assert isinstance(function, Callable)
    assert inspect.isroutine(function)
    assert function.__call__ is not None


@pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_function_is_pickled_by_name(function, protocol):
    import copy

    assert pickle.loads(pickle.dumps(function, protocol)) is function
    assert copy.copy(function) is copy.deepcopy(function) is function
    assert hash(function) == hash(function)
    assert weakref.ref(function)() is function


def test_pickled_function_runs_in_another_process():
    script = "import pickle, sys; print(pickle.load(sys.stdin.buffer)())"
    from functools import partial

    call = pickle.dumps(partial(share, np.arange(3.0), "numpy"))
    done = subprocess.run(
        [sys.executable, "-c", script], input=call, capture_output=True, check=True
    )
    assert done.stdout.decode() == "[0. 1. 2.]\n"


@pytest.mark.parametrize("name", METHODS)
def test_method_supports_introspection_and_pickle(name):
    wrapper = ZeroCopyArray(np.arange(3.0))
    bound, unbound = getattr(wrapper, name), getattr(ZeroCopyArray, name)
    assert bound.__self__ is wrapper
    assert bound.__name__ == name
    assert unbound.__qualname__ == f"ZeroCopyArray.{name}"
    assert bound() is not None
    assert unbound(wrapper) is not None
    assert "self" not in inspect.signature(bound).parameters
    assert "self" in inspect.signature(unbound).parameters
    assert pickle.loads(pickle.dumps(unbound)) is unbound
    assert pickle.loads(pickle.dumps(bound))() is not None
    page = pydoc.plain(pydoc.render_doc(ZeroCopyArray))
    assert f"{name}(self" in page


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(
    "call", [lambda f: f(1), lambda f: f(nonsense=1), lambda f: f(copy="yes")]
)
def test_method_errors_name_the_method(name, call):
    with pytest.raises((TypeError, ValueError), match=f"{name}|copy must be"):
        call(getattr(ZeroCopyArray(np.zeros(3)), name))


def test_type_hints_are_resolved(function):
    """`typing.get_type_hints` follows `__wrapped__` to the undecorated function."""
    hints = typing.get_type_hints(undecorated(function), localns=vars(numpack) | NAMES)
    assert typing.get_type_hints(function, localns=vars(numpack) | NAMES) == hints


NAMES = {"pa": __import__("pyarrow"), "torch": torch, "Array": np.ndarray, **vars(_options)}


# Constructors -----------------------------------------------------------------------------

CLASSES = {"ZeroCopyArray": ZeroCopyArray, "DLPackBuffer": DLPackBuffer}


@pytest.fixture(params=CLASSES)
def cls(request):
    return CLASSES[request.param]


def test_type_of_an_instance(cls):
    made = cls(np.zeros(3))
    assert type(made) is cls
    assert isinstance(made, cls)
    assert not isinstance(np.zeros(3), cls)


@pytest.mark.parametrize("order", ["C", "K"])
def test_options_of_the_constructor(cls, order):
    a = np.arange(6.0).reshape(2, 3).T
    if order == "K":
        assert cls(a, order="K").array is a
    else:
        with pytest.warns(CopyWarning, match="not C-contiguous"):
            made = cls(a, order=order)
        assert made.array.flags.c_contiguous
    with pytest.raises(ZeroCopyError, match="not C-contiguous"):
        cls(a, copy=False)
    assert cls(np.zeros(3), copy=True).array.ctypes.data % 64 == 0
    b = np.zeros(3)
    assert cls(b).array is cls(b, order=order).array is cls(b, copy=False).array is b
    assert cls(array=b).array is b


WRONG_CALLS = {
    "nothing": (lambda c: c(), TypeError, "missing 1 required positional argument: 'array'"),
    "two": (lambda c: c(np.zeros(3), "K"), TypeError, "takes 2 positional arguments but 3"),
    "an unknown keyword": (lambda c: c(np.zeros(3), x=1), TypeError, "unexpected keyword.*'x'"),
    "only a keyword": (lambda c: c(order="K"), TypeError, "missing 1 required positional"),
    "array twice": (
        lambda c: c(np.zeros(3), array=np.zeros(3)),
        TypeError,
        "multiple values for argument 'array'",
    ),
    "a list": (lambda c: c([1.0]), WrongTypeError, "expects a numpy.ndarray, got list"),
    "None": (lambda c: c(None), WrongTypeError, "expects a numpy.ndarray, got NoneType"),
    "a tensor": (
        lambda c: c(torch.zeros(1)),
        WrongTypeError,
        "got torch.Tensor; numpack.share",
    ),
    "a scalar": (lambda c: c(np.float64(1)), WrongTypeError, "got numpy.float64"),
    "another order": (lambda c: c(np.zeros(3), order="F"), InvalidValueError, "order must be"),
    "another copy": (lambda c: c(np.zeros(3), copy="x"), InvalidValueError, "copy must be"),
}


@pytest.mark.parametrize("call", WRONG_CALLS)
def test_errors_of_the_constructor(cls, call):
    run, error, message = WRONG_CALLS[call]
    with pytest.raises(error, match=message):
        run(cls)


def test_constructor_has_the_signature_of_its_init(cls):
    assert list(inspect.signature(cls).parameters) == ["array", "order", "copy"]


def test_subclass_runs_its_own_init(cls):
    class Named(cls):
        def __init__(self, array, name="none", **options):
            super().__init__(array, **options)
            self.name = name

    assert Named(np.zeros(3)).name == "none"
    made = Named(np.zeros(3), name="x", order="K")
    assert type(made) is Named
    assert made.name == "x"
    assert made.array.shape == (3,)


def test_subclass_runs_its_own_new(cls):
    class Counting(cls):
        made = 0

        def __new__(cls, *args, **kwargs):
            Counting.made += 1
            return super().__new__(cls)

    assert type(Counting(np.zeros(3))) is Counting
    assert Counting.made == 1


def test_subclass_without_init_and_new(cls):
    class Sub(cls):
        pass

    a = np.zeros(3)
    made = Sub(a)
    assert type(made) is Sub
    assert made.array is a
    made.note = "it has a dictionary"
    with pytest.raises(WrongTypeError):
        Sub([1.0])


def test_subclass_with_a_metaclass_runs_its_call(cls):
    class Meta(type):
        def __call__(cls, *args, **kwargs):
            made = super().__call__(*args, **kwargs)
            made.seen = True
            return made

    class Sub(cls, metaclass=Meta):
        pass

    assert Sub(np.zeros(3)).seen


def test_subclass_with_a_mixin(cls):
    class Mixin:
        def __init__(self, array):
            super().__init__(array)
            self.mixed = True

    class Sub(Mixin, cls):
        pass

    made = Sub(np.zeros(3))
    assert made.mixed
    assert made.array.size == 3


def test_init_can_be_called_again(cls):
    made = cls(np.zeros(3))
    made.__init__(np.ones(2))
    assert made.array.tolist() == [1, 1]
    with pytest.raises(TypeError):
        made.array = [1, 2]


def test_unknown_attribute_cannot_be_set(cls):
    made = cls(np.zeros(3))
    with pytest.raises(AttributeError):
        made.nonsense = 1


def test_instance_can_be_pickled_and_copied(cls):
    import copy

    made = cls(np.arange(3.0))
    for again in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert type(again) is cls
        assert again.array.tolist() == [0, 1, 2]
        assert address(again.array) != address(made.array)
    assert copy.copy(made).array is made.array


@pytest.mark.parametrize("name", [*NATIVE, *LOWPREC, "M8[s]", "object", "struct", "string"])
def test_fast_and_full_constructor_agree(cls, name, tmp_path):
    """An explicit ``order="C"`` runs the full constructor; the array or error is the same."""
    for _, layout in cells([name]):
        a = make(name, layout, tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fast, full = (
                result_or_error(lambda a=a: cls(a)),
                result_or_error(lambda a=a: cls(a, order="C")),
            )
        assert type(fast) is type(full), layout
        if isinstance(fast, Exception):
            assert str(fast) == str(full), layout
        else:
            assert (fast.array is a) == (full.array is a), layout
            assert fast.array.flags.c_contiguous, layout


def result_or_error(call):
    try:
        return call()
    except NumpackError as error:
        return error


def test_bfloat16_becomes_an_ml_dtypes_array(to_numpy):
    t = torch.ones(3, dtype=torch.bfloat16)
    assert to_numpy(t).dtype == ml_dtypes.bfloat16
