"""A store of two arrays."""

from __future__ import annotations

import numpy as np
import pytest

from numpack import NumPack

ROWS = np.arange(6.0).reshape(3, 2)


@pytest.fixture
def saved():
    """Create and close a store of two arrays."""
    with NumPack("s.npk") as store:
        store.save({"x": ROWS, "y": -ROWS})
