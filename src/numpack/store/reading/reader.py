"""`Reader`: the part of `NumPack` that loads arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, overload

import numpy as np

from ..._core.policy import wrong_type
from ...errors import InvalidValueError
from ...io import share
from ..checks import absolute_path, checked_path, entry_of
from ..format.naming import exact_name
from .backup import backup
from .checked_rows import CheckedRows
from .mapping import ArrayMapping
from .snapshot import Snapshot
from .streaming import CommittedRows
from .verify import VerifyReport, require_intact, verify_array, verify_log

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator

    from ..._core.memory import Array
    from ...io import Target
    from ..lazy.array import LazyArray
    from ..session import Session

    ProgressCallback = Callable[[int, int], object]

_COUNTS = int | np.integer | None


class Reader(ArrayMapping):
    """A mapping of names to arrays that are loaded from a store."""

    def _session_for(self, name: str) -> Session:
        """Return the session for reading an array, after writing a batch's changes to it."""
        session = self._session()
        if self._batch.depth:
            self._batch.write([name])
        return session

    @overload
    def load(
        self,
        array_name: str,
        lazy: Literal[False] = False,
        *,
        verify: bool = False,
        progress: ProgressCallback | None = None,
    ) -> Array: ...

    @overload
    def load(
        self,
        array_name: str,
        lazy: Literal[True],
        *,
        verify: bool = False,
        progress: ProgressCallback | None = None,
    ) -> LazyArray: ...

    def load(
        self,
        array_name: str,
        lazy: bool = False,
        *,
        verify: bool = False,
        progress: ProgressCallback | None = None,
    ) -> Array | LazyArray:
        """Load an array.

        Parameters
        ----------
        array_name : str
        lazy : bool, default False
            Map the file instead of reading it.
        verify : bool, default False
            Check all blocks of the array against their checksums first.
        progress : callable, optional
            Called with the number of bytes read so far and the total; not called for a lazy
            load, which reads none.

        Returns
        -------
        ndarray or LazyArray
            Independent, writable, 64-byte-aligned memory; in `batch_mode` the same object
            each time. With ``lazy=True`` a view of the file, which stays valid and unchanged
            whatever is done to the store, except that `replace` and `writable_batch_mode`
            are visible in it, unless a `Loader` reads the array.

        Raises
        ------
        NotFoundError
            A `KeyError` that names the existing arrays.
        CorruptStoreError
            The array's file is missing or too short, or a block is damaged.
        StoreError
            The array cannot be verified because it has no checksums.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("load.npk") as npk:
        ...     npk.save({"x": np.arange(4)})
        ...     npk.load("x"), npk.load("x", lazy=True)
        (array([0, 1, 2, 3]), LazyArray(int64, shape=(4,), 32 bytes))
        """
        if type(array_name) is not str:
            array_name = exact_name(array_name, "load")
        if lazy:
            in_batch = self._batch.depth
            session = self._session_for(array_name) if in_batch else self._session()
            if verify:
                require_intact(session, array_name)
            return session.lazy(array_name)
        session = self._session()
        array = self._batch.load(array_name) if self._batch.depth else None
        if array is None:
            if self._batch.depth:
                self._batch.prepare(session, array_name)
            total = entry_of(session.arrays(), array_name).live_nbytes if progress else 0
            if verify:
                require_intact(session, array_name)
            entry, array = session.read(array_name, ProgressCounter(progress, total))
            if self._batch.depth:
                self._batch.keep(array_name, array, entry)
        elif progress:
            progress(array.nbytes, array.nbytes)
        return array

    def getitem(self, array_name: str, indexes: Any) -> Array:
        """Load selected rows.

        Row numbers are gathered on several threads. If the rows are not in the page cache,
        all of them are requested at once, so that the device is not waited for row by row.

        Parameters
        ----------
        array_name : str
        indexes : int, list, tuple, slice, integer array or boolean mask
            Negative numbers count from the end; a single int keeps the row axis; an empty
            index selects no rows.

        Returns
        -------
        ndarray
            Independent and writable, of shape ``(rows, …)``.

        Raises
        ------
        NotFoundError
            A `KeyError` that names the existing arrays.
        IndexRangeError
            An `IndexError`: a row number is out of range.
        InvalidIndexError
            `indexes` is of another type.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("getitem.npk") as npk:
        ...     npk.save({"x": np.arange(5) * 10})
        ...     npk.getitem("x", [0, -1])
        array([ 0, 40])
        """
        if type(array_name) is not str:
            array_name = exact_name(array_name, "getitem")
        session = self._session_for(array_name)
        return session.read_rows(array_name, indexes)

    def stream_load(self, array_name: str, buffer_size: int | None = None) -> Iterator[Array]:
        """Load an array batch by batch.

        The batches hold the rows as of the call, whatever is done to the store meanwhile.

        Parameters
        ----------
        array_name : str
        buffer_size : int, optional
            Rows in a batch, 1 by default. The last batch may have fewer.

        Returns
        -------
        iterator of ndarray
            Independent and writable, of shape ``(rows, …)``.

        Raises
        ------
        NotFoundError
            A `KeyError` that names the existing arrays.
        InvalidValueError
            `buffer_size` is not positive.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("stream.npk") as npk:
        ...     npk.save({"x": np.arange(5)})
        ...     [batch.tolist() for batch in npk.stream_load("x", 2)]
        [[0, 1], [2, 3], [4]]
        """
        if isinstance(buffer_size, bool) or not isinstance(buffer_size, _COUNTS):
            fix = "pass a number of rows"
            wrong_type("stream_load", "an int as buffer_size", buffer_size, fix)
        size = 1 if buffer_size is None else int(buffer_size)
        if size <= 0:
            msg = f"buffer_size must be positive, not {size}"
            raise InvalidValueError(msg)
        array_name = exact_name(array_name, "stream_load")
        session = self._session_for(array_name)
        return session.stream(session.lazy_rows(array_name), size)

    def _snapshot(self, names: Iterable[str] | None = None) -> Snapshot:
        """Return lazy arrays of one commit, which no later change is visible in.

        Parameters
        ----------
        names : iterable of str, optional
            All arrays by default.

        Raises
        ------
        NotFoundError
            A `KeyError` that names the existing arrays.
        """
        chosen = None if names is None else [exact_name(name, "load") for name in names]
        session = self._session()
        if self._batch.depth:
            self._batch.write(chosen)
        return Snapshot(session, chosen)

    def _stream(
        self, names: Iterable[str] | None = None, *, checked: bool = False
    ) -> CommittedRows:
        """Return the rows of arrays as of one commit, which are read in pieces.

        Parameters and errors are those of `_snapshot`. If `checked`, they are compared with
        their checksums; see `CheckedRows`.
        """
        chosen = None if names is None else [exact_name(name, "load") for name in names]
        session = self._session()
        if self._batch.depth:
            self._batch.write(chosen)
        return (CheckedRows if checked else CommittedRows)(session, chosen)

    def backup(
        self,
        target: str | os.PathLike[str],
        *,
        verify: bool = False,
        progress: ProgressCallback | None = None,
    ) -> None:
        """Copy the store, as of its newest commit, to a new one.

        Others may write meanwhile, and wait only where the files of all arrays cannot be open
        at once. Where the file system has reflinks, the copy shares the blocks of the device.

        When the call returns, the copy is on the device. A backup that fails removes what it
        has written; one whose process is killed leaves a folder that is no store.

        Parameters
        ----------
        target : str or os.PathLike
            The folder to create; an empty folder may exist.
        verify : bool, default False
            Check the copy; otherwise damage is copied with its checksums, which tell it.
        progress : callable, optional
            Called with the number of bytes copied so far and the total.

        Raises
        ------
        StoreExistsError
            The target exists and is not an empty folder.
        CorruptStoreError
            An array cannot be read, or, with ``verify=True``, a block is damaged.
        StoreError
            The disk is full, for example; or the folder is one of NumPack 0.x.

        Notes
        -----
        The copy is a store of its own, to which no pickled reference to this one leads. Of an
        array that is open in a `writable_batch_mode` it has the rows as they were read, which
        may be in the middle of a change.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("backed_up.npk", drop_if_exists=True) as npk:
        ...     npk.save({"x": np.arange(3)})
        ...     npk.backup("backup.npk")
        >>> with NumPack("backup.npk", mode="r") as copy:
        ...     copy.load("x")
        array([0, 1, 2])
        """
        path = absolute_path(checked_path(target, "backup"))
        session = self._session()
        if self._batch.depth:
            self._batch.write()
        entries = list(session.arrays().values()) if progress else []
        total = sum(each.nbytes for each in entries if not each.is_unusable)
        backup(session, path, ProgressCounter(progress, total), verify=verify)

    def share(self, array_name: str, target: Target, **options: Any) -> Any:
        """Convert an array to a framework's type, as `numpack.share` does the lazy array.

        Parameters
        ----------
        array_name : str
        target : str
            ``"torch"``, ``"arrow"``, …
        **options
            The options of `numpack.share`, including ``copy``.

        Returns
        -------
        object
            The framework's array; over the file's pages, mapped copy-on-write, where the
            framework can share them.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("share.npk") as npk:
        ...     npk.save({"x": np.arange(4.0)})
        ...     npk.share("x", "numpy")
        array([0., 1., 2., 3.])
        """
        return share(self.load(array_name, lazy=True), target, **options)

    def __getitem__(self, array_name: str) -> Array:
        """Load an array; the same as ``load(array_name)``."""
        return self.load(array_name)

    def get(self, array_name: str, default: Any = None) -> Any:
        """Load an array, or return `default` if there is none of this name.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("get.npk") as npk:
        ...     npk.save({"x": np.arange(2)})
        ...     npk.get("x"), npk.get("y")
        (array([0, 1]), None)
        """
        return self.load(array_name) if array_name in self else default

    def verify(self, progress: ProgressCallback | None = None) -> VerifyReport:
        """Check all blocks of all arrays against their checksums.

        Parameters
        ----------
        progress : callable, optional
            Called with the number of bytes checked so far and the total.

        Returns
        -------
        VerifyReport
            True if nothing is damaged. Has the attributes ``ok`` and ``damaged``, a list with
            array, block and rows of each damaged block. Its `str` can be printed.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("verify.npk") as npk:
        ...     npk.save({"x": np.arange(4)})
        ...     print(npk.verify())
        1 block, 32 bytes: all as written
        """
        arrays = dict(self._arrays())
        session = self._session()
        for name, entry in arrays.items():
            if entry.writable and not session.read_only:
                self._recompute_abandoned(name)
        total = sum(each.nbytes for each in arrays.values() if not each.is_unusable)
        counter, report = ProgressCounter(progress, total), VerifyReport()
        verify_log(session, report)
        for name in arrays:
            verify_array(session, name, report, counter)
        return report

    def _recompute_abandoned(self, name: str) -> None:
        """Update checksums that an interrupted `writable_batch_mode` left; see `Writer`."""


class ProgressCounter:
    """Running total of bytes, which reports each increment to a callback.

    Parameters
    ----------
    callback : callable or None
        Called with the number of bytes so far and the total.
    total : int
    """

    __slots__ = ("_callback", "_done", "total")

    def __init__(self, callback: ProgressCallback | None, total: int) -> None:
        self._callback = callback
        self.total = total
        self._done = 0

    def __call__(self, nbytes: int) -> None:
        """Add some bytes and call the callback."""
        self._done += nbytes
        if self._callback is not None:
            self._callback(self._done, self.total)
