"""torch and NumPy through torch's table of C functions: memory, lifetimes, what is refused.

The table hands out memory as it lies. What stands for other values than those in memory, or
for none at all, must not come that way, and what has come must not dangle.
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

IN = {
    "function": lambda t: torch_to_numpy_zero_copy(t),
    "copy=None": lambda t: torch_to_numpy_zero_copy(t, copy=None),
    "copy=False": lambda t: torch_to_numpy_zero_copy(t, copy=False),
    "from_dlpack": lambda t: from_dlpack(t),
    "share": lambda t: share(t, "numpy"),
    "wrapper": lambda t: ZeroCopyArray.from_torch(t, order="K").array,
}
OUT = {
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
def _doors_are_open():
    """The first conversion imports what opens the doors; all others find them open.

    What torch has loaded is not looked through by each collection of a test.
    """
    torch_to_numpy_zero_copy(torch.zeros(1))
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(params=IN)
def take(request):
    return IN[request.param]


@pytest.fixture(params=OUT)
def give(request):
    return OUT[request.param]


# In: values and strides -------------------------------------------------------------------

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
    """A subclass that is a tensor like any other."""


def tensor(name: str) -> torch.Tensor:
    numbers = torch.arange(1, 25).reshape(4, 6)
    if name == "float8_e8m0fnu":
        numbers = 2 ** (numbers % 4)
    return numbers.to(getattr(torch, name))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", TORCH_NAMES)
def test_values_pointer_and_strides_are_torch_s(name, shape):
    t = SHAPES[shape](tensor(name))
    carrier = f"uint{8 * t.element_size()}" if t.element_size() < 16 else "complex128"
    expected = t.detach().view(getattr(torch, carrier)).numpy() if t.ndim else t.detach()
    for way, convert in IN.items():
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


def test_tensor_that_needs_grad_comes_by_every_door(take):
    t = torch.arange(3.0, requires_grad=True)
    a = take(t)
    assert a.tolist() == [0, 1, 2]
    assert address(a) == t.data_ptr()
    assert address(take(t * 2)) != t.data_ptr()


def test_tensor_of_inference_mode(take):
    with torch.inference_mode():
        t = torch.arange(3.0)
        assert address(take(t)) == t.data_ptr()
    assert address(take(t)) == t.data_ptr()


def test_dual_tensor_of_forward_differentiation():
    from torch.autograd import forward_ad

    with forward_ad.dual_level():
        t = quietly(lambda: forward_ad.make_dual(torch.arange(3.0), torch.ones(3)))()
        assert torch_to_numpy_zero_copy(t).tolist() == [0, 1, 2]


@pytest.mark.parametrize("axes", [64, 65])
def test_number_of_axes(take, axes):
    t = torch.zeros((1,) * axes)
    if axes == 64:
        assert take(t).ndim == 64
    else:
        with pytest.raises((UnsupportedError, InvalidValueError), match="64"):
            take(t)


def test_default_device_and_dtype_change_nothing(take):
    t = torch.arange(3.0)
    with torch.device("meta"):
        assert address(take(t)) == t.data_ptr()
        assert torch_device_of(np.zeros(3)) == "cpu"


def torch_device_of(a):
    return numpy_to_torch_zero_copy(a).device.type


# In: values that are not those in memory --------------------------------------------------


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
def test_values_are_those_that_torch_shows(take, make):
    """Memory that holds other values, or none, is never shared; a copy is announced."""
    t = make()
    expected = t.detach().clone().resolve_conj().resolve_neg().tolist()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            a = take(t)
        except (ZeroCopyError, UnsupportedError):
            return
    assert a.tolist() == expected
    assert [each.category for each in caught] == [CopyWarning]


@pytest.mark.parametrize("make", LAZY.values(), ids=LAZY)
def test_copy_of_such_values_is_refused_where_a_copy_is(make):
    t = make()
    for convert in (torch_to_numpy_zero_copy, from_dlpack):
        with pytest.raises(ZeroCopyError):
            convert(t, copy=False)
        assert convert(t, copy=True).tolist() == t.detach().clone().resolve_neg().tolist()
    with pytest.raises(ZeroCopyError):
        share(t, "numpy", copy=False)
    assert not explain(t, "numpy").shares_memory


def test_twice_negated_and_twice_conjugated_are_shared(take):
    t = torch._neg_view(torch._neg_view(torch.arange(3.0)))
    assert address(take(t)) == t.data_ptr()
    t = complexes().conj().conj()
    assert address(take(t)) == t.data_ptr()


def quietly(make):
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
    """A subclass with a dispatch of its own, which stands for memory that is elsewhere."""

    @staticmethod
    def __new__(cls, inner):
        return torch.Tensor._make_wrapper_subclass(cls, inner.shape, dtype=inner.dtype)

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise NotImplementedError


REFUSED = {
    "sparse": lambda: torch.eye(3).to_sparse(),
    "csr": quietly(lambda: torch.eye(3).to_sparse_csr()),
    "mkldnn": lambda: torch.ones(3).to_mkldnn(),
    "quantized": quietly(
        lambda: torch.quantize_per_tensor(torch.zeros(3), 1.0, 0, torch.qint8)
    ),
    "quantized by channel": quietly(
        lambda: torch.quantize_per_channel(
            torch.zeros(3, 2), torch.ones(3), torch.zeros(3), 0, torch.quint8
        )
    ),
    "nested": quietly(lambda: torch.nested.nested_tensor([torch.zeros(3), torch.zeros(2)])),
    "jagged": quietly(
        lambda: torch.nested.nested_tensor([torch.zeros(3)], layout=torch.jagged)
    ),
    "meta": lambda: torch.zeros(3, device="meta"),
    "empty meta": lambda: torch.zeros(0, device="meta"),
    "fake": fake,
    "wrapper subclass": lambda: Wrapping(torch.zeros(3)),
    "complex32": quietly(lambda: torch.zeros(2, dtype=torch.float16).view(torch.complex32)),
    "two float4 in a byte": lambda: torch.zeros(2, dtype=torch.uint8).view(
        torch.float4_e2m1fn_x2
    ),
    "bits": lambda: torch.zeros(2, dtype=torch.uint8).view(torch.bits8),
}


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_what_is_no_plain_memory_is_refused(take, make):
    with pytest.raises(NumpackError):
        take(make())


@pytest.mark.parametrize("make", REFUSED.values(), ids=REFUSED)
def test_refusal_says_why_under_every_policy(make):
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
def test_tracer_is_refused(take, transform):
    """Its memory, if it has any, is not that of the values that it stands for."""
    seen = []

    def look(x):
        with pytest.raises(NumpackError):
            take(x)
        seen.append(x)
        return (x * x).sum()

    TRANSFORMS[transform](look)
    assert seen


def test_modes_of_torch_do_not_matter(take):
    """Memory is the same, whoever watches the operations."""
    from torch._subclasses.fake_tensor import FakeTensorMode
    from torch.overrides import TorchFunctionMode

    class Watching(TorchFunctionMode):
        def __torch_function__(self, func, types, args=(), kwargs=None):
            return func(*args, **(kwargs or {}))

    t = torch.arange(3.0)
    with Watching():
        assert address(take(t)) == t.data_ptr()
    with FakeTensorMode():
        assert torch_to_numpy_zero_copy(t).tolist() == [0, 1, 2]


def test_mode_that_answers_nonsense_does_not_kill_the_process(run_python):
    """Whoever watches the operations may answer them with anything."""
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


def test_lazy_clone_is_never_written_through(take):
    """Two tensors of one memory until one is written to: the array belongs to one."""
    original = torch.zeros(3)
    clone = torch._lazy_clone(original)
    take(clone)[0] = 7
    assert original.tolist() == [0, 0, 0]
    assert clone.tolist() == [7, 0, 0]


# In: who keeps the memory -----------------------------------------------------------------

CHANGES = {  # of the tensor, after an array was made of it
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


def others() -> list[torch.Tensor]:
    """Tensors that get the memory that another of 1000 numbers has given back."""
    return [torch.full((1000,), float("nan")) for _ in range(60)]


@pytest.mark.parametrize("change", CHANGES)
def test_array_keeps_its_memory_whatever_becomes_of_the_tensor(change):
    """A change that torch refuses, because others hold the memory, is none."""
    for way, convert in IN.items():
        t = torch.arange(1000.0)
        a = convert(t)
        before = address(a)
        with contextlib.suppress(RuntimeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            CHANGES[change](t)
        del t
        kept = others()
        assert address(a) == before, way
        assert np.array_equal(a, np.arange(1000.0)), way
        assert len(kept) == 60


@pytest.mark.parametrize("kind", ["tensor", "parameter", "needs grad", "view"])
def test_memory_lives_until_the_array_is_gone(take, kind):
    """Seen from the array that torch has its memory from."""
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
    a = take(t)
    t.data = torch.zeros(3, dtype=torch.float64)
    assert end() is not None
    del t
    assert end() is not None
    b = a[5:]
    del a
    assert end() is not None
    del b
    assert end() is None


def test_module_that_moves_its_parameters_leaves_the_arrays_alone(take):
    """As `module.half()` and `module.to()` do: they give each parameter other data."""
    memory = np.ones((40, 30), "f4")
    end = weakref.ref(memory)
    module = torch.nn.Linear(30, 40)
    module.weight = torch.nn.Parameter(torch.from_numpy(memory))
    del memory
    a = take(module.weight)
    module.double()
    assert module.weight.dtype == torch.float64
    assert end() is not None
    assert (a == 1).all()
    del a
    assert end() is None


def test_parameters_can_still_be_swapped(take):
    """As `module.to` does under `torch.__future__.set_swap_module_params_on_conversion`."""
    t, other = torch.arange(3.0), torch.arange(5.0)
    try:
        torch.utils.swap_tensors(t, other)
    except RuntimeError:
        pytest.fail("torch itself does not swap these")
    a = take(t)
    del a
    torch.utils.swap_tensors(t, other)
    assert t.tolist() == [0, 1, 2]


BEFORE = {  # an array is made
    "given other data": lambda t: setattr(t, "data", torch.arange(5.0)),
    "set to another": lambda t: t.set_(torch.arange(5.0)),
    "resized smaller": lambda t: t.resize_(5),
}


@pytest.mark.parametrize("change", BEFORE)
def test_tensor_that_was_changed_before_is_read_as_it_is(take, change):
    t = torch.arange(1000.0)
    BEFORE[change](t)
    a = take(t)
    assert a.tolist() == [0, 1, 2, 3, 4]
    assert address(a) == t.data_ptr()


def test_tensor_set_to_nothing_is_empty(take):
    t = torch.arange(1000.0)
    t.set_()
    assert take(t).shape == (0,)


FREED = {
    "the tensor": lambda t: t,
    "a view of its beginning": lambda t: t[:500],
    "a view further on": lambda t: t[5:],
    "every other element": lambda t: t[1::2],
    "rows": lambda t: t.view(10, 100)[3],
}


def refusals(t):
    """What each way in raises, or gives; whoever shows such a tensor reads its memory."""
    found = {}
    for way, convert in IN.items():
        try:
            found[way] = type(convert(t))
        except Exception as error:
            found[way] = type(error)
    return found


@pytest.mark.parametrize("view", FREED)
def test_tensor_whose_storage_was_freed_is_refused(view):
    t = torch.arange(1000.0)
    v = FREED[view](t)
    t.untyped_storage().resize_(0)
    supported, found = explain(v, "numpy").supported, refusals(v)
    assert not supported
    assert found == dict.fromkeys(IN, UnsupportedError)


@pytest.mark.parametrize("nbytes", [8, 3996])
def test_tensor_whose_storage_is_too_small_is_refused(nbytes):
    """Its last elements are no longer its own."""
    t = torch.arange(1000.0)
    t.untyped_storage().resize_(nbytes)
    found = refusals(t)
    assert found == dict.fromkeys(IN, UnsupportedError)


def test_array_and_tensor_freed_on_other_threads(take):
    memory = [np.arange(1000.0) for _ in range(20)]
    ends = [weakref.ref(each) for each in memory]
    tensors = [torch.from_numpy(each) for each in memory]
    del memory
    arrays = [take(t) for t in tensors]

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


def test_made_on_one_thread_and_read_on_another(take):
    found = []
    thread = threading.Thread(target=lambda: found.append(take(torch.arange(1000.0))))
    thread.start()
    thread.join()
    kept = others()
    assert np.array_equal(found[0], np.arange(1000.0))
    assert kept


# In: by the class method of the wrapper ---------------------------------------------------


def by_dlpack(t):
    return ZeroCopyArray.from_dlpack(t, order="K").array


def test_wrapper_takes_a_tensor_that_needs_grad():
    t = torch.arange(3.0, requires_grad=True)
    assert address(by_dlpack(t)) == t.data_ptr()


@pytest.mark.parametrize("make", LAZY.values(), ids=LAZY)
def test_wrapper_shows_the_values_that_torch_shows(make):
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
def test_wrapper_refuses_what_is_no_plain_memory(make):
    t = make()
    with pytest.raises(NumpackError):
        by_dlpack(t)


@pytest.mark.parametrize("change", ["given other data", "set to nothing", "resized larger"])
def test_wrapper_keeps_its_memory_whatever_becomes_of_the_tensor(change):
    t = torch.arange(1000.0)
    a = by_dlpack(t)
    with contextlib.suppress(RuntimeError):
        CHANGES[change](t)
    kept = others()
    assert np.array_equal(a, np.arange(1000.0))
    assert kept


# Out --------------------------------------------------------------------------------------


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
def test_tensor_is_like_that_of_torch(name, layout, tmp_path):
    a = LAYOUTS[layout](values(name), tmp_path)
    for way, convert in OUT.items():
        if layout == "empty_odd_strides":
            expected = torch.from_numpy(np.empty(a.shape, a.dtype))  # it refuses the others
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
def test_narrow_floats_are_shared(give, name, layout):
    a = LAYOUTS[layout](values(name), None)
    t = give(a)
    assert t.dtype == getattr(torch, name)
    assert t.shape == a.shape
    if a.size:
        assert t.data_ptr() == address(a)
        assert t.to(torch.float32).tolist() == a.astype("f4").tolist()
        a[...] = a.dtype.type(2)
        assert (t.to(torch.float32) == 2).all()


@pytest.mark.parametrize("name", ["float32", "int64", "bool", "complex64", "bfloat16"])
def test_tensor_is_one_that_torch_works_with(give, name):
    """In every respect like one of its own: it grows by operations, needs grad, is saved."""
    t = give(values(name))
    assert (t == t.clone()).all()
    assert torch.cat([t, t]).shape == (8, 6)
    assert t.contiguous().data_ptr() == t.data_ptr()
    if t.is_floating_point():
        x = t.requires_grad_()
        (x * 2).sum().backward()
        assert x.grad.sum() == 48
    assert pickle.loads(pickle.dumps(t.detach())).shape == (4, 6)


@pytest.mark.parametrize("name", sorted(set(LOWPREC) - set(TORCH_NAMES)))
def test_dtype_that_torch_lacks_is_refused_and_released(give, name):
    a = values(name)
    before = sys.getrefcount(a)
    for _ in range(5):
        with pytest.raises(UnsupportedError, match="torch has no such dtype"):
            give(a)
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
def test_other_dtypes_are_refused_and_released(give, a):
    before = sys.getrefcount(a)
    for _ in range(5):
        with pytest.raises(UnsupportedError, match="to torch failed"):
            give(a)
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
def test_copy_leaves_the_array_alone(make):
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


def test_array_lives_as_long_as_the_tensor_and_no_longer(give):
    a = np.arange(1000.0)
    before, end = sys.getrefcount(a), weakref.ref(a)
    t = give(a)
    assert sys.getrefcount(a) > before
    views = [t[5:], t.view(10, 100), t.untyped_storage()]
    del t
    del a
    assert end() is not None
    assert views[0][0] == 5
    views.clear()
    assert end() is None


def test_array_is_given_back_when_the_tensor_gets_other_memory(give):
    a = np.arange(1000.0)
    before = sys.getrefcount(a)
    for change in (lambda t: t.set_(), lambda t: setattr(t, "data", torch.zeros(2))):
        t = give(a)
        change(t)
        assert sys.getrefcount(a) == before


def test_tensor_over_an_array_cannot_be_resized_out_of_it(give):
    """The memory is NumPy's: torch refuses, or takes other memory and lets the array go."""
    a = np.arange(1000.0)
    t = give(a)
    with contextlib.suppress(RuntimeError):
        t.resize_(100_000)
        t.fill_(-1)
    assert np.array_equal(a, np.arange(1000.0))


