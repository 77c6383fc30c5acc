"""`Reader`: what of `NumPack` does not change the store."""

from __future__ import annotations

import contextlib
from collections.abc import Hashable, Mapping
from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from .._core.policy import wrong_type
from ..errors import InvalidValueError
from ..io import share
from .batches.in_place import recompute_abandoned
from .checks import entry_of
from .format.naming import exact_name
from .verify import Report, check, of_array, of_log

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._core.memory import Array
    from ..io import Target
    from .batches.buffered import Batch
    from .format.catalog import Entry
    from .handle import Handle
    from .lazy.array import LazyArray
    from .session import Session

    Progress = Callable[[int, int], object]

_COUNTS = int | np.integer | None


class Reader(Mapping[str, "Array"]):
    """A mapping of names to arrays that are read from a store."""

    _handle: Handle
    _batch: Batch
    _given: str

    def _session(self) -> Session:
        """Give what is open of the store, or say why it cannot be used."""
        return self._handle.opened()

    def _arrays(self) -> dict[str, Entry]:
        """Give the arrays of this moment; what a batch saved is among them."""
        session = self._session()
        if self._batch.depth:
            self._batch.write_saved()
        return session.arrays()

    def _reader(self, name: str) -> Session:
        """Give the session to read an array; what a batch has changed in it is written."""
        session = self._session()
        if self._batch.depth:
            self._batch.write([name])
        return session

    # Arrays

    @overload
    def load(
        self,
        array_name: str,
        lazy: Literal[False] = False,
        *,
        verify: bool = False,
        progress: Progress | None = None,
    ) -> Array: ...

    @overload
    def load(
        self,
        array_name: str,
        lazy: Literal[True],
        *,
        verify: bool = False,
        progress: Progress | None = None,
    ) -> LazyArray: ...

    def load(
        self,
        array_name: str,
        lazy: bool = False,
        *,
        verify: bool = False,
        progress: Progress | None = None,
    ) -> Array | LazyArray:
        """Load an array.

        Parameters
        ----------
        array_name : str
        lazy : bool, default False
            Map the file instead of reading it.
        verify : bool, default False
            Check all its blocks against their checksums first.
        progress : callable, optional
            Called with the bytes that were read and those there are; not for a lazy load,
            which reads none.

        Returns
        -------
        ndarray or LazyArray
            Independent, writable, 64-byte-aligned memory, in `batch_mode` the same object
            each time; or a view of the file that stays valid and unchanged whatever is done
            to the store, but for `replace` and `writable_batch_mode`, which show in it.

        Raises
        ------
        NotFoundError
            A `KeyError` that names the arrays there are.
        CorruptStoreError
            The array's file is missing or too short, or a block is damaged.
        StoreError
            It cannot be verified, because it has no checksums.
        """
        if type(array_name) is not str:
            array_name = exact_name(array_name, "load")
        if lazy:
            session = self._session() if not self._batch.depth else self._reader(array_name)
            if verify:
                check(session, array_name)
            return session.lazy(array_name)
        session = self._session()
        known = self._batch.load(array_name) if self._batch.depth else None
        if known is None:
            if self._batch.depth:
                self._batch.prepare(session, array_name)
            total = entry_of(session.arrays(), array_name).live_nbytes if progress else 0
            if verify:
                check(session, array_name)
            entry, known = session.read_entry(array_name, ProgressReport(progress, total))
            if self._batch.depth:
                self._batch.keep(array_name, known, entry)
        elif progress:
            progress(known.nbytes, known.nbytes)
        return known

    def getitem(self, array_name: str, indexes: Any) -> Array:
        """Load some rows.

        Rows by number are gathered on several threads. If they are not in memory, all of
        them are asked for at once, so that the device is not waited for row by row.

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
        if type(array_name) is not str:
            array_name = exact_name(array_name, "getitem")
        session = self._reader(array_name)
        return session.rows(array_name, lambda rows: rows.take(indexes))

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
        array_name = exact_name(array_name, "stream_load")
        rows = self._reader(array_name).with_rows(array_name)
        return (rows.take(slice(i, i + size)) for i in range(0, len(rows), size))

    def share(self, array_name: str, target: Target, **options: Any) -> Any:
        """Hand an array to a framework: `numpack.share` of the lazy array.

        Parameters
        ----------
        array_name : str
        target : str
            ``"torch"``, ``"arrow"``, …
        **options
            Those of `numpack.share`, ``copy`` among them.

        Returns
        -------
        object
            The framework's own; over the file's pages, copy-on-write, where it can.
        """
        return share(self.load(array_name, lazy=True), target, **options)

    # What is in the store

    def __getitem__(self, array_name: str) -> Array:
        """Load an array: `load`."""
        return self.load(array_name)

    def __contains__(self, array_name: object) -> bool:
        """Return whether there is an array of that name."""
        if isinstance(array_name, str):
            return str.__str__(array_name) in self._arrays()
        if isinstance(array_name, Hashable):
            return False
        exact_name(array_name, "in")
        raise AssertionError

    def get(self, array_name: str, default: Any = None) -> Any:
        """Load an array, or return `default` if there is none of that name."""
        return self.load(array_name) if array_name in self else default

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names of the arrays."""
        return iter(self.get_member_list())

    def __len__(self) -> int:
        """Give the number of arrays."""
        return len(self._arrays())

    def __eq__(self, other: object) -> bool:
        """Tell whether it is the same object."""
        return self is other

    def __hash__(self) -> int:
        """Hash by identity."""
        return id(self)

    def has_array(self, array_name: str) -> bool:
        """Tell whether there is an array of that name."""
        return exact_name(array_name, "has_array") in self._arrays()

    def get_member_list(self) -> list[str]:
        """List the names of the arrays, in the order in which they came."""
        return list(self._arrays())

    def get_shape(self, array_name: str) -> tuple[int, ...]:
        """Give the shape of an array."""
        shape: tuple[int, ...] = entry_of(
            self._arrays(), exact_name(array_name, "get_shape")
        ).shape
        return shape

    def get_modify_time(self, array_name: str) -> int | None:
        """Give the time of an array's last change, in µs since 1970; None if it is absent."""
        entry = self._arrays().get(exact_name(array_name, "get_modify_time"))
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
                    "dtype": entry.dtype_name,
                    "size_bytes": entry.live_nbytes,
                    "last_modified": entry.modified,
                    "data_file": entry.data_file,
                }
                for name, entry in arrays.items()
            },
            "base_dir": self._given,
            "total_arrays": len(arrays),
        }

    def get_io_stats(self) -> dict[str, int]:
        """Count what this object has done since it was made.

        Returns
        -------
        dict
            ``commits``; ``bytes_read``, into arrays of their own; ``bytes_written``, of
            rows, journals and the log; ``mappings`` that were made.
        """
        self._session()
        return dict(self._handle.counts)

    def verify(self, progress: Progress | None = None) -> Report:
        """Check all blocks of all arrays against their checksums.

        Parameters
        ----------
        progress : callable, optional
            Called with the bytes that were checked and those there are.

        Returns
        -------
        Report
            True if nothing is damaged; ``ok``; ``damaged``, an entry for each damaged
            block, with array, block and rows. Its `str` is fit to print.
        """
        arrays = dict(self._arrays())
        session = self._session()
        for name, entry in arrays.items():
            if entry.writable and not session.read_only:
                with contextlib.suppress(OSError), self._handle.writing() as writing:
                    recompute_abandoned(writing, name)
        told = ProgressReport(
            progress, sum(each.nbytes for each in arrays.values() if not each.is_unusable)
        )
        report = Report()
        of_log(session, report)
        for name in arrays:
            of_array(session, name, report, told)
        return report


class ProgressReport:
    """Tells a caller of bytes that are done, and of those there are.

    Parameters
    ----------
    progress : callable or None
    total : int
    """

    __slots__ = ("_done", "_progress", "total")

    def __init__(self, progress: Progress | None, total: int) -> None:
        self._progress = progress
        self.total = total
        self._done = 0

    def __call__(self, nbytes: int) -> None:
        """Tell of some more."""
        self._done += nbytes
        if self._progress is not None:
            self._progress(self._done, self.total)
