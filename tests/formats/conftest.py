"""A store of which files are made."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from numpack import NumPack


@pytest.fixture
def store() -> Iterator[NumPack]:
    """Make the store ``s.npk``, and keep it open."""
    with NumPack("s.npk") as npk:
        npk.save({"x": np.arange(6.0).reshape(3, 2), "y": np.arange(3)})
        yield npk