def test_tensor_is_freed_on_another_thread(give):
    a = np.arange(1000.0)
    before = sys.getrefcount(a)
    held = [give(a) for _ in range(50)]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert sys.getrefcount(a) == before


def test_there_and_back_is_the_same_memory(take, give):
    a = np.arange(12.0).reshape(3, 4)
    b = take(give(a.T))
    assert address(b) == address(a)
    assert b.strides == a.T.strides
    b[0, 0] = 7
    assert a[0, 0] == 7


def test_tensors_by_many_threads_at_once():
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


# How functions are called -----------------------------------------------------------------

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


def plain_of(function):
    """The same function without anything before it."""
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
    "the argument twice": lambda f, x: f(x, **{first_of(f): x}),
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


def first_of(function) -> str:
    return next(iter(inspect.signature(function).parameters))


@pytest.mark.parametrize("call", CALLS)
def test_errors_of_a_call_are_those_of_the_function_itself(function, call):
    x = argument_of(function.__name__)
    expected = outcome(lambda: CALLS[call](plain_of(function), x))
    assert outcome(lambda: CALLS[call](function, x)) == expected


def test_argument_may_be_given_by_name(function):
    x = argument_of(function.__name__)
    if function in (share, explain):
        assert plain_of(function)(x=x, target="numpy") is not None
        assert function(x=x, target="numpy") is not None
    else:
        assert type(function(**{first_of(function): x})) is type(function(x))


