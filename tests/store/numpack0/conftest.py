"""Folders of NumPack 0.x, and the arrays that they hold."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from support.store.numpack0_store import FIXTURES, FOLDERS, OLD, ROWS, write


@pytest.fixture(params=FOLDERS)
def fixture_arrays(request):
    """Copy a folder that NumPack 0.7 wrote; return the arrays that it read back."""
    shutil.copytree(FIXTURES / f"{request.param}.npk", OLD)
    with np.load(FIXTURES / f"{request.param}.expected.npz") as expected:
        return dict(expected)


@pytest.fixture
def generated_arrays():
    write({"x": ROWS, "y": ROWS[:, 0].copy(), "empty": ROWS[:0]}, {"x": [1, 3]})
    return {"x": np.delete(ROWS, [1, 3], 0), "y": ROWS[:, 0], "empty": ROWS[:0]}
