"""`Bar`: the progress of a command, drawn on a terminal only."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING, Any, Self

from ._tables import shortened
from ._text import escaped, size

if TYPE_CHECKING:
    from collections.abc import Callable

_DELAY = 0.3  # seconds after which a bar appears: what is quicker needs none
_INTERVAL = 0.1  # seconds between two drawings
_LABEL = 24
_WIDE = 80  # columns of a terminal in which the remaining time is shown too


class Bar:
    """A bar on standard error, which is removed at the end.

    A context manager; `update` is the callback that functions of this package take as
    `progress`.

    Parameters
    ----------
    label : str
    is_rich : bool
        Whether rich draws it.
    shows : bool
        Whether standard error is a terminal.
    in_bytes : bool
        Whether bytes are counted, or steps.
    """

    def __init__(self, label: str, *, is_rich: bool, shows: bool, in_bytes: bool) -> None:
        self._label = shortened(escaped(label), _LABEL)
        self._is_rich = is_rich
        self._shows = shows
        self._in_bytes = in_bytes
        self._next = time.monotonic() + _DELAY
        self._drawing: _RichBar | _PlainBar | None = None

    def __enter__(self) -> Self:
        """Return the bar, which is drawn once it has taken a while."""
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Remove the bar."""
        if self._drawing is not None:
            self._drawing.remove()

    @property
    def update(self) -> Callable[[int, int | None], None] | None:
        """The callback of what is done and the total; ``None`` where nothing is drawn."""
        return self._update if self._shows else None

    def _update(self, done: int, total: int | None) -> None:
        now = time.monotonic()
        if now < self._next:
            return
        self._next = now + _INTERVAL
        if self._drawing is None:
            kind = _RichBar if self._is_rich else _PlainBar
            self._drawing = kind(self._label, in_bytes=self._in_bytes)
        self._drawing.draw(done, total)


class _RichBar:
    """A bar that rich draws; it is refreshed by `draw`, without a thread."""

    def __init__(self, label: str, *, in_bytes: bool) -> None:
        from rich import progress  # noqa: PLC0415 -- optional, and takes long
        from rich.console import Console  # noqa: PLC0415
        from rich.table import Column  # noqa: PLC0415

        console = Console(stderr=True, markup=False, emoji=False)
        in_one_line = Column(no_wrap=True)
        last: list[Any] = [progress.TimeRemainingColumn()] if console.width >= _WIDE else []
        self._progress: Any = progress.Progress(
            progress.TextColumn("{task.description}", markup=False, table_column=in_one_line),
            progress.BarColumn(),
            progress.TaskProgressColumn(),
            progress.DownloadColumn(binary_units=True, table_column=in_one_line.copy())
            if in_bytes
            else progress.MofNCompleteColumn(),
            *last,
            console=console,
            transient=True,
            auto_refresh=False,
        )
        self._task = self._progress.add_task(label, total=None)
        self._is_started = False

    def draw(self, done: int, total: int | None) -> None:
        if not self._is_started:
            self._is_started = True
            self._progress.update(self._task, completed=done, total=total or None)
            self._progress.start()
        self._progress.update(self._task, completed=done, total=total or None, refresh=True)

    def remove(self) -> None:
        self._progress.stop()


class _PlainBar:
    """A line that is written over and over."""

    def __init__(self, label: str, *, in_bytes: bool) -> None:
        self._label, self._in_bytes = label, in_bytes
        self._length = 0

    def draw(self, done: int, total: int | None) -> None:
        share = f"{done / total:4.0%}  " if total else ""
        text = f"{self._label}  {share}{size(done) if self._in_bytes else f'{done:,}'}"
        self._write(text[: shutil.get_terminal_size().columns - 1])

    def remove(self) -> None:
        self._write("")

    def _write(self, text: str) -> None:
        sys.stderr.write(f"\r{text.ljust(self._length)}\r")
        sys.stderr.flush()
        self._length = len(text)
