"""Read-only maps of files: shared, and writes of other frameworks are private."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from support.memory import address, is_private_copy_on_write, shares_pages

from numpack import (
    CopyWarning,
    NumPack,
    ReadOnlyWarning,
    explain,
    share,
)
from numpack.io import (
    numpy_to_torch_zero_copy,
)


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
