"""Known errors of zero-copy conversions, each seen in a released version of another library.

Those that concern only the store are tested in tests/core.
"""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
import torch
from support.dlpack import Tensor
from support.memory import address, is_private_copy_on_write, shares_pages

from numpack import (
    CopyWarning,
    NumPack,
    ReadOnlyWarning,
    UnsupportedError,
    ZeroCopyArray,
    explain,
    share,
)
from numpack.io import (
    arrow_to_numpy_zero_copy,
    from_dlpack,
    numpy_to_arrow_zero_copy,
    numpy_to_torch_zero_copy,
    table_to_numpy_zero_copy,
    to_dlpack,
    torch_to_numpy_zero_copy,
)

# Wrong values, silently


def test_bool_bytes_are_not_read_as_bits():
    a = np.array([True, False, True, True])
    with pytest.warns(CopyWarning):
        assert numpy_to_arrow_zero_copy(a).to_pylist() == [True, False, True, True]


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


def test_nan_is_not_null():
    assert numpy_to_arrow_zero_copy(np.array([np.nan])).null_count == 0


def test_offset_of_an_arrow_slice_is_applied():
    array = pa.array([1, 2, 3, 4])[2:]
    assert arrow_to_numpy_zero_copy(array).tolist() == [3, 4]


# Crashes


def read_only_maps(tmp_path: Path) -> dict[str, np.ndarray]:
    """Return arrays over files that NumPy, mmap, Arrow or the store mapped read-only."""
    import mmap

    path = tmp_path / "data.bin"
    path.write_bytes(np.arange(1000.0).tobytes())
    np.save(tmp_path / "data.npy", np.arange(1000.0))
    file = path.open("rb")
    raw = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    file.close()
    source = pa.memory_map(str(path))
    buffer = source.read_buffer()
    store = NumPack(tmp_path / "map.npk")
    store.open()
    store.save({"x": np.arange(1000.0)})
    return {
        "memmap": np.memmap(path, "f8", "r"),
        "slice of a memmap": np.memmap(path, "f8", "r")[600:],
        "np.load": np.load(tmp_path / "data.npy", mmap_mode="r"),
        "plain view of a memmap": np.asarray(np.memmap(path, "f8", "r")).view(np.ndarray),
        "mmap.mmap": np.frombuffer(raw, "f8"),
        "arrow memory map": pa.Array.from_buffers(
            pa.float64(), 1000, [None, buffer]
        ).to_numpy(),
        "lazy array": store.load("x", lazy=True),
        "array of a lazy array": np.asarray(store.load("x", lazy=True)),
        "row of a lazy array": store.load("x", lazy=True)[5:7],
    }


MAPS = [
    "memmap",
    "slice of a memmap",
    "np.load",
    "plain view of a memmap",
    "mmap.mmap",
    "arrow memory map",
    "lazy array",
    "array of a lazy array",
    "row of a lazy array",
]


@pytest.mark.parametrize("way", ["torch", "dlpack", "arrow"])
@pytest.mark.parametrize("name", MAPS)
def test_write_through_a_tensor_over_a_read_only_map(name, way, tmp_path):
    """The memory is shared without a warning, and a write is private and does not crash."""
    mapped = read_only_maps(tmp_path)[name]
    files = {path: path.read_bytes() for path in tmp_path.rglob("*.bin")}
    before = np.array(mapped)
    if way == "torch":
        assert explain(mapped, "torch").steps[-1].action == "mapped copy-on-write"
        tensor = share(mapped, "torch", copy=False)
    elif way == "dlpack":
        tensor = torch.from_dlpack(share(mapped, "dlpack", copy=False))
    else:
        tensor = share(share(mapped, "arrow", copy=False), "torch", copy=False)
    assert shares_pages(address(np.asarray(mapped)), tensor.data_ptr())
    assert is_private_copy_on_write(tensor.data_ptr())
    tensor += 1
    assert (tensor.numpy() == before + 1).all()
    assert np.array_equal(mapped, before)
    assert {path: path.read_bytes() for path in files} == files


