"""Values as text and as JSON."""

from __future__ import annotations

import math
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.dtypes import is_extension

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._core.memory import Array
    from ._selection import Rows

SHOWN = 1000  # values that are shown in whole
_EDGE = 3  # rows and columns at each end of longer axes
_PART_BYTES = 1 << 19  # that are printed at a time


def lines_of(rows: Rows, width: int, *, everything: bool) -> Iterator[str]:
    """Yield the values as NumPy prints them.

    Of more than `SHOWN` values only those at the ends of each axis are read, unless
    `everything` is asked for, which is read and printed a part at a time.
    """
    if math.prod(rows.shape) <= SHOWN or not rows.has_rows:
        yield from _printed(rows.read(0, len(rows)), width, everything=everything)
    elif everything:
        yield from _in_parts(rows, width)
    else:
        yield from _ends(rows, width).splitlines()


def is_short(rows: Rows) -> bool:
    """Return whether all values are shown."""
    return bool(math.prod(rows.shape) <= SHOWN)


def as_json(array: Array) -> Any:
    """Return values as JSON has them.

    Complex numbers become pairs, times ISO 8601 and NaT null, bytes text with escapes, records
    objects, and other bytes hexadecimal digits.
    """
    if is_extension(array.dtype):
        return array.astype("i8" if "int" in array.dtype.name else "f8").tolist()
    if array.dtype.names is not None or array.dtype.kind == "V":
        if array.ndim:
            return [as_json(each) for each in array]
        if array.dtype.names is None:
            return array.tobytes().hex()
        return {name: as_json(np.asarray(array[name])) for name in array.dtype.names}
    kind = array.dtype.kind
    if kind == "c":
        return np.stack([array.real, array.imag], axis=-1).tolist()
    if kind in "mM":
        return _mapped(np.datetime_as_string(array) if kind == "M" else array.astype(str))
    if kind == "S":
        return _decoded(array.tolist())
    return array.tolist()


def number(value: Any) -> str:
    """Return a number or a time in few characters.

    Examples
    --------
    >>> number(1234567), number(0.123456789), number(1 - 2j)
    ('1,234,567', '0.123457', '1-2j')
    """
    if value is None:
        return "-"
    if isinstance(value, bool | np.bool_ | np.datetime64 | np.timedelta64):
        return str(value)
    if isinstance(value, int | np.integer):
        return f"{int(value):,}"
    if isinstance(value, complex | np.complexfloating):
        return f"{complex(value):.6g}"
    return f"{float(value):.6g}"


def _printed(array: Array, width: int, *, everything: bool) -> list[str]:
    threshold = sys.maxsize if everything else SHOWN
    return _text(array, width, threshold).splitlines()


def _text(array: Array, width: int, threshold: int) -> str:
    return np.array2string(
        np.asarray(array), max_line_width=width, threshold=threshold, edgeitems=_EDGE
    )


def _ends(rows: Rows, width: int) -> str:
    """Return the text of the first and the last rows and columns."""
    count = len(rows)
    if count <= 2 * _EDGE:
        return _text(rows.read(0, count), width, SHOWN)
    # A row between the ends, of which NumPy makes an ellipsis.
    chosen = [*range(_EDGE), _EDGE, *range(count - _EDGE, count)]
    return _text(rows.gather(chosen), width, 0)


def _in_parts(rows: Rows, width: int) -> Iterator[str]:
    """Yield the lines of all values; the brackets are those of one array."""
    done = 0
    for part in rows.parts(_PART_BYTES):
        text = _text(part, width, sys.maxsize)
        first = " " if done else "["
        done += len(part)
        last = "]" if done == len(rows) else ""
        yield from f"{first}{text[1:-1]}{last}".splitlines()


def _mapped(text: Array) -> Any:
    """Return the lists of an array of times, with None for NaT."""
    return _each(text.tolist(), lambda each: None if each == "NaT" else each)


def _decoded(values: Any) -> Any:
    return _each(values, lambda each: each.decode("utf-8", "backslashreplace"))


def _each(values: Any, change: Any) -> Any:
    return (
        [_each(each, change) for each in values] if isinstance(values, list) else change(values)
    )
