"""Lists of arrays."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from numpack import (
    CopyWarning,
    share,
)


def test_lists_of_tensors_are_stacked():
    for each in (torch.ones(2, requires_grad=True), torch.ones(2, dtype=torch.bfloat16)):
        stacked = share([each, each], "numpy", copy=True)
        assert stacked.tolist() == [[1, 1], [1, 1]]
        with pytest.warns(CopyWarning):
            back = share([each, each], "torch")
        assert torch.equal(back, torch.stack([each, each]))
    mixed = share([np.zeros(2, "f4"), torch.ones(2)], "numpy", copy=True)
    assert mixed.tolist() == [[0, 0], [1, 1]]