@pytest.mark.parametrize("copy", [None, False, True])
def test_copy_by_keyword_is_the_policy(copy):
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
def test_copy_may_be_numpy_s_bool(copy):
    a = np.arange(3.0)
    assert (numpy_to_torch_zero_copy(a, copy=copy).data_ptr() == address(a)) is not bool(copy)


# What functions look like -----------------------------------------------------------------


def test_signature_is_that_of_the_function(function):
    assert inspect.signature(function) == inspect.signature(plain_of(function))
    parameters = inspect.signature(function).parameters
    if function is not explain:
        assert parameters["copy"].kind is inspect.Parameter.KEYWORD_ONLY


def test_function_tells_its_name_and_documentation(function):
    name = next(key for key, each in FUNCTIONS.items() if each is function)
    assert function.__name__ == function.__qualname__ == name
    assert function.__module__.startswith("numpack.io")
    assert getattr(sys.modules[function.__module__], name) is function
    assert "Parameters" in function.__doc__
    assert name in repr(function)
    assert inspect.getdoc(function) == inspect.getdoc(plain_of(function))
    assert inspect.getsource(function) == inspect.getsource(plain_of(function))
    assert function.__annotations__ == plain_of(function).__annotations__


def test_help_shows_signature_and_documentation(function):
    page = pydoc.plain(pydoc.render_doc(function))
    assert f"{function.__name__}(" in page
    assert "Parameters" in page


