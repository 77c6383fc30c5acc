"""The array interface, by an object without other protocols."""

from __future__ import annotations

import ml_dtypes
import numpy as np


class Named:
    """An object that exposes its memory, as an extension module in C would."""

    def __init__(self, owner: np.ndarray):
        self._owner = owner

    @property
    def __array_interface__(self) -> dict[str, object]:
        return dict(self._owner.__array_interface__)


def make(values: np.ndarray) -> Named | None:
    if values.dtype.hasobject or hasattr(ml_dtypes, values.dtype.name):
        return None
    return Named(values.copy())


def address(array: Named | np.ndarray) -> int:
    return array.__array_interface__["data"][0]


def values(array: Named | np.ndarray) -> np.ndarray:
    return np.asarray(array)
