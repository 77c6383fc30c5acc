"""An open store: its log, its lock and its data files, one transaction at a time."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ..errors import CorruptStoreError, InvalidValueError, StoreClosedError, StoreError
from . import data, folder
from .checks import check_rows, entry_of
from .lazy import LazyArray
from .log import Log
from .schema import Entry, encode_dtype, storable_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from pathlib import Path

    from .._memory import Array

T = TypeVar("T")


class Handle:
    """What `NumPack` does, done: with arguments that have been checked.

    Parameters
    ----------
    path : Path
        The store's folder, absolute.
    empty_first : bool
        Drop what is there when it is first opened.

    Attributes
    ----------
    path : Path
    log : Log or None
        ``None`` while the store is not open.
    """

    def __init__(self, path: Path, *, empty_first: bool) -> None:
        self.path = path
        self.log: Log | None = None
        self._empty_first = empty_first
        self._swept = False
        self._lock = threading.RLock()  # of opening, closing and writing
        self._writer: int | None = None  # the thread that writes
        _HANDLES.add(self)

    def open(self) -> None:
        """Open the store; create it if there is none. Does nothing if it is open."""
        with self._lock:
            if self.log is not None:
                return
            if self._empty_first:
                folder.empty(self.path)
                self._empty_first = False  # opening again after a close keeps the arrays
            folder.prepare(self.path)
            self.log = Log(self.path)

    def close(self) -> None:
        """Close the log; wait for a writer on another thread."""
        with self._lock:
            log, self.log = self.log, None
            if log is not None:
                log.close()

    def save(self, values: Mapping[str, Array]) -> None:
        """Write new files, commit them all, and unlink those that they replace."""
        with self._writing() as log:
            put: dict[str, Entry] = {}
            try:
                for number, (name, array) in enumerate(values.items()):
                    put[name] = self._write_new(array, log.state.new_id(ahead=number))
            except BaseException:
                self._unlink(put.values())
                raise
            replaced = [log.state.arrays[name] for name in put if name in log.state.arrays]
            try:
                if put:
                    log.commit(put=put)
            except OSError:  # no line was written; after any other exception one may have been
                self._unlink(put.values())
                raise
            self._unlink(replaced)

    def append(self, values: Mapping[str, Array]) -> None:
        """Write rows behind the committed ones, and commit them all."""
        with self._writing() as log:
            found = {name: entry_of(log.state.arrays, name) for name in values}
            for name, array in values.items():
                check_rows(name, found[name], array)
            rows = {name: found[name].shape[0] + len(values[name]) for name in values}
            with contextlib.ExitStack() as grown:
                for name, array in values.items():
                    entry, end = found[name], found[name].nbytes()
                    file = data.grown_file(self.path / entry.file, end)
                    data.write(grown.enter_context(file), array, entry.dtype, end)
                if rows:
                    log.commit(rows=rows)

    def drop(self, names: Iterable[str]) -> None:
        """Commit that arrays are gone, and unlink their files."""
        with self._writing() as log:
            arrays = log.state.arrays
            present = {name: arrays[name] for name in names if name in arrays}
            if present:
                log.commit(drop=present)
                self._unlink(present.values())

    def read(self, name: str) -> Array:
        """Read an array into memory of its own."""
        return self._use(name, lambda entry, path: data.read(path, entry.dtype, entry.shape))

    def _opened(self) -> Log:
        if self.log is None:
            msg = (
                f"the store {self.path} is not opened or has been closed; call open(), or "
                "use it in a with statement"
            )
            raise StoreClosedError(msg)
        return self.log

    def arrays(self) -> dict[str, Entry]:
        """Give the arrays of this moment, other processes' commits included."""
        return self._opened().refresh().arrays

    @contextmanager
    def _writing(self) -> Iterator[Log]:
        """Hold the store's lock, with the log up to date."""
        with self._lock:
            log = self._opened()
            if self._writer == threading.get_ident():  # a signal handler, say
                msg = f"this thread is writing to the store {self.path} already"
                raise StoreError(msg)
            self._writer = threading.get_ident()
            try:
                with folder.exclusive(self.path):
                    state = log.refresh(exact=True)
                    if not self._swept:
                        folder.sweep(self.path, {e.file for e in state.arrays.values()})
                        self._swept = True
                    yield log
            finally:
                self._writer = None

    def _use(self, name: str, use: Callable[[Entry, Path], T]) -> T:
        """Use an array's file; again if it was replaced between the log and the file."""
        tried: Entry | None = None
        while True:
            entry = entry_of(self.arrays(), name)
            path = self.path / entry.file
            try:
                return use(entry, path)
            except FileNotFoundError:
                if entry == tried:
                    msg = f"the data file {path} of the array {name!r} is missing"
                    raise CorruptStoreError(msg) from None
                tried = entry
                self._opened().refresh(exact=True)

    def map(self, name: str) -> LazyArray:
        """Map an array's file."""
        return self._use(name, lambda entry, path: LazyArray(path, entry.dtype, entry.shape))

    def rows(self, name: str) -> Array:
        """Map an array that has rows, as a read-only ndarray."""
        rows = np.asarray(self.map(name))
        if rows.ndim == 0:
            msg = f"{name!r} is 0-d and has no rows; use load"
            raise InvalidValueError(msg)
        return rows

    def _write_new(self, array: Array, identifier: str) -> Entry:
        dtype = storable_dtype(array)
        entry = Entry(identifier, encode_dtype(dtype), array.shape, modified=0)
        with data.new_file(self.path / entry.file) as descriptor:
            data.write(descriptor, array, dtype, offset=0)
        return entry

    def _unlink(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            (self.path / entry.file).unlink(missing_ok=True)


_HANDLES: weakref.WeakSet[Handle] = weakref.WeakSet()


def _free_locks() -> None:
    """Give each handle a new lock in a forked child: another thread may have held it."""
    for handle in _HANDLES:
        handle._lock, handle._writer = threading.RLock(), None  # noqa: SLF001


os.register_at_fork(after_in_child=_free_locks)
