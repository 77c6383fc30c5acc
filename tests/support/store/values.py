"""What a store holds, and the files in which it holds it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from numpack import NumPack


def ids(store: NumPack) -> dict[str, str]:
    return {name: entry.id for name, entry in store._arrays().items()}


def inode(store: NumPack, name: str) -> int:
    return os.stat(f"s.npk/{store._arrays()[name].data_file}").st_ino


def values(arrays: Mapping[str, Any]) -> dict[str, list]:
    return {name: np.asarray(array).tolist() for name, array in arrays.items()}


def state() -> dict[str, list]:
    """Return all values that a new handle sees, after checking them."""
    with NumPack("s.npk", mode="r") as store:
        assert store.verify().ok
        return values(store)
