"""`Output`: text, tables and JSON on standard output, and bars on standard error.

rich draws where it is installed and the output is a terminal; elsewhere it is plain text,
without escape sequences, and in a pipe without shortened cells.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import math
import os
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, Any, TextIO

from ._progress import Bar
from ._tables import text_width

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ._tables import Column, Table


class OutputClosedError(Exception):
    """The reader of standard output has ended."""


class Output:
    """Where a command writes its results.

    Parameters
    ----------
    as_json : bool
        Whether the command writes JSON, by `json`, instead of text.

    Attributes
    ----------
    as_json : bool
    width : int or None
        Columns of the terminal; ``None`` in a pipe, where lines are not limited.
    is_rich : bool
        Whether rich draws: it is installed, and the output is a terminal.
    """

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self._stream = sys.stdout
        is_limited = is_terminal(self._stream) or bool(os.environ.get("COLUMNS"))
        self.width = shutil.get_terminal_size().columns if is_limited else None
        self.is_rich = can_draw(self._stream)

    def line(self, text: str = "") -> None:
        """Write a line, escaped already."""
        self._write(f"{text}\n")

    def heading(self, text: str) -> None:
        """Write a line that stands out."""
        self._draw(text, "bold cyan") if self.is_rich else self.line(text)

    def table(self, table: Table) -> None:
        """Write a table, or its rows as paragraphs where the terminal is too narrow."""
        fitted = table.fitted(self.width)
        if fitted is None:
            for name, lines in table.records(self.width or 80):
                self.heading(name)
                for line in lines:
                    self.line(line)
        elif self.is_rich:
            self._draw(_rich_table(fitted), "")
        else:
            for line in fitted.lines():
                self.line(line)

    def pairs(self, rows: Sequence[tuple[str, str]]) -> None:
        """Write labels and texts, which are wrapped."""
        indent = 2 + max((text_width(label) for label, _ in rows), default=0)
        for label, text in rows:
            room = max(20, self.width - indent) if self.width else sys.maxsize
            first, *others = textwrap.wrap(text, room) or [""]
            self.line(f"{label.ljust(indent)}{first}".rstrip())
            for line in others:
                self.line(" " * indent + line)

    def json(self, value: Any) -> None:
        """Write a value as JSON: indented on a terminal, else in one line."""
        indent = 2 if is_terminal(self._stream) else None
        self.line(json.dumps(plain(value), indent=indent, allow_nan=False))

    def can_encode(self, text: str) -> bool:
        """Return whether the encoding of the output has all letters of a text."""
        try:
            text.encode(self._encoding)
        except UnicodeEncodeError:
            return False
        return True

    def progress(self, label: str, *, in_bytes: bool = True) -> Bar:
        """Return a bar on standard error, a context manager; nothing is drawn in a pipe."""
        shows = is_terminal(sys.stderr) and os.environ.get("TERM") != "dumb"
        return Bar(label, is_rich=can_draw(sys.stderr), shows=shows, in_bytes=in_bytes)

    def confirm(self, question: str) -> bool:
        """Ask on the terminal; return whether the answer is yes."""
        self.flush()
        sys.stderr.write(f"{question} [y/N] ")
        sys.stderr.flush()
        return sys.stdin.readline().strip().lower() in ("y", "yes")

    def flush(self) -> None:
        """Pass on what was written.

        Raises
        ------
        OutputClosedError
            Nobody reads it.
        """
        with self._errors():
            self._stream.flush()

    def discard(self) -> None:
        """Let the interpreter flush standard output into nothing when it ends."""
        try:
            descriptor = self._stream.fileno()
        except (OSError, ValueError):  # of a test, for example
            return
        nothing = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nothing, descriptor)
        os.close(nothing)

    @property
    def _encoding(self) -> str:
        return self._stream.encoding or "utf-8"

    def _write(self, text: str) -> None:
        if not text.isascii():
            text = text.encode(self._encoding, "backslashreplace").decode(self._encoding)
        with self._errors():
            self._stream.write(text)

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Raise for a closed pipe; discard what the interpreter could not write at its end."""
        try:
            yield
        except BrokenPipeError as error:
            raise OutputClosedError from error
        except OSError:
            self.discard()
            raise

    def _draw(self, content: object, style: str) -> None:
        from rich.console import Console  # noqa: PLC0415 -- optional, and takes long

        console = Console(
            file=self._stream, width=self.width, highlight=False, markup=False, emoji=False
        )
        with console.capture() as captured:
            console.print(content, style=style, soft_wrap=isinstance(content, str), crop=False)
        self._write(captured.get())


def is_terminal(stream: TextIO | None) -> bool:
    """Return whether a stream is a terminal."""
    try:
        return stream is not None and stream.isatty()
    except ValueError:  # it is closed
        return False


def can_draw(stream: TextIO | None) -> bool:
    """Return whether rich can draw on a stream: a terminal with colours and a cursor."""
    return (
        is_terminal(stream)
        and os.environ.get("TERM", "") not in ("", "dumb", "unknown")
        and importlib.util.find_spec("rich") is not None
    )


def plain(value: Any) -> Any:
    """Return a value as JSON holds it: NaN and infinities become strings."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
    if isinstance(value, dict):
        return {key: plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain(each) for each in value]
    return value


def _rich_table(table: Table) -> object:
    from rich import box  # noqa: PLC0415 -- optional, and takes long
    from rich.table import Table as RichTable  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = RichTable(
        box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0)
    )

    def cell(text: str, column: Column) -> Text:
        return Text(text, column.style, no_wrap=True, overflow="crop")

    for each in table.columns:
        justify = "right" if each.right else "left"
        drawn.add_column(cell(each.title, each), justify=justify, no_wrap=True)
    for row in table.rows:
        drawn.add_row(*(cell(*pair) for pair in zip(row, table.columns, strict=True)))
    return drawn
