"""The commit log: what is in the store, and since when.

The log is a text file. Its first line is a snapshot of all arrays; every further line is
one commit. Each line is a JSON object that ends with the CRC-32 of what stands before it.
A commit is one write of one line, after the data it names has been written: a last line
without its end never happened, and is cut off by the next writer. When the log has grown
long, a new snapshot is written beside it and renamed over it.
"""

from __future__ import annotations

import contextlib
import json
import os
import threading
import time
import weakref
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from ..errors import CorruptStoreError, NotAStoreError, StoreClosedError
from .files import read_between, write_all
from .schema import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping
    from pathlib import Path

NAME = "commits.log"

_CHECK = b',"crc32":"'
_CHECK_LENGTH = len(_CHECK) + 8 + len('"}\n')
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError)
_FOLD_BYTES = 64 * 1024  # a log is folded when its commits take this and more than twice
_FOLD_FACTOR = 2  # the snapshot, so that folding costs a constant share of the writing


@dataclass(frozen=True, slots=True)
class State:
    """What the log says up to some commit. It never changes; a commit makes another.

    Attributes
    ----------
    token : str
        Drawn when the store was made; part of every file name, so that a store made anew
        in the same folder never reuses one.
    commit : int
        Number of the last commit.
    next_id : int
        Number of the next data file.
    arrays : dict of str to Entry
        In the order in which the names came.
    """

    token: str = ""
    commit: int = 0
    next_id: int = 1
    arrays: dict[str, Entry] = field(default_factory=dict)

    def new_id(self, ahead: int = 0) -> str:
        """Give the id of the next data file, or of one `ahead` of it."""
        return f"{self.next_id + ahead:08d}-{self.token}"

    def snapshot(self) -> dict[str, Any]:
        """Give the first line of a log."""
        return {
            "store": self.token,
            "commit": self.commit,
            "next_id": self.next_id,
            "arrays": {name: entry.record() for name, entry in self.arrays.items()},
        }

    @classmethod
    def of_snapshot(cls, line: dict[str, Any]) -> State:
        """Read the first line of a log."""
        arrays = {name: Entry.of(record) for name, record in line["arrays"].items()}
        return cls(line["store"], line["commit"], line["next_id"], arrays)

    def after(self, lines: Iterable[dict[str, Any]]) -> State:
        """Give the state after some commits."""
        arrays, commit, next_id = dict(self.arrays), self.commit, self.next_id
        for line in lines:
            commit += 1
            if line["commit"] != commit:
                msg = f"commit {line['commit']} follows commit {commit - 1}"
                raise ValueError(msg)
            next_id = max(next_id, _apply(line, arrays))
        return State(self.token, commit, next_id, arrays)


def _apply(line: dict[str, Any], arrays: dict[str, Entry]) -> int:
    """Carry out one commit; give the number after the greatest id in it."""
    next_id = 0
    for name in line.get("drop", ()):
        del arrays[name]
    for name, record in line.get("put", {}).items():
        arrays[name] = Entry.of({**record, "modified_us": line["time_us"]})
        next_id = max(next_id, int(record["id"].partition("-")[0]) + 1)
    for name, rows in line.get("rows", {}).items():
        shape = (rows, *arrays[name].row_shape)
        arrays[name] = replace(arrays[name], shape=shape, modified=line["time_us"])
    return next_id


def encode(line: Mapping[str, Any]) -> bytes:
    """Write a line of the log, with its checksum."""
    text = json.dumps(line, separators=(",", ":"), ensure_ascii=False)[:-1]
    body = text.encode("utf-8", "surrogatepass")  # a name may be any str
    return body + _CHECK + b'%08x"}\n' % zlib.crc32(body)


def decode(line: bytes) -> dict[str, Any]:
    """Read a line of the log.

    Raises
    ------
    ValueError
        The line is damaged.
    """
    body, check = line[:-_CHECK_LENGTH], line[-_CHECK_LENGTH:]
    if check != _CHECK + b'%08x"}\n' % zlib.crc32(body):
        msg = "its checksum is wrong"
        raise ValueError(msg)
    decoded: dict[str, Any] = json.loads(line.decode("utf-8", "surrogatepass"))
    return decoded


class _View(NamedTuple):
    """An open log and what was read of it: put in place at once, so never half."""

    descriptor: int
    identity: tuple[int, int]
    end: int  # of the last whole line
    snapshot_length: int
    state: State


