"""NumPy."""

from __future__ import annotations

import numpy as np


def make(values: np.ndarray) -> np.ndarray:
    return values.copy()


def address(array: np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def values(array: np.ndarray) -> np.ndarray:
    return array
