"""Known errors of zero-copy conversions, each seen in a released version of another library."""

from __future__ import annotations

import pickle

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
import torch
from support.exchange.dlpack import Tensor
from support.memory import address

from numpack import (
    CopyWarning,
    NumPack,
    UnsupportedError,
    ZeroCopyArray,
    explain,
    share,
)
from numpack.io import (
    from_dlpack,
    numpy_to_arrow_zero_copy,
    numpy_to_torch_zero_copy,
    to_dlpack,
    torch_to_numpy_zero_copy,
)

# Wrong values, silently


@pytest.mark.parametrize("target", ["torch", "arrow", "dlpack"])
def test_byte_order_is_not_ignored(target):
    with pytest.warns(CopyWarning, match="not in native byte order"):
        result = share(np.array([1, 2], ">i4"), target)
    assert share(result, "numpy").tolist() == [1, 2]


def test_fortran_order_is_not_stored_transposed():
    a = np.asfortranarray(np.arange(6).reshape(2, 3))
    with NumPack("f.npk") as npk:
        npk.save({"a": a})
        assert npk.load("a").tolist() == a.tolist()


def test_negative_bit_does_not_flip_the_sign():
    t = torch.tensor([1 + 2j]).conj().imag
    for convert in (torch_to_numpy_zero_copy, from_dlpack):
        with pytest.warns(CopyWarning):
            assert convert(t).tolist() == [-2.0]


def test_bfloat16_keeps_its_dtype_in_the_store():
    with NumPack("b.npk") as npk:
        npk.save({"b": torch.ones(2, dtype=torch.bfloat16)})
        assert npk.load("b").dtype == ml_dtypes.bfloat16
        assert share(npk.load("b", lazy=True), "torch").dtype == torch.bfloat16


@pytest.mark.parametrize(
    "name", ["bfloat16", *(n for n in dir(ml_dtypes) if n.startswith("float8_e"))]
)
def test_low_precision_floats_keep_their_dtype_in_the_store(name):
    a = np.array([1, 2], getattr(ml_dtypes, name))
    with NumPack("low.npk") as npk:
        npk.save({"a": a, "s": np.zeros(2, [("x", a.dtype), ("y", "i4")])})
    with NumPack("low.npk") as npk:
        assert npk.load("a").dtype == a.dtype
        assert npk.load("a").tolist() == a.tolist()
        assert npk.load("s", lazy=True).dtype["x"] == a.dtype


@pytest.mark.parametrize("target", ["torch", "dlpack"])
def test_mask_is_not_dropped(target):
    with pytest.raises(UnsupportedError, match=r"no masks.*array.filled\(value\)"):
        share(np.ma.array([1, 2], mask=[False, True]), target)


# Crashes


def test_negative_strides_do_not_abort():
    a = np.arange(4.0)[::-1]
    for convert in (numpy_to_torch_zero_copy, lambda x: torch.from_dlpack(to_dlpack(x))):
        with pytest.warns(CopyWarning):
            assert convert(a).tolist() == [3, 2, 1, 0]


def test_0d_array_is_stored():
    with NumPack("z.npk") as npk:
        npk.save({"z": np.array(3.0)})
        assert npk.load("z").shape == ()
        assert share(npk.load("z", lazy=True), "torch").item() == 3


# Refused although it could be shared


@pytest.mark.parametrize("versioned", [False, True])
def test_raw_capsules_are_shared(versioned):
    a = np.arange(3.0)
    tensor = Tensor(a, versioned=versioned)
    assert address(from_dlpack(tensor.capsule(), copy=False)) == address(a)
    for capsule in (
        torch.utils.dlpack.to_dlpack(torch.ones(2)),
        pa.array([1]).__dlpack__(max_version=(1, 0)),
    ):
        assert explain(capsule, "numpy").shares_memory


def test_low_precision_floats_are_shared_both_ways():
    a = np.array([1.5, -2], ml_dtypes.bfloat16)
    t = numpy_to_torch_zero_copy(a, copy=False)
    assert t.dtype == torch.bfloat16
    assert torch.from_dlpack(to_dlpack(a)).dtype == torch.bfloat16
    assert address(torch_to_numpy_zero_copy(t, copy=False)) == address(a)
    assert address(from_dlpack(t, copy=False)) == address(a)


