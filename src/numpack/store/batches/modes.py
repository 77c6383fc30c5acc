"""`BatchModes`: the part of `NumPack` that groups changes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from ...errors import ConflictError, InvalidValueError
from ..renaming import Renamer
from .attributes import StoreAttributes
from .buffered import Batch
from .in_place import WritableBatch, recompute_abandoned
from .parallel import ParallelWrite
from .parallel import begin as begin_parallel

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from ..handle import Handle


class BatchModes(Renamer):
    """A `Renamer` whose changes can be grouped by `batch_mode` and `writable_batch_mode`."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        self._batch = Batch(handle)
        self._writable_batches: list[WritableBatch] = []

    @property
    def attrs(self) -> StoreAttributes:
        """JSON attributes of each array, and, as ``attrs.store``, of the store.

        They are committed as everything else, and belong to the name of an array: they stay
        when it is saved again, changed or rewritten.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("attributes.npk") as npk:
        ...     npk.save({"x": np.zeros((2, 3))})
        ...     npk.attrs["x"]["dims"] = ["time", "lat"]
        ...     npk.attrs.store["title"] = "Temperatures"
        ...     npk.attrs["x"], npk.attrs.store["title"]
        (Attributes({'dims': ['time', 'lat']}), 'Temperatures')
        """
        self._session()
        return StoreAttributes(self)

    @contextlib.contextmanager
    def batch_mode(self, memory_limit: int | None = None) -> Iterator[Self]:
        """Keep loaded and saved arrays in memory until the block ends.

        Within the block `load` returns the same array each time. Arrays that were saved or
        changed in place are written in one commit when the block ends, also after an
        exception in it. If that commit fails, the error is raised, the store is unchanged and
        the arrays are kept: the next block, `sync` or `close` tries again. An array that
        others have changed since the batch loaded or saved it is never overwritten
        (`ConflictError`).

        Changes of `attrs` are committed with the arrays; those of an attribute that others have
        set meanwhile prevail, and only an array that was dropped raises `ConflictError`.

        `append`, `replace`, `update` and `drop` within the block write the changes first. An
        array that was loaded before such a call is no longer tracked: later changes to it are
        not written.

        Parameters
        ----------
        memory_limit : int, optional
            Bytes to keep in memory; arrays beyond this limit are written early.

        Yields
        ------
        NumPack
            The store itself.

        Raises
        ------
        ConflictError
            Others committed changes to arrays that the batch changed as well. Their changes
            stand; all other arrays were written; ``error.arrays`` holds those that were not.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("batch.npk") as npk:
        ...     with npk.batch_mode():
        ...         npk.save({"x": np.arange(3)})
        ...         npk.load("x")[:] += 1
        ...     npk.load("x")
        array([1, 2, 3])
        """
        self._session()
        if memory_limit is not None and memory_limit < 0:
            msg = f"memory_limit must not be negative, and is {memory_limit}"
            raise InvalidValueError(msg)
        outer = self._batch.memory_limit
        self._batch.memory_limit = memory_limit if memory_limit is not None else outer
        self._batch.depth += 1
        try:
            yield self
        finally:
            self._batch.depth -= 1
            self._batch.memory_limit = outer
            if not self._batch.depth and self._handle.session is not None:
                conflict = self._end_batch()
                if conflict is not None:
                    raise conflict

    def _end_batch(self) -> ConflictError | None:
        """Write the changes of a batch and forget its arrays, unless writing fails."""
        try:
            self._batch.write()
        except ConflictError as error:
            self._batch.forget()
            return error
        self._batch.forget()
        return None

    @contextlib.contextmanager
    def writable_batch_mode(self) -> Iterator[WritableBatch]:
        """Write to arrays directly in their files.

        Yields
        ------
        WritableBatch
            Its `load` returns a writable array over the file. Writes to it are in the store
            at once, without a copy and without a commit: if the process dies, any part of
            them may be in the file. Checksums are updated when the block ends; until then
            `verify` lists the array as unchecked, and `update` leaves its deleted rows in the
            file.

        Raises
        ------
        ConflictError
            At the end of the block: an array was dropped or saved again meanwhile, and later
            writes to its view are not in the store. ``error.arrays`` holds the views.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("in_place.npk") as npk:
        ...     npk.save({"x": np.arange(3)})
        ...     with npk.writable_batch_mode() as batch:
        ...         batch.load("x")[1] = 7
        ...     npk.load("x")
        array([0, 7, 2])
        """
        self._session()
        batch = WritableBatch(self._handle, self.save, self._flush_batch)
        self._writable_batches.append(batch)
        try:
            yield batch
        finally:
            self._writable_batches.remove(batch)
            batch.end()

    def begin(
        self, array_name: str, shape: int | tuple[int, ...], dtype: npt.DTypeLike
    ) -> ParallelWrite:
        """Begin an array that several processes write, and one commit makes visible.

        Parameters
        ----------
        array_name : str
            An array of this name is replaced by the commit, and is unchanged until then.
        shape : int or tuple of int
            With at least one axis.
        dtype : dtype

        Returns
        -------
        ParallelWrite
            ``plan[rows] = values`` writes rows, in this process or in any to which it is
            pickled; ``plan.commit()`` stores the array, ``plan.abort()`` discards it.

        Raises
        ------
        InvalidValueError
            The name is empty, or no array can have that shape.
        WrongTypeError
            An argument has the wrong type.
        UnsupportedError
            Arrays of that dtype cannot be stored.
        StoreError
            The store is read-only.

        Examples
        --------
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("parallel.npk") as npk, ThreadPoolExecutor() as pool:
        ...     with npk.begin("x", (6, 2), "f8") as plan:
        ...         def fill(row):
        ...             plan[row] = np.full(2, row, "f8")
        ...         _ = list(pool.map(fill, range(6)))
        ...     npk.load("x")[:, 0]
        array([0., 1., 2., 3., 4., 5.])
        """
        self._session()
        with self._handle.write_transaction() as session:
            return begin_parallel(session, array_name, shape, dtype)

    def _recompute_abandoned(self, name: str) -> None:
        with contextlib.suppress(OSError), self._handle.write_transaction() as session:
            recompute_abandoned(session, name)