def test_function_is_callable_for_everybody(function):
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


def test_function_runs_in_a_process_that_was_spawned():
    script = "import pickle, sys; print(pickle.load(sys.stdin.buffer)())"
    from functools import partial

    call = pickle.dumps(partial(share, np.arange(3.0), "numpy"))
    done = subprocess.run(
        [sys.executable, "-c", script], input=call, capture_output=True, check=True
    )
    assert done.stdout.decode() == "[0. 1. 2.]\n"


@pytest.mark.parametrize("name", METHODS)
def test_method_is_one_like_any_other(name):
    door = ZeroCopyArray(np.arange(3.0))
    bound, unbound = getattr(door, name), getattr(ZeroCopyArray, name)
    assert bound.__self__ is door
    assert bound.__name__ == name
    assert unbound.__qualname__ == f"ZeroCopyArray.{name}"
    assert bound() is not None
    assert unbound(door) is not None
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
def test_errors_of_a_method_name_it(name, call):
    with pytest.raises((TypeError, ValueError), match=f"{name}|copy must be"):
        call(getattr(ZeroCopyArray(np.zeros(3)), name))


def test_annotations_of_functions_can_be_read(function):
    """`typing.get_type_hints` looks behind the decorators."""
    hints = typing.get_type_hints(plain_of(function), localns=vars(numpack) | NAMES)
    assert typing.get_type_hints(function, localns=vars(numpack) | NAMES) == hints


