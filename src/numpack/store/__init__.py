"""`NumPack`: an embedded store of arrays in a folder."""

from __future__ import annotations

import contextlib
import os
import threading
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np

from .._memory import aligned_copy
from .._policy import wrong_type
from ..errors import (
    CorruptStoreError,
    InvalidValueError,
    StoreClosedError,
    StoreError,
)
from . import data, folder
from .checks import check_rows, entry_of, named_arrays
from .indexing import rows_of
from .lazy import LazyArray
from .log import Log
from .schema import Entry, encode_dtype, storable_dtype

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from .._memory import Array

__all__ = ["LazyArray", "NumPack"]

T = TypeVar("T")

_COUNTS = int | np.integer | None


class NumPack:
    """A store of named arrays in a folder, memory-mapped when they are loaded lazily.

    Every call that changes the store is one atomic commit, made when the call returns:
    nothing is lost if the process dies, and no `close` is needed for it. Any number of
    processes and threads read while one writes; writers queue. A call sees everything
    committed before it.

    Parameters
    ----------
    filename : str or os.PathLike
        The folder. It is created when the store is opened.
    drop_if_exists : bool, default False
        Drop all arrays of a store that is there when this object is first opened. What is
        no store is never touched.

    Raises
    ------
    StoreClosedError
        A `RuntimeError`, from every method but `open` and `close`, of a store that is
        not open.

    Notes
    -----
    Array names are any non-empty strings. Arrays are of every fixed-size dtype of NumPy
    but long double, and of those of ml_dtypes, in any layout; they are stored in C order,
    little-endian.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack import NumPack
    >>> with NumPack("features.npk", drop_if_exists=True) as npk:
    ...     npk.save({"x": np.zeros((2, 3), "f4")})
    ...     npk.append({"x": np.ones((1, 3), "f4")})
    ...     npk.load("x")
    array([[0., 0., 0.],
           [0., 0., 0.],
           [1., 1., 1.]], dtype=float32)
    """

    def __init__(
        self,
        filename: str | os.PathLike[str],
        drop_if_exists: bool = False,
    ) -> None:
        self._given = _path_of(filename)
        self._path = self._given.absolute()  # whatever becomes of the working directory
        self._drop_if_exists = bool(drop_if_exists)
        self._log: Log | None = None
        self._swept = False
        self._lock = threading.RLock()  # of opening, closing and writing
        self._writer: int | None = None  # the thread that writes
        _HANDLES.add(self)

    # Opening and closing

    def open(self) -> None:
        """Open the store; create it if there is none. Does nothing if it is open.

        Raises
        ------
        NotAStoreError
            The path is a file, or a folder that is not empty and no store.
        NewerFormatError, CorruptStoreError
            The store cannot be read by this version, or is damaged.
        """
        with self._lock:
            if self._log is not None:
                return
            if self._drop_if_exists:
                folder.empty(self._path)
                self._drop_if_exists = False  # opening again after a close keeps the arrays
            folder.prepare(self._path)
            self._log = Log(self._path)

    def close(self) -> None:
        """Close the store. Arrays that were loaded from it, lazily too, stay valid."""
        with self._lock:
            log, self._log = self._log, None
            if log is not None:
                log.close()

    @property
    def is_opened(self) -> bool:
        """Whether the store is open."""
        return self._log is not None

    @property
    def is_closed(self) -> bool:
        """Whether the store is not open."""
        return self._log is None

    def __enter__(self) -> Self:
        """Open the store."""
        self.open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the store."""
        self.close()

    def __repr__(self) -> str:
        """Tell the path and what is in it."""
        log = self._log
        what = "closed" if log is None else f"{len(log.state.arrays)} arrays"
        return f"NumPack({str(self._given)!r}, {what})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path: the other process opens the store for itself."""
        return _opened_as, (str(self._path), self.is_opened)

    # Writing

    def save(self, arrays: Mapping[str, Any]) -> None:
        """Store arrays, all of them in one commit; existing names are replaced.

        Parameters
        ----------
        arrays : dict of str to array
            NumPy arrays or scalars, or arrays of any framework that `share` knows.

        Raises
        ------
        InvalidValueError
            `arrays` is no dictionary, or a name is empty.
        WrongTypeError
            A name is no string, or a value no array.
        UnsupportedError
            An array holds objects, long doubles or a mask.
        OSError
            The disk is full, or cannot be written. Nothing has changed.
        """
        values = named_arrays(arrays)
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

    def append(self, arrays: Mapping[str, Any]) -> None:
        """Add rows to arrays, to all of them in one commit.

        What is stored already is not rewritten, and lazy arrays keep their length.

        Parameters
        ----------
        arrays : dict of str to array
            Rows of the dtype and row shape of the array of that name.

        Raises
        ------
        NotFoundError
            A `KeyError`: there is no array of a name.
        InvalidValueError
            `arrays` is no dictionary, or dtype or row shape differ.
        OSError
            The disk is full, or cannot be written. Nothing has changed.
        """
        values = named_arrays(arrays)
        with self._writing() as log:
            found = {name: entry_of(log.state.arrays, name) for name in values}
            for name, array in values.items():
                check_rows(name, found[name], array)
            rows = {name: found[name].shape[0] + len(values[name]) for name in values}
            with contextlib.ExitStack() as grown:
                for name, array in values.items():
                    entry, end = found[name], found[name].nbytes()
                    file = data.grown_file(self._path / entry.file, end)
                    data.write(grown.enter_context(file), array, entry.dtype, end)
                if rows:
                    log.commit(rows=rows)

    def drop(self, array_name: str | list[str] | tuple[str, ...]) -> None:
        """Remove one array or several, in one commit; names that are not there are ignored.

        Lazy arrays of them stay valid.

        Parameters
        ----------
        array_name : str or list of str
        """
        names = [array_name] if isinstance(array_name, str) else array_name
        for name in names if isinstance(names, list | tuple) else [names]:
            if not isinstance(name, str):
                wrong_type("drop", "a name or a list of names", name, "pass str or list of str")
        with self._writing() as log:
            arrays = log.state.arrays
            present = {name: arrays[name] for name in names if name in arrays}
            if present:
                log.commit(drop=present)
                self._unlink(present.values())

    # Reading

    def load(self, array_name: str, lazy: bool = False) -> Array | LazyArray:
        """Load an array.

        Parameters
        ----------
        array_name : str
        lazy : bool, default False
            Map the file instead of reading it.

        Returns
        -------
        ndarray or LazyArray
            Independent, writable, 64-byte-aligned memory; or a view of the file that stays
            valid and unchanged whatever is done to the store.

        Raises
        ------
        NotFoundError
            A `KeyError` that names the arrays there are.
        CorruptStoreError
            The array's file is missing or too short.
        """
        if lazy:
            return self._map(array_name)
        return self._read(
            array_name, lambda entry, path: data.read(path, entry.dtype, entry.shape)
        )

    def getitem(self, array_name: str, indexes: Any) -> Array:
        """Load some rows.

        Parameters
        ----------
        array_name : str
        indexes : int, list, tuple, slice, integer array or boolean mask
            Negative numbers count from the end; a single int keeps the row axis; no
            indexes give no rows.

        Returns
        -------
        ndarray
            Independent and writable, of shape ``(rows, …)``.

        Raises
        ------
        NotFoundError
            A `KeyError` that names the arrays there are.
        IndexRangeError
            An `IndexError`: a row number is out of range.
        InvalidIndexError
            `indexes` is something else.
        """
        rows = self._rows(array_name)
        selected = rows_of(indexes, len(rows))
        if isinstance(selected, slice):
            return aligned_copy(rows[selected])
        return rows[selected]

    def stream_load(self, array_name: str, buffer_size: int | None = None) -> Iterator[Array]:
        """Load an array batch by batch.

        The batches are those of the moment of the call, whatever is done to the store
        meanwhile.

        Parameters
        ----------
        array_name : str
        buffer_size : int, optional
            Rows in a batch; one if left out. The last batch may have fewer.

        Returns
        -------
        iterator of ndarray
            Independent and writable, of shape ``(rows, …)``.

        Raises
        ------
        InvalidValueError
            `buffer_size` is not positive.
        """
        if isinstance(buffer_size, bool) or not isinstance(buffer_size, _COUNTS):
            fix = "pass a number of rows"
            wrong_type("stream_load", "an int as buffer_size", buffer_size, fix)
        size = 1 if buffer_size is None else int(buffer_size)
        if size <= 0:
            msg = f"buffer_size must be positive, not {size}"
            raise InvalidValueError(msg)
        rows = self._rows(array_name)
        return (aligned_copy(rows[i : i + size]) for i in range(0, len(rows), size))

    # What is in the store

    def has_array(self, array_name: str) -> bool:
        """Tell whether there is an array of that name."""
        return array_name in self._arrays()

    def get_member_list(self) -> list[str]:
        """List the names of the arrays, in the order in which they came."""
        return list(self._arrays())

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the arrays."""
        return iter(self.get_member_list())

    def get_shape(self, array_name: str) -> tuple[int, ...]:
        """Give the shape of an array."""
        return entry_of(self._arrays(), array_name).shape

    def get_modify_time(self, array_name: str) -> int | None:
        """Give the time of an array's last change, in µs since 1970; None if it is absent."""
        entry = self._arrays().get(array_name)
        return None if entry is None else entry.modified

    def get_metadata(self) -> dict[str, Any]:
        """Describe all arrays.

        Returns
        -------
        dict
            ``arrays``: for each name ``shape``, ``dtype``, ``size_bytes``,
            ``last_modified`` (µs since 1970) and ``data_file``; ``base_dir``;
            ``total_arrays``.
        """
        arrays = dict(self._arrays())
        return {
            "arrays": {
                name: {
                    "shape": entry.shape,
                    "dtype": str(entry.dtype),
                    "size_bytes": entry.nbytes(),
                    "last_modified": entry.modified,
                    "data_file": entry.file,
                }
                for name, entry in arrays.items()
            },
            "base_dir": str(self._given),
            "total_arrays": len(arrays),
        }

    # How

    def _opened(self) -> Log:
        if self._log is None:
            msg = (
                f"the store {self._path} is not opened or has been closed; call open(), or "
                "use it in a with statement"
            )
            raise StoreClosedError(msg)
        return self._log

    def _arrays(self) -> dict[str, Entry]:
        """Give the arrays of this moment, other processes' commits included."""
        return self._opened().refresh().arrays

    @contextmanager
    def _writing(self) -> Iterator[Log]:
        """Hold the store's lock, with the log up to date."""
        with self._lock:
            log = self._opened()
            if self._writer == threading.get_ident():  # a signal handler, say
                msg = f"this thread is writing to the store {self._path} already"
                raise StoreError(msg)
            self._writer = threading.get_ident()
            try:
                with folder.exclusive(self._path):
                    state = log.refresh(exact=True)
                    if not self._swept:
                        folder.sweep(self._path, {e.file for e in state.arrays.values()})
                        self._swept = True
                    yield log
            finally:
                self._writer = None

    def _read(self, name: str, use: Callable[[Entry, Path], T]) -> T:
        """Use an array's file; again if it was replaced between the log and the file."""
        tried: Entry | None = None
        while True:
            entry = entry_of(self._arrays(), name)
            path = self._path / entry.file
            try:
                return use(entry, path)
            except FileNotFoundError:
                if entry == tried:
                    msg = f"the data file {path} of the array {name!r} is missing"
                    raise CorruptStoreError(msg) from None
                tried = entry
                self._opened().refresh(exact=True)

    def _map(self, name: str) -> LazyArray:
        return self._read(name, lambda entry, path: LazyArray(path, entry.dtype, entry.shape))

    def _rows(self, name: str) -> Array:
        rows = np.asarray(self._map(name))
        if rows.ndim == 0:
            msg = f"{name!r} is 0-d and has no rows; use load"
            raise InvalidValueError(msg)
        return rows

    def _write_new(self, array: Array, identifier: str) -> Entry:
        dtype = storable_dtype(array)
        entry = Entry(identifier, encode_dtype(dtype), array.shape, modified=0)
        with data.new_file(self._path / entry.file) as descriptor:
            data.write(descriptor, array, dtype, offset=0)
        return entry

    def _unlink(self, entries: Iterable[Entry]) -> None:
        for entry in entries:
            (self._path / entry.file).unlink(missing_ok=True)


_HANDLES: weakref.WeakSet[NumPack] = weakref.WeakSet()


def _free_locks() -> None:
    """Give each handle a new lock in a forked child: another thread may have held it."""
    for handle in _HANDLES:
        handle._lock, handle._writer = threading.RLock(), None  # noqa: SLF001


os.register_at_fork(after_in_child=_free_locks)


def _path_of(filename: str | os.PathLike[str]) -> Path:
    try:
        return Path(filename)
    except TypeError:
        wrong_type("NumPack", "a str or os.PathLike", filename, "pass the folder's path")


def _opened_as(path: str, opened: bool) -> NumPack:
    store = NumPack(path)
    if opened:
        store.open()
    return store
