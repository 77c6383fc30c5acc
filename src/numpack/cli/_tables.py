"""Tables: a model of rows and columns, and its layout as plain text of a given width."""

from __future__ import annotations

import textwrap
import unicodedata
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

GAP = 2  # columns of text between two columns of a table
_LEAST = 12  # columns of text that a column is shortened to at most
_INDENT = 4


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes
    ----------
    title : str
    right : bool
        Whether the cells are aligned to the right, as numbers are.
    shrinks : bool
        Whether long cells are shortened in the middle where the terminal is narrow.
    style : str
        In rich's notation.
    """

    title: str
    right: bool = False
    shrinks: bool = False
    style: str = ""


ARRAY_COLUMNS = [
    Column("name", shrinks=True, style="bold cyan"),
    Column("dtype", shrinks=True, style="green"),
    Column("shape", style="magenta"),
    Column("size", right=True),
]
"""Columns of a table of arrays."""


@dataclass(slots=True)
class Table:
    """Rows of cells under the titles of columns; cells are escaped already.

    Attributes
    ----------
    columns : list of Column
    rows : list of list of str
    """

    columns: list[Column]
    rows: list[list[str]] = field(default_factory=list)

    def fitted(self, width: int | None) -> Table | None:
        """Return the table with cells shortened to a width; ``None`` if that is too narrow."""
        if width is None:
            return self
        widths = self.widths()
        excess = sum(widths) + GAP * (len(widths) - 1) - width
        if excess <= 0:
            return self
        limits = _limits(self.columns, widths, excess)
        if limits is None:
            return None
        cells = [
            [shortened(*pair) for pair in zip(row, limits, strict=True)] for row in self.rows
        ]
        return Table(self.columns, cells)

    def widths(self) -> list[int]:
        """Return the width of each column."""
        return [
            max([text_width(column.title), *(text_width(row[at]) for row in self.rows)])
            for at, column in enumerate(self.columns)
        ]

    def lines(self) -> Iterator[str]:
        """Yield the lines of the table, the first of which has the titles."""
        widths = self.widths()
        for row in [[column.title for column in self.columns], *self.rows]:
            cells = zip(row, widths, self.columns, strict=True)
            yield (" " * GAP).join(_padded(*cell) for cell in cells).rstrip()

    def records(self, width: int) -> Iterator[tuple[str, list[str]]]:
        """Yield the first cell of each row, and the lines of its others with their titles."""
        titles = [column.title for column in self.columns]
        for first, *others in self.rows:
            named = zip(titles[1:], others, strict=True)
            text = ", ".join(f"{title} {cell}" for title, cell in named if cell)
            indent = " " * _INDENT
            lines = textwrap.wrap(text, width, initial_indent=indent, subsequent_indent=indent)
            yield first, lines


def text_width(text: str) -> int:
    """Return how many columns of a terminal a text takes: East Asian wide letters take two."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(each) else 1 + (unicodedata.east_asian_width(each) in "WF")
        for each in text
    )


def shortened(text: str, width: int) -> str:
    """Return a text of at most so many columns, with an ellipsis in its middle.

    Examples
    --------
    >>> shortened("model.layers.0.weight", 13), shortened("bias", 13)
    ('model.…weight', 'bias')
    """
    if text_width(text) <= width:
        return text
    half = (width - 1) // 2
    head, tail = "", ""
    for each in text:
        if text_width(head + each) > half:
            break
        head += each
    for each in reversed(text):
        if text_width(each + tail) > width - 1 - half:
            break
        tail = each + tail
    return f"{head}…{tail}"


def _limits(columns: Sequence[Column], widths: list[int], excess: int) -> list[int] | None:
    """Return the widths of columns from which an excess was taken, the widest ones first."""
    limits = list(widths)
    while excess > 0:
        able = [
            at
            for at, column in enumerate(columns)
            if column.shrinks and limits[at] > max(_LEAST, text_width(column.title))
        ]
        if not able:
            return None
        limits[max(able, key=limits.__getitem__)] -= 1
        excess -= 1
    return limits


def _padded(cell: str, width: int, column: Column) -> str:
    room = " " * (width - text_width(cell))
    return room + cell if column.right else cell + room