NAMES = {"pa": __import__("pyarrow"), "torch": torch, "Array": np.ndarray, **vars(_options)}


# Classes ----------------------------------------------------------------------------------

CLASSES = {"ZeroCopyArray": ZeroCopyArray, "DLPackBuffer": DLPackBuffer}


@pytest.fixture(params=CLASSES)
def cls(request):
    return CLASSES[request.param]


def test_object_is_of_its_class(cls):
    made = cls(np.zeros(3))
    assert type(made) is cls
    assert isinstance(made, cls)
    assert not isinstance(np.zeros(3), cls)


@pytest.mark.parametrize("order", ["C", "K"])
def test_options_of_the_constructor_are_heeded(cls, order):
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
def test_wrong_calls_of_the_constructor_say_what_is_wrong(cls, call):
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


def test_subclass_without_either_is_made_like_its_base(cls):
    class Sub(cls):
        pass

    a = np.zeros(3)
    made = Sub(a)
    assert type(made) is Sub
    assert made.array is a
    made.note = "it has a dictionary"
    with pytest.raises(WrongTypeError):
        Sub([1.0])


def test_subclass_of_a_metaclass_runs_its_call(cls):
    class Meta(type):
        def __call__(cls, *args, **kwargs):
            made = super().__call__(*args, **kwargs)
            made.seen = True
            return made

    class Sub(cls, metaclass=Meta):
        pass

    assert Sub(np.zeros(3)).seen