@pytest.mark.parametrize(
    "a",
    [
        np.arange(5.0)[4:3:-1],
        np.zeros((1, 3))[::-1],
        np.empty((0, 3))[::-1],
        np.frombuffer(b"", "f4"),
    ],
    ids=["length 1", "rows", "empty", "nothing"],
)
def test_strides_of_axes_shorter_than_two_are_ignored(a):
    assert numpy_to_torch_zero_copy(a, copy=False).tolist() == a.tolist()
    assert torch.from_dlpack(to_dlpack(a, copy=False)).tolist() == a.tolist()
    assert numpy_to_arrow_zero_copy(a, copy=False).to_pylist() == a.ravel().tolist()


# Copied although it could be shared


def test_stored_and_owned_memory_is_aligned_to_64_bytes():
    a = np.arange(12, dtype="f4").reshape(3, 4)
    with NumPack("a.npk") as npk:
        npk.save({"a": a})
        assert address(npk.load("a")) % 64 == 0
        assert share(npk.load("a", lazy=True), "torch").data_ptr() % 64 == 0
    assert numpy_to_torch_zero_copy(a, copy=True).data_ptr() % 64 == 0
    assert address(from_dlpack(torch.ones(3), copy=True)) % 64 == 0


def test_lazy_array_is_pickled_by_reference():
    with NumPack("p.npk") as npk:
        npk.save({"x": np.zeros(10**6)})
        lazy = npk.load("x", lazy=True)
    data = pickle.dumps(lazy)
    assert len(data) < 1000
    assert np.array_equal(pickle.loads(data), lazy)


# Found during the development of this library


def test_conjugate_view_is_resolved_in_one_copy():
    t = torch.tensor([[1 + 1j, 2], [3, 4], [5, 6 - 1j]]).T.conj()
    route = explain(t, "dlpack")
    assert [step.action for step in route.steps] == ["copied", "shared"]
    with pytest.warns(CopyWarning) as caught:
        buffer = share(t, "dlpack")
    assert len(caught) == 1
    assert buffer.array.tolist() == t.tolist()
    assert ZeroCopyArray.from_torch(t, copy=True).array.tolist() == t.tolist()


def test_tensor_whose_storage_was_freed_is_refused():
    t = torch.arange(1000.0)
    t.untyped_storage().resize_(0)
    for call in (torch_to_numpy_zero_copy, from_dlpack):
        with pytest.raises(UnsupportedError, match="its storage was freed"):
            call(t)


def test_tensor_of_more_than_64_dimensions_is_refused():
    with pytest.raises(UnsupportedError, match="at most 64 dimensions"):
        torch_to_numpy_zero_copy(torch.zeros([1] * 65))


def test_arrays_of_jax_are_shared_read_only():
    """JAX arrays are immutable, which their legacy capsules cannot express."""
    array = jnp.arange(3, dtype="f4")
    for shared in (share(array, "numpy", copy=False), from_dlpack(array, copy=False)):
        assert shared.ctypes.data == array.unsafe_buffer_pointer()
        assert not shared.flags.writeable
    assert share(array, "numpy", copy=True).flags.writeable
    assert from_dlpack(array, copy=True).flags.writeable


def test_mask_without_masked_values_is_ignored():
    a = np.ma.array([1.0, 2.0], mask=[False, False])
    assert share(a, "torch", copy=False).data_ptr() == address(a.data)
    assert share(a, "dlpack", copy=False).array is a
    assert np.asarray(ZeroCopyArray(a)).tolist() == [1, 2]
    with NumPack("m.npk") as npk:
        npk.save({"a": a})
    masked = np.ma.array([[1, 2]], mask=[[True, False]])
    assert share(ZeroCopyArray(masked), "arrow", layout="list").to_pylist() == [[None, 2]]


def test_from_dlpack_with_copy_false_raises_buffer_error():
    wrapper = ZeroCopyArray(np.arange(3.0)[::-1], order="K")
    with pytest.raises(BufferError, match="negative strides"):
        np.from_dlpack(wrapper, copy=False)


def test_types_are_not_kept_alive():
    import gc
    import weakref

    kind = type("Throwaway", (np.ndarray,), {})
    assert share(np.zeros(2).view(kind), "torch").shape == (2,)
    end = weakref.ref(kind)
    del kind
    gc.collect()
    assert end() is None
