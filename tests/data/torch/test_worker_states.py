"""States that are taken and loaded in the workers of a DataLoader, as torchdata does."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from support.each import assert_each
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from numpack import Loader

pytestmark = pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker")

N, SIZE = 1003, 64  # 16 batches


def make(batch_size: int = SIZE) -> Loader:
    return Loader({"x": np.arange(N)}, "x", batch_size=batch_size)


class Stateful(IterableDataset):
    """Gives each batch with the state after it and the worker; each worker loads its own."""

    def __init__(self, loader, states):
        self.loader, self.states = loader, states

    def __iter__(self):
        worker = get_worker_info().id
        if worker in self.states:
            self.loader.load_state_dict(self.states[worker])
        return ((worker, batch, self.loader.state_dict()) for batch in self.loader)


def in_workers(workers, states, loader=None):
    return DataLoader(Stateful(loader or make(), states), batch_size=None, num_workers=workers)


def begin(workers, count):
    """Return the states after some batches, by worker."""
    batches = iter(in_workers(workers, {}))
    return {worker: state for _, (worker, _, state) in zip(range(count), batches, strict=False)}


def test_workers_resume_their_states():
    """One worker may have given all its batches while another has some left."""
    expected = list(make())

    def check(workers, count):
        given = [batch for _, batch, _ in in_workers(workers, begin(workers, count))]
        assert len(given) == len(expected) - count
        rest = torch.cat(expected[count:]).tolist()
        assert sorted(torch.cat(given).tolist()) == sorted(rest)

    assert_each([(2, 1), (2, 6), (2, 15), (3, 13), (3, 14), (3, 15)], check)


def test_after_the_last_batch_of_all_workers_a_state_is_the_end_of_the_epoch():
    assert list(in_workers(2, begin(2, 16))) == []


def test_workers_resume_a_state_of_the_main_process_near_its_end():
    """There are fewer batches left than workers."""
    batches = iter(given := make())
    for _ in range(15):
        next(batches)
    again = make()
    again.load_state_dict(given.state_dict())
    (last,) = DataLoader(again, batch_size=None, num_workers=3)
    assert torch.equal(last, next(batches))


def test_states_of_workers_are_refused_with_other_batches():
    states = begin(2, 4)
    with pytest.raises(Exception, match="'batch_size': 64.*here .*'batch_size': 32"):
        list(in_workers(2, states, make(batch_size=32)))
    with pytest.raises(Exception, match="'workers': 2.*here .*'workers': 3"):
        list(in_workers(3, states))
    with pytest.raises(Exception, match="'workers': 2.*here None"):
        make().load_state_dict(states[0])
