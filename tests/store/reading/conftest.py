"""Fixtures of the tests of reading."""

import numpy as np
import pytest

ROWS = np.arange(6.0).reshape(3, 2)


@pytest.fixture
def filled(store):
    """Fill the store with arrays, one of which has deleted rows."""
    store.save(
        {"x": ROWS, "y": ROWS + 10, "z": np.arange(9), "empty": ROWS[:0], "0-d": np.array(7)}
    )
    store.drop("z", [1, 5])
    return store