def test_write_through_a_tensor_that_torch_made_over_a_lazy_array():
    """A write does not crash even if the tensor was not made by this library."""
    with NumPack("own.npk") as npk:
        npk.save({"x": np.arange(1000.0)})
        lazy = npk.load("x", lazy=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch warns at most once in a process
            tensor = torch.from_numpy(lazy[:10])
        tensor += 1
        with pytest.raises(ValueError, match="WRITEABLE"):
            np.asarray(lazy).flags.writeable = True
        assert npk.load("x")[0] == 0


def test_file_larger_than_memory(tmp_path):
    size = 1 << 40  # 1 TiB, sparse
    path = tmp_path / "sparse.bin"
    with path.open("wb") as file:
        file.truncate(size)
    mapped = np.memmap(path, "u1", "r")
    tensor = numpy_to_torch_zero_copy(mapped, copy=False)
    tensor[size // 2] = 1
    assert tensor[size // 2].item() == 1
    assert mapped[size // 2] == 0


def test_modified_private_map_is_copied(tmp_path):
    import ctypes
    import mmap

    path = tmp_path / "data.bin"
    path.write_bytes(np.zeros(1024).tobytes())
    with path.open("rb") as file:
        private = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
    a = np.frombuffer(private)
    a[0] = 42
    assert ctypes.CDLL(None).mprotect(ctypes.c_void_p(address(a)), 8192, mmap.PROT_READ) == 0
    a.flags.writeable = False
    for target in ("torch", "dlpack"):
        assert not explain(a, target).shares_memory
        with pytest.warns(CopyWarning, match="cannot be mapped again"):
            assert share(share(a, target), "numpy")[0] == 42


@pytest.mark.parametrize("change", ["renamed", "replaced", "unlinked"])
def test_map_of_a_moved_or_deleted_file(change, tmp_path):
    path = tmp_path / "data.bin"
    path.write_bytes(np.arange(1000.0).tobytes())
    mapped = np.memmap(path, "f8", "r")
    if change == "renamed":
        path.rename(tmp_path / "elsewhere.bin")
    elif change == "unlinked":
        path.unlink()
    else:
        other = tmp_path / "other.bin"
        other.write_bytes(np.zeros(1000).tobytes())
        other.replace(path)
    tensor = numpy_to_torch_zero_copy(mapped, copy=False)
    assert tensor.tolist() == list(range(1000))
    tensor.zero_()
    assert mapped[5] == 5


def test_map_whose_file_cannot_be_opened_is_copied_with_a_warning(tmp_path, monkeypatch):
    from numpack._core import mapped_files

    path = tmp_path / "data.bin"
    path.write_bytes(np.arange(10.0).tobytes())
    mapped = np.memmap(path, "f8", "r")
    monkeypatch.setattr(mapped_files, "_open_again", lambda _: None)
    for target in ("torch", "dlpack"):
        assert not explain(mapped, target).shares_memory
        with pytest.warns(CopyWarning, match="mapped read-only and cannot be mapped again"):
            result = share(mapped, target)
        share(result, "torch")[0] = 7
    assert mapped[0] == 0


def test_anonymous_read_only_memory_is_shared_with_a_warning():
    a = np.zeros(3)
    a.flags.writeable = False
    with pytest.warns(ReadOnlyWarning, match="shares read-only memory.*copy=True") as caught:
        t = numpy_to_torch_zero_copy(a)
    assert caught[0].filename == __file__
    assert t.data_ptr() == address(a)
    t = numpy_to_torch_zero_copy(a, copy=True)
    t[0] = 1
    assert a[0] == 0


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
    assert address(
        from_dlpack(Tensor(a, versioned=versioned).capsule(), copy=False)
    ) == address(a)
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


def test_single_chunk_is_shared():
    f = np.arange(5.0)
    table = pa.table({"v": f})
    assert address(table_to_numpy_zero_copy(table, "v", copy=False)) == address(f)
    assert address(arrow_to_numpy_zero_copy(table.column("v"), copy=False)) == address(f)


def test_fixed_size_lists_become_n_d_arrays():
    lists = pa.array([[1, 2], [3, 4]], pa.list_(pa.int64(), 2))
    assert arrow_to_numpy_zero_copy(lists, copy=False).tolist() == [[1, 2], [3, 4]]


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
