"""Reading the commit log: from its last snapshot on, and further what others add."""

from __future__ import annotations

import contextlib
import errno
import os
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from ..errors import CorruptStoreError
from ._files import open_ends
from .files import read_between, removed
from .naming import listed
from .state import State, decode, decode_all

if TYPE_CHECKING:
    from .files import Folder

NAME = "commits.log"
MARK_LENGTH = 64

_NAME = NAME.encode()
_NOT_OURS = (errno.EACCES, errno.EPERM, errno.EROFS)
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)
_SNAPSHOT = b'\n{"store":'  # so begins a snapshot, and nothing else: JSON escapes line ends
_WINDOW_BYTES = 16 * 1024  # read from the end of the log when it is opened

_Opened = tuple[int, bytes, int, bytes]  # what `open_ends` gives


class View(NamedTuple):
    """An open log and what was read of it: put in place at once, so never half."""

    descriptor: int
    end: int  # of the last whole line
    torn: bool  # whether something stands behind it
    snapshot: int  # end of the last snapshot
    snapshot_length: int
    state: State


class LogReader:
    """What reads the log of a store.

    Parameters
    ----------
    folder : Folder
        The store's.
    writable : bool
        Whether to open it for writing where that is possible.
    """

    def __init__(self, folder: Folder, *, writable: bool) -> None:
        self._folder = folder
        self._flags = os.O_RDWR if writable else os.O_RDONLY

    @property
    def is_writable(self) -> bool:
        """Whether the log could be opened for writing."""
        return self._flags == os.O_RDWR

    def opened(self) -> View:
        """Open the log and read it from its last snapshot."""
        try:
            opened = self._open()
        except IsADirectoryError as error:
            self._damaged(f"it is no file ({error.strerror})", State())
        except OSError as error:
            if self._folder.is_removed():
                raise removed(self._folder.path) from None
            missing = isinstance(error, FileNotFoundError)
            what = "it is missing" if missing else f"it cannot be opened ({error.strerror})"
            self._damaged(what, State())
        try:
            return self._read(*opened)
        except BaseException:
            os.close(opened[0])
            raise

    def _open(self) -> _Opened:
        folder, sizes = self._folder.descriptor, (MARK_LENGTH, _WINDOW_BYTES)
        try:
            return open_ends(folder, _NAME, self._flags, *sizes)
        except OSError as error:
            if self._flags == os.O_RDONLY or error.errno not in _NOT_OURS:
                raise
        self._flags = os.O_RDONLY
        return open_ends(folder, _NAME, self._flags, *sizes)

    def _read(self, descriptor: int, mark: bytes, size: int, data: bytes) -> View:
        """Read the lines from the last snapshot on.

        Parameters
        ----------
        descriptor : int
        mark : bytes
            The first line, read before anything else: commits may be made meanwhile.
        size : int
        data : bytes
            What stands at the end.
        """
        start = size - len(data)
        while start and _SNAPSHOT not in data:
            start = max(0, size - 4 * len(data))
            data = read_between(descriptor, start, size)
        if not data:
            self._damaged("it is empty", State())
        whole = data.rfind(b"\n") + 1
        at = data.rfind(_SNAPSHOT, 0, whole) + 1
        first = data[at : data.find(b"\n", at) + 1]
        commits, state = self._begun(mark, first, start + at)
        snapshot = start + at + len(first)
        view = View(descriptor, snapshot, False, snapshot, len(first), state)
        rest = data[at + len(first) :]
        view = self._with(view, rest) if rest else view
        if view.state.commit < commits:
            what = f"commits up to {commits} were made, and it ends with {view.state.commit}"
            self._damaged(what, view.state)
        return view

    def read_on(self, view: View) -> View:
        """Read the whole lines behind what was read already."""
        size = os.fstat(view.descriptor).st_size
        if size < view.end:
            self._damaged(f"it was cut to {size:,} of {view.end:,} bytes", view.state)
        return self._with(view, read_between(view.descriptor, view.end, size))

    def _with(self, view: View, data: bytes) -> View:
        """Give the view after the whole lines of `data`."""
        state, end, snapshot, length = view.state, view.end, view.snapshot, view.snapshot_length
        whole = data.rfind(b"\n") + 1
        lines = data[:whole].splitlines(keepends=True)
        try:
            state = state.after(decode_all([line for line in lines if line != b"\n"]))
        except _UNREADABLE:
            self._find_damage(state, end, lines)
        for line in lines:
            end += len(line)
            if line.startswith(_SNAPSHOT[1:]):
                snapshot, length = end, len(line)
        return View(view.descriptor, end, whole < len(data), snapshot, length, state)

    def _find_damage(self, state: State, at: int, lines: list[bytes]) -> NoReturn:
        state = state._replace(arrays=state.arrays.copy())  # which is not in place yet
        for line in lines:
            try:
                state = state if line == b"\n" else state.after((decode(line),))
            except _UNREADABLE as error:
                self._damaged(f"the line at byte {at:,} cannot be read ({error})", state)
            at += len(line)
        raise AssertionError

    def _begun(self, mark: bytes, snapshot: bytes, at: int) -> tuple[int, State]:
        """Read the mark and a snapshot: how many commits there were, and the state."""
        with contextlib.suppress(*_UNREADABLE):
            begun, line = decode_all((mark, snapshot))
            return begun["commits"], State.of_snapshot(line)
        try:  # a mark that is being written, or is damaged, says nothing
            return 0, State.of_snapshot(decode(snapshot))
        except _UNREADABLE as error:
            self._damaged(f"the line at byte {at:,} cannot be read ({error})", State())

    def _damaged(self, what: str, state: State) -> NoReturn:
        readable = listed(state.arrays)
        msg = (
            f"the log {self._folder.path}/{NAME} is damaged: {what}; up to commit "
            f"{state.commit} it names these arrays: {readable}; restore it from a backup, and "
            "touch nothing in data/, which holds their rows"
        )
        raise CorruptStoreError(msg)

    def damage(self, view: View) -> list[str]:
        """Check every line, those before the last snapshot too; tell what is wrong."""
        data, at, found = read_between(view.descriptor, 0, view.end), 0, []
        for line in data.splitlines(keepends=True):
            try:
                if line != b"\n":  # left by who died when he was about to fold the log
                    decode(line)
            except _UNREADABLE as error:
                where = f"{self._folder.path}/{NAME}"
                found.append(f"the line at byte {at:,} of {where} is damaged ({error})")
            at += len(line)
        return found
