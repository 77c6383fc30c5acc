"""Text for terminals: escaped names, sizes, times and shapes."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def escaped(text: str) -> str:
    r"""Return text whose control characters are escaped as in Python's literals.

    So a name in a file neither moves the cursor, nor sets the title of the terminal, nor hides
    text by changing the direction of writing. JSON has the name itself.

    Examples
    --------
    >>> print(escaped("a\x1b[31mb\nc\u202e"))
    a\x1b[31mb\nc\u202e
    """
    if text.isprintable():
        return text
    return "".join(
        each
        if each.isprintable()
        else each.encode("unicode_escape", "backslashreplace").decode()
        for each in text
    )


def size(nbytes: int, *, exact: bool = False) -> str:
    """Return a number of bytes in the largest unit of which there is one.

    Examples
    --------
    >>> size(1000), size(123456), size(5 << 30), size(123456, exact=True)
    ('1000 B', '120.6 KiB', '5.0 GiB', '123,456')
    """
    if exact:
        return f"{nbytes:,}"
    value, unit = float(nbytes), 0
    while value >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    return f"{nbytes} B" if not unit else f"{value:.1f} {_UNITS[unit]}"


def seconds(value: float) -> str:
    """Return a duration with three digits in a fitting unit.

    Examples
    --------
    >>> seconds(0.0000123), seconds(0.25), seconds(12.3)
    ('12.3 µs', '250 ms', '12.3 s')
    """
    for unit, factor in (("ns", 1e9), ("µs", 1e6), ("ms", 1e3)):
        if value * factor < 999.5:
            return f"{value * factor:.3g} {unit}"
    return f"{value:.3g} s" if value < 999.5 else f"{value:,.0f} s"


def shape(extents: Sequence[int]) -> str:
    """Return a shape as Python writes it."""
    return str(tuple(extents))


def moment(microseconds: int) -> str:
    """Return a time, in microseconds since 1970, as local date and time to the minute."""
    try:
        found = dt.datetime.fromtimestamp(microseconds / 1e6).astimezone()
    except (OverflowError, OSError, ValueError):  # a log may claim any time
        return "?"
    return found.strftime("%Y-%m-%d %H:%M")


def iso_moment(microseconds: int) -> str | None:
    """Return a time, in microseconds since 1970, in UTC as ISO 8601 writes it."""
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    try:
        found = epoch + dt.timedelta(microseconds=microseconds)
    except OverflowError:
        return None
    return found.isoformat().replace("+00:00", "Z")


def plural(count: int, noun: str) -> str:
    """Return a number and a noun: ``1 array``, ``2,000 arrays``."""
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
