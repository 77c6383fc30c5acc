"""A search for what may be a null in a CSV file, which takes a fraction of parsing it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

_CHUNK = 256 << 10  # bytes, which stay in the cache
_LF, _CR, _QUOTES = 10, 13, b'""'
_EMPTY_LINES = (b"\n\n", b"\n\r", b"\r\r")


def may_have_nulls(
    path: Path, delimiter: str, words: Sequence[str], header_lines: int, *, alone: bool
) -> bool:
    """Check whether a value may be null: empty, or one of the words that stand for a null.

    Parameters
    ----------
    path : Path
        A file in an encoding that includes ASCII.
    delimiter : str
    words : sequence of str
        Texts that stand for a null.
    header_lines : int
        Lines at the beginning that are no values.
    alone : bool
        Whether a line is a single value, so that an empty line is a null.

    Returns
    -------
    bool
        False if no value can be null. True if one may be: a word may be part of a longer text.
    """
    needles = [_QUOTES, *_shortest(words), *(_EMPTY_LINES if alone else ())]
    overlap = max(map(len, needles))
    separator = ord(delimiter)
    with path.open("rb") as file:
        for _ in range(header_lines):
            file.readline()
        before = b"\n"
        while chunk := file.read(_CHUNK):
            text = before + chunk
            if any(needle in text for needle in needles) or _has_empty(text, separator):
                return True
            before = text[-overlap:]
    return before.endswith(delimiter.encode())


def _shortest(words: Sequence[str]) -> list[bytes]:
    """Return a few texts, one of which is in each word."""
    common = [each for each in ("N", "n", "#") if any(each in word for word in words)]
    others = [word for word in words if word and not any(each in word for each in common)]
    return [each.encode() for each in (*common, *others)]


def _has_empty(text: bytes, separator: int) -> bool:
    """Check for two separators, or a separator at either end of a line."""
    codes = np.frombuffer(text, np.uint8)
    between = codes == separator
    ends = between | (codes == _LF) | (codes == _CR)
    after = between[:-1] & ends[1:]
    return bool(after.any() or (ends[:-1] & between[1:]).any())
