"""A store of two arrays."""

from __future__ import annotations

import numpy as np
import pytest

from numpack import NumPack


@pytest.fixture
def xy(store: NumPack) -> NumPack:
    """Save two arrays of three rows in a new store."""
    rows = np.arange(6.0).reshape(3, 2)
    store.save({"x": rows, "y": rows + 1})
    return store
