"""What a notebook shows of a lazy array: its description, a few values, a histogram."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.html import histogram, preformatted, table

if TYPE_CHECKING:
    from ..._core.memory import Array
    from .array import LazyArray

_EDGE = 3  # rows and columns shown at each end
_SAMPLED_ROWS = 1000  # for the histogram, evenly spaced
_SAMPLED_VALUES = 10_000
_BINS = 40


def array_html(array: LazyArray) -> str:
    """Return the representation of a lazy array, for which a few rows are read.

    Rows of an array whose blocks have not all been fetched from an object store are not read.
    """
    rows = [
        ("dtype", str(array.dtype)),
        ("shape", str(array.shape)),
        ("size", f"{array.nbytes:,} bytes"),
    ]
    parts = [table("LazyArray", rows)]
    if array.size and getattr(array, "is_complete", True):
        parts.append(preformatted(_preview(array)))
        parts.append(_histogram(array))
    return "".join(parts)


def _preview(array: LazyArray) -> str:
    """Format the first and last values of each axis, which alone are read."""
    if not array.shape:
        return str(array[()])
    corners = _edges(array)
    for axis in range(1, corners.ndim):
        count = corners.shape[axis]
        if count > 2 * _EDGE + 1:
            ends = [*range(_EDGE + 1), *range(count - _EDGE, count)]
            corners = corners.take(ends, axis=axis)
    is_cut = any(extent > 2 * _EDGE for extent in array.shape)
    threshold = 0 if is_cut else corners.size + 1  # more values than that are cut
    return np.array2string(corners, edgeitems=_EDGE, precision=4, threshold=threshold)


def _edges(array: LazyArray) -> Array:
    """Return the first and last rows, and one between that is not shown."""
    count = len(array)
    if count <= 2 * _EDGE + 1:
        return np.asarray(array[:])
    return array.take(np.array([*range(_EDGE + 1), *range(count - _EDGE, count)]))


def _histogram(array: LazyArray) -> str:
    """Return the histogram of some finite values; nothing for dtypes without an order."""
    values = _sample(array)
    if values.dtype.kind not in "biuf" or not values.size:
        return ""
    values = values.astype("f8", copy=False)
    finite = values[np.isfinite(values)]
    if not finite.size:
        return ""
    low, high = float(finite.min()), float(finite.max())
    with np.errstate(over="ignore"):
        if not np.isfinite(high - low):
            return ""
    counts, _ = np.histogram(finite, _BINS, (low, high))
    what = "all values" if values.size == array.size else f"{values.size:,} of the values"
    return histogram(counts.tolist(), f"{low:.4g}", f"{high:.4g}", what)


def _sample(array: LazyArray) -> np.ndarray[Any, Any]:
    """Return values of evenly spaced rows, in one dimension."""
    if not array.shape:
        return np.asarray(array[()]).reshape(-1)
    step = -(-len(array) // _SAMPLED_ROWS)
    width = max(1, array.size // len(array))
    columns = slice(None, None, -(-width * min(len(array), _SAMPLED_ROWS) // _SAMPLED_VALUES))
    rows = array.take(np.arange(0, len(array), step)).reshape(-1, width)
    return rows[:, columns].reshape(-1)