class Log:
    """An open commit log, for any number of threads; `commit` for who holds the store's lock.

    Parameters
    ----------
    folder : Path
        The store's.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._lock = threading.RLock()
        self._view: _View | None = None
        self._view = self._opened()
        _LOGS.add(self)

    def __del__(self) -> None:
        """Close the file of a store that was never closed."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            view, self._view = self._view, None
            if view is not None:
                os.close(view.descriptor)

    @property
    def state(self) -> State:
        """What the log said when it was last read."""
        return self._now().state

    def refresh(self, *, exact: bool = False) -> State:
        """Read what others committed since, and give the state.

        One ``fstat`` tells whether there is anything: the size grows with each commit, and
        a log that was renamed over, or whose store was removed, has lost its only name.

        Parameters
        ----------
        exact : bool, default False
            Make sure as well that the log is the one at the store's path: a writer has to,
            because that is where its data goes, should the store have been moved.
        """
        with self._lock:
            view = self._now()
            status = os.fstat(view.descriptor)
            if (exact or status.st_nlink != 1) and self._identity() != view.identity:
                self._view = self._opened()
                os.close(view.descriptor)
            elif status.st_size != view.end:
                self._view = self._read(view, status.st_size)
            return self._now().state

    def commit(
        self,
        *,
        put: Mapping[str, Entry] | None = None,
        rows: Mapping[str, int] | None = None,
        drop: Iterable[str] = (),
    ) -> None:
        """Commit: after this one write, and not before, the change has happened.

        Parameters
        ----------
        put : mapping of str to Entry, optional
            Arrays that are new or take the place of others.
        rows : mapping of str to int, optional
            New row counts of arrays that have grown.
        drop : iterable of str, optional
            Names to remove.

        Raises
        ------
        OSError
            The line could not be written; nothing has happened.
        """
        with self._lock:
            view = self._now()
            line: dict[str, Any] = {"commit": view.state.commit + 1, "time_us": now_us()}
            if drop:
                line["drop"] = list(drop)
            if put:
                line["put"] = {name: _new_record(entry) for name, entry in put.items()}
            if rows:
                line["rows"] = dict(rows)
            data = encode(line)
            state = view.state.after([line])
            _append(view, data)
            view = view._replace(end=view.end + len(data), state=state)
            self._view = view
            grown = view.end - view.snapshot_length
            if grown > max(_FOLD_BYTES, _FOLD_FACTOR * view.snapshot_length):
                with contextlib.suppress(OSError):  # the commit stands; the next tries again
                    write_new(self._path, state)

    def _now(self) -> _View:
        if self._view is None:
            msg = f"the store {self._path.parent} is not opened or has been closed"
            raise StoreClosedError(msg)
        return self._view

    def _identity(self) -> tuple[int, int] | None:
        try:
            status = self._path.stat()
        except OSError:
            return None
        return status.st_dev, status.st_ino

    def _opened(self) -> _View:
        """Open the log at the store's path and read it from its first line."""
        try:
            descriptor = _open_for_writing_if_possible(self._path)
        except OSError as error:
            if not self._path.parent.exists():
                raise removed(self._path.parent) from None
            missing = isinstance(error, FileNotFoundError)
            what = "it is missing" if missing else f"it cannot be opened ({error.strerror})"
            self._damaged(what, State())
        try:
            status = os.fstat(descriptor)
            identity = status.st_dev, status.st_ino
            return self._read(_View(descriptor, identity, 0, 0, State()), status.st_size)
        except BaseException:
            os.close(descriptor)
            raise

    def _read(self, view: _View, size: int) -> _View:
        """Read the whole lines behind what was read already."""
        if size < view.end:
            self._damaged(f"it was cut to {size:,} of {view.end:,} bytes", view.state)
        try:
            data = read_between(view.descriptor, view.end, size)
        except IsADirectoryError as error:
            self._damaged(f"it is no file ({error.strerror})", view.state)
        lines = data[: data.rfind(b"\n") + 1].splitlines(keepends=True)
        state, end, snapshot_length = view.state, view.end, view.snapshot_length
        if not end and lines:
            state = self._first(lines[0])
            end = snapshot_length = len(lines.pop(0))
        if not end:
            self._damaged("its first line is missing or cut off", state)
        good = 0

        def commits() -> Iterator[dict[str, Any]]:
            nonlocal good, end
            for line in lines:
                yield decode(line)
                good, end = good + 1, end + len(line)

        try:
            after = state.after(commits())
            return view._replace(end=end, snapshot_length=snapshot_length, state=after)
        except _UNREADABLE as error:
            what = f"the line at byte {end:,} cannot be read ({error})"
            self._damaged(what, state.after(map(decode, lines[:good])))

    def _first(self, line: bytes) -> State:
        try:
            return State.of_snapshot(decode(line))
        except _UNREADABLE as error:
            self._damaged(f"the line at byte 0 cannot be read ({error})", State())

    def _damaged(self, what: str, state: State) -> NoReturn:
        readable = ", ".join(map(repr, state.arrays)) or "none"
        msg = (
            f"the log {self._path} is damaged: {what}; up to commit {state.commit} it names "
            f"these arrays: {readable}; restore it from a backup, and touch nothing in data/, "
            "which holds their rows"
        )
        raise CorruptStoreError(msg)


def write_new(path: Path, state: State) -> None:
    """Write a log of one snapshot line beside `path` and rename it into place."""
    beside = path.with_name(path.name + ".new")
    try:
        beside.write_bytes(encode(state.snapshot()))
        beside.replace(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def removed(folder: Path) -> NotAStoreError:
    """Make the error for a store whose folder is gone."""
    return NotAStoreError(f"the store {folder} was removed or moved; open it where it is now")


def now_us() -> int:
    """Give the time in microseconds since 1970."""
    return time.time_ns() // 1000


def _append(view: _View, data: bytes) -> None:
    if os.fstat(view.descriptor).st_size > view.end:
        os.ftruncate(view.descriptor, view.end)  # what a dead writer began
    try:
        write_all(view.descriptor, data, view.end)
    except OSError:  # the disk is full, say: no whole line is there yet
        os.ftruncate(view.descriptor, view.end)
        raise


def _new_record(entry: Entry) -> dict[str, Any]:
    record = entry.record()
    del record["modified_us"]  # the time of the commit
    return record


def _open_for_writing_if_possible(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError:  # a read-only medium, or not ours to write
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


_LOGS: weakref.WeakSet[Log] = weakref.WeakSet()


def _free_locks() -> None:
    """Give each log a new lock in a forked child: another thread may have held it."""
    for log in _LOGS:
        log._lock = threading.RLock()  # noqa: SLF001


os.register_at_fork(after_in_child=_free_locks)
