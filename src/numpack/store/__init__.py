"""`NumPack`: an embedded store of arrays in a folder."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .._memory import aligned_copy
from .._policy import wrong_type
from ..errors import InvalidValueError
from .checks import entry_of, named_arrays
from .handle import Handle
from .indexing import rows_of
from .lazy import LazyArray

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Mapping

    from .._memory import Array

__all__ = ["LazyArray", "NumPack"]

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
        path = self._given.absolute()  # whatever becomes of the working directory
        self._handle = Handle(path, empty_first=bool(drop_if_exists))

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
        self._handle.open()

    def close(self) -> None:
        """Close the store. Arrays that were loaded from it, lazily too, stay valid."""
        self._handle.close()

    @property
    def is_opened(self) -> bool:
        """Whether the store is open."""
        return self._handle.log is not None

    @property
    def is_closed(self) -> bool:
        """Whether the store is not open."""
        return self._handle.log is None

    def __enter__(self) -> Self:
        """Open the store."""
        self.open()
        return self

    def __exit__(self, *exc_info: object) -> None:
        """Close the store."""
        self.close()

    def __repr__(self) -> str:
        """Tell the path and what is in it."""
        log = self._handle.log
        what = "closed" if log is None else f"{len(log.state.arrays)} arrays"
        return f"NumPack({str(self._given)!r}, {what})"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the path: the other process opens the store for itself."""
        return _opened_as, (str(self._handle.path), self.is_opened)

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
        self._handle.save(named_arrays(arrays))

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
        self._handle.append(named_arrays(arrays))

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
        self._handle.drop(names)

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
            return self._handle.map(array_name)
        return self._handle.read(array_name)

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
        rows = self._handle.rows(array_name)
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
        rows = self._handle.rows(array_name)
        return (aligned_copy(rows[i : i + size]) for i in range(0, len(rows), size))

    # What is in the store

    def has_array(self, array_name: str) -> bool:
        """Tell whether there is an array of that name."""
        return array_name in self._handle.arrays()

    def get_member_list(self) -> list[str]:
        """List the names of the arrays, in the order in which they came."""
        return list(self._handle.arrays())

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the arrays."""
        return iter(self.get_member_list())

    def get_shape(self, array_name: str) -> tuple[int, ...]:
        """Give the shape of an array."""
        return entry_of(self._handle.arrays(), array_name).shape

    def get_modify_time(self, array_name: str) -> int | None:
        """Give the time of an array's last change, in µs since 1970; None if it is absent."""
        entry = self._handle.arrays().get(array_name)
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
        arrays = dict(self._handle.arrays())
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