def test_subclass_of_a_subclass_and_another(cls):
    class Mixin:
        def __init__(self, array):
            super().__init__(array)
            self.mixed = True

    class Sub(Mixin, cls):
        pass

    made = Sub(np.zeros(3))
    assert made.mixed
    assert made.array.size == 3


def test_init_may_be_called_again(cls):
    made = cls(np.zeros(3))
    made.__init__(np.ones(2))
    assert made.array.tolist() == [1, 1]
    with pytest.raises(TypeError):
        made.array = [1, 2]


def test_object_has_no_attributes_of_others(cls):
    made = cls(np.zeros(3))
    with pytest.raises(AttributeError):
        made.nonsense = 1


def test_object_is_pickled_and_copied(cls):
    import copy

    made = cls(np.arange(3.0))
    for again in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert type(again) is cls
        assert again.array.tolist() == [0, 1, 2]
        assert address(again.array) != address(made.array)
    assert copy.copy(made).array is made.array


@pytest.mark.parametrize("name", [*NATIVE, *LOWPREC, "M8[s]", "object", "struct", "string"])
def test_quick_constructor_keeps_what_the_full_one_keeps(cls, name, tmp_path):
    """With ``order="C"`` given the full one runs; the array, or the error, is the same."""
    for _, layout in cells([name]):
        a = make(name, layout, tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            quick, full = (
                outcome_of(lambda a=a: cls(a)),
                outcome_of(lambda a=a: cls(a, order="C")),
            )
        assert type(quick) is type(full), layout
        if isinstance(quick, Exception):
            assert str(quick) == str(full), layout
        else:
            assert (quick.array is a) == (full.array is a), layout
            assert quick.array.flags.c_contiguous, layout


def outcome_of(call):
    try:
        return call()
    except NumpackError as error:
        return error


def test_ml_dtypes_is_what_narrow_floats_come_as(take):
    t = torch.ones(3, dtype=torch.bfloat16)
    assert take(t).dtype == ml_dtypes.bfloat16
