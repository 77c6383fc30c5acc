"""A gathered batch as the sequence of its samples, and collating without torch."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from numpack.data.dataset.batch import Batch, collate


class Pair(NamedTuple):
    x: Any
    y: Any


def test_batch_is_the_sequence_of_its_samples():
    x = np.arange(6).reshape(3, 2)
    batch = Batch({"x": x, "pair": Pair(x[:, 0], ["a", "b", "c"])}, 3)
    assert len(batch) == 3
    assert [sample["pair"] for sample in batch] == [Pair(0, "a"), Pair(2, "b"), Pair(4, "c")]
    assert np.shares_memory(batch[1]["x"], x)
    assert batch[-1]["x"].tolist() == [4, 5]
    assert type(batch[0]) is dict
    assert [sample["pair"].y for sample in batch[1:]] == ["b", "c"]
    assert repr(batch) == "Batch(3 samples)"
    for index in (3, -4):
        with pytest.raises(IndexError):
            batch[index]


def test_collate_returns_the_data_itself():
    data = {"x": np.arange(3)}
    assert collate(Batch(data, 3)) is data


def test_collate_needs_torch_for_other_samples(run_python):
    run_python(
        """
import sys, numpy as np, numpack
from numpack.data import Dataset, collate
dataset = Dataset({"x": np.arange(3)}, target="numpy")
assert collate(dataset.__getitems__([2]))["x"] == [2]
assert "torch" not in sys.modules
try:
    collate([dataset[0]])
except numpack.WrongTypeError as error:
    assert "what Dataset.__getitems__ returns, got list" in str(error)
else:
    raise AssertionError
"""
    )
