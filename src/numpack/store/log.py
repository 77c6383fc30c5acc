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
import time
import zlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NoReturn

from ..errors import CorruptStoreError, NotAStoreError
from .files import read_between, write_all
from .schema import Entry

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

NAME = "commits.log"

_CHECK = b',"crc32":"'
_CHECK_LENGTH = len(_CHECK) + 8 + len('"}\n')
_FOLD_BYTES = 64 * 1024  # a log is folded when its commits take this and more than twice
_FOLD_FACTOR = 2  # the snapshot, so that folding costs a constant share of the writing


@dataclass(slots=True)
class State:
    """What the log says up to some commit.

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

    def apply(self, line: dict[str, Any]) -> None:
        """Carry out one commit."""
        if line["commit"] != self.commit + 1:
            msg = f"commit {line['commit']} follows commit {self.commit}"
            raise ValueError(msg)
        for name in line.get("drop", ()):
            del self.arrays[name]
        for name, record in line.get("put", {}).items():
            self.arrays[name] = Entry.of({**record, "modified_us": line["time_us"]})
            self.next_id = max(self.next_id, int(record["id"].partition("-")[0]) + 1)
        for name, rows in line.get("rows", {}).items():
            entry = self.arrays[name]
            self.arrays[name] = replace(
                entry, shape=(rows, *entry.row_shape), modified=line["time_us"]
            )
        self.commit = line["commit"]


def encode(line: Mapping[str, Any]) -> bytes:
    """Write a line of the log, with its checksum."""
    body = json.dumps(line, separators=(",", ":")).encode("ascii")[:-1]
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
    decoded: dict[str, Any] = json.loads(line)
    return decoded


class Log:
    """An open commit log.

    Not for several threads at a time; `commit` only for who holds the store's lock.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / NAME
        self._descriptor = -1
        self._end = 0  # of the last whole line
        self._snapshot_length = 0
        self.state = State()
        try:
            self._reopen()
        except BaseException:
            self.close()
            raise

    def __del__(self) -> None:
        """Close the file of a store that was never closed."""
        self.close()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
        self._descriptor = -1

    def refresh(self) -> None:
        """Read what others committed since.

        One ``fstat`` tells whether there is anything: the size grows with each commit, and
        a log that was renamed over, or whose store was removed, has no name any more.
        """
        status = os.fstat(self._descriptor)
        if status.st_nlink == 0:
            self._reopen()
        elif status.st_size != self._end or not self._end:
            self._read(status.st_size)

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
        """
        line: dict[str, Any] = {"commit": self.state.commit + 1, "time_us": now_us()}
        if drop:
            line["drop"] = list(drop)
        if put:
            line["put"] = {name: _new_record(entry) for name, entry in put.items()}
        if rows:
            line["rows"] = dict(rows)
        data = encode(line)
        self._append(data)
        self.state.apply(line)
        self._end += len(data)
        if self._end - self._snapshot_length > max(
            _FOLD_BYTES, _FOLD_FACTOR * self._snapshot_length
        ):
            with contextlib.suppress(OSError):  # the commit stands; the next one tries again
                self._fold()

    def _append(self, data: bytes) -> None:
        if os.fstat(self._descriptor).st_size > self._end:
            os.ftruncate(self._descriptor, self._end)  # what a dead writer began
        try:
            write_all(self._descriptor, data, self._end)
        except OSError:  # the disk is full, say: no whole line is there yet
            os.ftruncate(self._descriptor, self._end)
            raise

    def _fold(self) -> None:
        write_new(self._path, self.state)
        self._reopen()

    def _reopen(self) -> None:
        try:
            descriptor = _open_for_writing_if_possible(self._path)
        except FileNotFoundError:
            if not self._path.parent.exists():
                msg = f"the store {self._path.parent} was removed; open it anew to create one"
                raise NotAStoreError(msg) from None
            self._damaged("it is missing")
        self.close()
        self._descriptor = descriptor
        self._end, self._snapshot_length, self.state = 0, 0, State()
        self._read(os.fstat(descriptor).st_size)

    def _read(self, size: int) -> None:
        if size < self._end:
            self._damaged(f"it was cut to {size:,} of {self._end:,} bytes")
        data = read_between(self._descriptor, self._end, size)
        whole = data[: data.rfind(b"\n") + 1]
        for line in whole.splitlines(keepends=True):
            try:
                decoded = decode(line)
                if self._end:
                    self.state.apply(decoded)
                else:
                    self.state = State.of_snapshot(decoded)
                    self._snapshot_length = len(line)
            except (ValueError, KeyError, TypeError, AttributeError) as error:
                self._damaged(f"the line at byte {self._end:,} cannot be read ({error})")
            self._end += len(line)
        if self._end == 0:
            self._damaged("its first line is missing or cut off")

    def _damaged(self, what: str) -> NoReturn:
        readable = ", ".join(map(repr, self.state.arrays)) or "none"
        msg = (
            f"the log {self._path} is damaged: {what}; up to commit {self.state.commit} it "
            f"names these arrays: {readable}; restore it from a backup, and touch nothing in "
            "data/, which holds their rows"
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


def now_us() -> int:
    """Give the time in microseconds since 1970."""
    return time.time_ns() // 1000


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
