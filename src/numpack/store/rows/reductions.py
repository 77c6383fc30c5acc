"""Reductions over live rows in bounded memory, where the order of computing is irrelevant.

Sums of floating-point numbers depend on the order in which they are added, so they are left to
NumPy, which adds a copy of the live rows.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import normalize_axis_tuple

from ..._core.memory import aligned_empty

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from ..._core.memory import Array
    from .deleted_rows import DeletedRows

_CHUNK_NBYTES = 1 << 20  # of live rows that are copied at a time
_UFUNCS = {
    "sum": np.add,
    "prod": np.multiply,
    "min": np.minimum,
    "max": np.maximum,
    "any": np.logical_or,
    "all": np.logical_and,
}
_INTEGERS = "biu"  # kinds of dtype whose sums and products are exact, modulo their size


def reduce_live(
    stored: Array, deleted: DeletedRows, method: str, options: Mapping[str, Any]
) -> Any:
    """Reduce the live rows as a method of ndarray does, copying about a MiB at a time.

    Parameters
    ----------
    stored : ndarray
        The rows of the data file, C-contiguous.
    deleted : DeletedRows
    method : {"sum", "prod", "min", "max", "any", "all", "argmin", "argmax"}
    options : mapping
        Its arguments by name.

    Returns
    -------
    ndarray or scalar
        As NumPy's; ``None`` for other arguments, and for a method whose result depends on the
        order of the additions.
    """
    given = {name: value for name, value in options.items() if value is not None}
    axis, dtype = given.pop("axis", None), given.pop("dtype", stored.dtype)
    keepdims = bool(given.pop("keepdims", False))
    if given or not _is_exact(method, stored.dtype, dtype):
        return None
    try:
        axes = normalize_axis_tuple(range(stored.ndim) if axis is None else axis, stored.ndim)
    except (TypeError, ValueError):  # NumPy's own call raises it
        return None
    chunks = _chunks(stored, deleted)
    if method in _UFUNCS:
        asked = {} if dtype is stored.dtype else {"dtype": dtype}
        return _reduce(chunks, method, axes, keepdims, asked) if axes else None
    if axis is None:
        place = _find(map(np.ravel, chunks), method, 0).reshape((1,) * stored.ndim)
        return place if keepdims else place.reshape(())[()]
    if isinstance(axis, tuple):
        return None
    found = _find(chunks, method, axes[0])
    return found if keepdims else _without(found, axes)


def _is_exact(method: str, dtype: np.dtype[Any], asked: Any) -> bool:
    if method not in ("sum", "prod"):
        return asked is dtype
    try:
        return dtype.kind in _INTEGERS and np.dtype(asked).kind in _INTEGERS
    except TypeError:
        return False


def _chunks(stored: Array, deleted: DeletedRows) -> Iterator[Array]:
    """Iterate over copies of the live rows, each valid until the next."""
    count = len(stored) - len(deleted)
    step = max(1, _CHUNK_NBYTES // max(1, stored.nbytes // len(stored)))
    buffer = aligned_empty((min(step, count), *stored.shape[1:]), stored.dtype)
    for first in range(0, count, step):
        chunk = buffer[: count - first]
        deleted.copy_live(stored, first, chunk)
        yield chunk


def _reduce(
    chunks: Iterable[Array],
    method: str,
    axes: tuple[int, ...],
    keepdims: bool,
    asked: Mapping[str, Any],
) -> Any:
    parts = (getattr(each, method)(axis=axes, keepdims=True, **asked) for each in chunks)
    if 0 in axes:
        whole = functools.reduce(_UFUNCS[method], parts)
    else:
        whole = np.concatenate(list(parts))
    return whole if keepdims else _without(whole, axes)


def _find(chunks: Iterable[Array], method: str, axis: int) -> Array:
    """Find the first extreme along an axis, which is kept."""
    if axis:
        return np.concatenate([getattr(each, method)(axis, keepdims=True) for each in chunks])
    found = _extremes(chunks, method)
    return functools.reduce(lambda one, other: _extreme_of(one, other, method), found)[1]


def _extremes(chunks: Iterable[Array], method: str) -> Iterator[tuple[Array, Array]]:
    """Iterate over the extremes of each chunk along its rows, and their row numbers."""
    first = 0
    for chunk in chunks:
        place = getattr(chunk, method)(0, keepdims=True)
        yield np.take_along_axis(chunk, place, 0), place + first
        first += len(chunk)


def _extreme_of(
    one: tuple[Array, Array], other: tuple[Array, Array], method: str
) -> tuple[Array, Array]:
    values, places = (np.concatenate(pair) for pair in zip(one, other, strict=True))
    chosen = getattr(values, method)(0, keepdims=True)  # the former of equal ones
    return np.take_along_axis(values, chosen, 0), np.take_along_axis(places, chosen, 0)


def _without(whole: Array, axes: tuple[int, ...]) -> Any:
    """Remove axes of length 1; an array without any becomes a scalar, as in NumPy."""
    return whole.squeeze(axes)[()]
