"""Tensors, and the picklers of other packages, under `pickle_by_reference`."""

from __future__ import annotations

import copy
import copyreg
import pickle
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
import torch

import numpack.io
from numpack import NumPack, SharedArray, share
from numpack.io import pickle_by_reference, use_pickle_by_reference

ROWS = np.arange(200_000.0).reshape(2000, 100)


@pytest.fixture
def lazy():
    with NumPack("s.npk") as npk:
        npk.save({"x": ROWS})
        yield npk.load("x", lazy=True)


@pytest.fixture(autouse=True)
def _own_tables():
    yield
    numpack.io.references._TABLES.reset()


def by_reference(value: object) -> bytes:
    with pickle_by_reference():
        return pickle.dumps(value)


def test_tensors_of_stored_arrays_are_mapped_again(lazy):
    tensor = share(lazy, "torch")
    for each in (tensor, tensor[5:900, 3], tensor.T):
        pickled = by_reference(each)
        assert len(pickled) <= 1024
        again = pickle.loads(pickled)
        assert type(again) is torch.Tensor
        assert again.stride() == each.stride()
        assert torch.equal(again, each)
    again = pickle.loads(by_reference(tensor))
    again[0] = -1
    assert tensor[0, 1] == 1  # the pages are private


def test_tensors_that_were_written_to_are_pickled_by_value(lazy):
    tensor = share(lazy, "torch")
    tensor[0, 0] = 7
    assert len(by_reference(tensor)) > ROWS.nbytes
    assert pickle.loads(by_reference(tensor))[0, 0] == 7
    assert len(by_reference(tensor[500:])) <= 1024
    assert len(by_reference(share(lazy, "torch"))) <= 1024


def test_tensors_of_shared_memory_see_writes():
    array = SharedArray((30, 40), "f4")
    again = pickle.loads(by_reference(share(array, "torch")[2:]))
    again += 1
    assert array[2:].sum() == 28 * 40


def test_other_tensors_are_pickled_as_before(lazy):
    tensor = share(lazy, "torch")
    others = [torch.arange(5), tensor + 1, torch.zeros(0), torch.zeros(2, requires_grad=True)]
    others += [torch.nn.Parameter(torch.ones(3)), torch.ones(2, dtype=torch.bfloat16)]
    for each in others:
        again = pickle.loads(by_reference(each))
        assert type(again) is type(each)
        assert torch.equal(again, each)
        assert again.requires_grad == each.requires_grad
    named = tensor[:2]
    named.note = "kept"
    assert pickle.loads(by_reference(named)).note == "kept"
    with pickle_by_reference():
        assert copy.copy(tensor).data_ptr() == tensor.data_ptr()
        assert copy.deepcopy(tensor).data_ptr() != tensor.data_ptr()


def test_leaving_restores_the_table_of_torch(lazy):
    before = ForkingPickler._extra_reducers[torch.Tensor]
    with pickle_by_reference():
        assert ForkingPickler._extra_reducers[torch.Tensor] is not before
        tensor = share(lazy, "torch")
        assert len(bytes(ForkingPickler.dumps(tensor))) <= 1024
        assert pickle.loads(ForkingPickler.dumps(torch.arange(3))).tolist() == [0, 1, 2]
    assert ForkingPickler._extra_reducers[torch.Tensor] is before
    assert torch.Tensor not in copyreg.dispatch_table


def test_cloudpickle_and_joblib_use_it(lazy):
    import cloudpickle
    import joblib

    view = lazy[:, 3:5]
    with pickle_by_reference():
        pickled = cloudpickle.dumps(lambda: view.sum())
        assert pickle.loads(pickled)() == view.sum()
    assert len(pickled) <= 2048
    use_pickle_by_reference()
    results = joblib.Parallel(n_jobs=2, max_nbytes=None)(
        joblib.delayed(is_mapped)(lazy[start : start + 500]) for start in range(0, 2000, 500)
    )
    assert all(results)


def test_dask_uses_it(lazy):
    from distributed.protocol import deserialize, serialize
    from distributed.protocol.pickle import dumps, loads

    view = lazy[:, 3:5]
    with pickle_by_reference():
        task = {"function": np.sum, "arguments": [view]}
        pickled = dumps(task)
        assert len(pickled) <= 2048
        assert np.array_equal(loads(pickled)["arguments"][0], view)
        header, frames = serialize(task, serializers=["pickle"])
        assert sum(map(len, frames)) <= 2048
        assert np.array_equal(deserialize(header, frames)["arguments"][0], view)


def is_mapped(array: np.ndarray) -> bool:
    """Return whether an array is over a file of a store."""
    from support.memory import address, is_private_copy_on_write

    return is_private_copy_on_write(address(array))
