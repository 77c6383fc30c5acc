"""Shared arrays as tensors, in torch's DataLoader, and in loky."""

from __future__ import annotations

import os

import numpy as np
import pyarrow as pa
import torch

from numpack import SharedArray, explain, share, share_memory

COUNT = 4096


class Rows(torch.utils.data.Dataset):
    """A map-style dataset, which notes who has read a row."""

    def __init__(self, array: np.ndarray, readers: np.ndarray) -> None:
        self.array, self.readers = array, readers

    def __len__(self) -> int:
        return len(self.array)

    def __getitem__(self, index: int) -> np.ndarray:
        self.readers[index] = os.getpid()
        return self.array[index]


def test_tensors_share_the_memory():
    array = SharedArray((3, 4), "f4")
    for tensor in (share(array, "torch", copy=False), torch.from_numpy(array)):
        assert tensor.data_ptr() == array.__array_interface__["data"][0]
        tensor += 1
    assert np.all(array == 2)
    assert explain(array, "torch").shares_memory
    assert explain(array.T, "torch").shares_memory
    assert share(array, "arrow", copy=False).to_numpy().sum() == 24


def test_tensor_keeps_the_memory():
    tensor = share(SharedArray(COUNT), "torch")
    tensor += 1
    assert tensor.sum() == COUNT


def test_share_memory_copies_arrays_of_frameworks_once():
    tensor = torch.arange(5)
    shared = share_memory(tensor)
    tensor += 1
    assert shared.tolist() == [0, 1, 2, 3, 4]
    assert share_memory(pa.array([1.5, None])).tolist()[0] == 1.5
    assert share_memory(torch.zeros(3, dtype=torch.bfloat16)).dtype.name == "bfloat16"


def test_data_loader_workers_map_the_dataset():
    array = share_memory(np.arange(float(COUNT)).reshape(-1, 4))
    readers = SharedArray(len(array), "i8")
    for method in ("fork", "spawn"):
        loader = torch.utils.data.DataLoader(
            Rows(array, readers),
            batch_size=64,
            num_workers=2,
            multiprocessing_context=method,
        )
        assert torch.equal(torch.cat(list(loader)), torch.from_numpy(array))
        assert len(set(readers.tolist()) - {0, os.getpid()}) == 2
        readers[:] = 0


def double(array: np.ndarray, start: int) -> int:
    """Double some rows, in a worker of loky."""
    array[start : start + 100] *= 2
    return os.getpid()


def test_loky_workers_write_to_the_memory():
    from loky import get_reusable_executor

    array = share_memory(np.arange(400))
    executor = get_reusable_executor(max_workers=2)
    pids = list(executor.map(double, [array] * 4, range(0, 400, 100)))
    executor.shutdown(wait=True)
    assert os.getpid() not in pids
    assert np.array_equal(array, 2 * np.arange(400))
