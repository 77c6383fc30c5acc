"""Subclasses of ndarray like those of other packages: memory owners, masks, hooks."""

from __future__ import annotations

import ctypes
import weakref
from typing import Any, Self

import numpy as np


class Owned(np.ndarray):
    """A subclass whose memory is invalid once the array object is destroyed."""


def owned(gone: list[str], shape: tuple[int, ...] = (1, 16), kind: type = Owned) -> np.ndarray:
    """Make an array over ctypes memory that is overwritten when the array is destroyed."""
    raw = (ctypes.c_char * (64 * 4 + 64))()
    start = -ctypes.addressof(raw) % 64
    flat = np.frombuffer(raw, "f4", 64, start)
    flat[:] = np.arange(64)
    array = flat[: int(np.prod(shape))].reshape(shape).view(kind)
    weakref.finalize(array, _wipe, raw, gone).atexit = False
    return array


def _wipe(raw: Any, gone: list[str]) -> None:
    ctypes.memset(raw, 0xFF, len(raw))
    gone.append("gone")


class Masked(np.ndarray):
    """A mask that is not one of numpy.ma, kept through views, as astropy's ``Masked`` does."""

    def __new__(cls, values: Any, mask: Any) -> Self:
        made = np.ndarray.view(np.array(values), cls)
        made._mask = np.array(mask)
        return made

    def __array_finalize__(self, obj: Any) -> None:
        self._mask = getattr(obj, "_mask", np.False_)

    @property
    def mask(self) -> Any:
        return self._mask

    def filled(self, value: Any) -> np.ndarray:
        plain = np.array(np.ndarray.view(self, np.ndarray))
        plain[self._mask] = value
        return plain

    def view(self, *_: Any, **__: Any) -> Any:
        raise NotImplementedError("a masked array has no views of another kind")


class Unreadable(np.ndarray):
    """A mask that cannot be read."""

    @property
    def mask(self) -> Any:
        raise RuntimeError("no mask")


def _raises(*_: Any, **__: Any) -> Any:
    raise RuntimeError("a hook has run")


class Hooked(np.ndarray):
    """A subclass whose every hook raises."""

    view = copy = astype = reshape = ravel = tolist = transpose = squeeze = _raises
    __array_function__ = __array_ufunc__ = __getitem__ = __array__ = __len__ = _raises
    __iter__ = __array_wrap__ = _raises
    dtype = shape = strides = ndim = size = nbytes = itemsize = T = property(_raises)  # type: ignore[assignment]


def of_class(array: np.ndarray, kind: type) -> Any:
    """View an array as a subclass without running the subclass's code."""
    return np.ndarray.view(array, kind)
