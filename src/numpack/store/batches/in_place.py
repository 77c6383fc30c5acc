"""`NumPack.writable_batch_mode`: arrays that are written directly in their files."""

from __future__ import annotations

import fcntl
import mmap
import os
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.pages import remap_private
from ...errors import ConflictError, StoreError
from .. import commits
from ..checks import entry_of
from ..format import data_files
from ..format.naming import quoted
from ..kernels.checksums import checksum_blocks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..._core.memory import Array
    from ..format.log.state import Entry
    from ..handle import Handle
    from ..session import Session


class WritableBatch:
    """Arrays over their files, as yielded by `NumPack.writable_batch_mode`.

    Parameters
    ----------
    handle : Handle
    save : callable
        `NumPack.save`.
    flush : callable
        Writes the changes of a `batch_mode` to the arrays of some names.
    """

    def __init__(
        self,
        handle: Handle,
        save: Callable[[dict[str, Any]], None],
        flush: Callable[[list[str]], None],
    ) -> None:
        self._handle = handle
        self._save = save
        self._flush = flush
        self._views: dict[str, _View] = {}
        self._replaced: list[_View] = []  # of arrays that were saved again since

    def load(self, array_name: str) -> Array:
        """Return an array over the file itself: writes to it change the store.

        Deleted rows are removed from the file first, as by `NumPack.update`. If a `Loader`
        reads the array, its file is copied first, and the copy takes its place.

        Parameters
        ----------
        array_name : str

        Returns
        -------
        ndarray
            Writable, over shared pages of the file; the same object each time. It stays
            usable after the block, when writes to it no longer reach the store.

        Raises
        ------
        NotFoundError
            A `KeyError` that names the existing arrays.
        StoreError
            Rows of the array were deleted while another batch has it open.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("in_place.npk") as npk:
        ...     npk.save({"x": np.zeros(3)})
        ...     with npk.writable_batch_mode() as batch:
        ...         batch.load("x")[0] = 5
        ...     npk.load("x")
        array([5., 0., 0.])
        """
        known = self._views.get(array_name)
        if known is not None and not known.is_replaced(self._handle.session):
            return known.array
        self._flush([array_name])
        with self._handle.write_transaction() as session:
            commits.update(session, array_name)
            session.files.fill(entry_of(session.log.catalog.arrays, array_name))
            entry = commits.mark_writable(session, array_name)
            if entry.dropped:  # while another batch has it open
                msg = (
                    f"rows of {quoted(array_name)} were deleted while it is open in another "
                    "writable_batch_mode; try again when that has ended"
                )
                raise StoreError(msg)
            if known is not None:
                self._replaced.append(known)
            known = self._views[array_name] = _View(session, array_name, entry)
        return known.array

    def save(self, arrays: dict[str, Any]) -> None:
        """Save arrays as `NumPack.save` does; those that `load` returned are skipped.

        Parameters
        ----------
        arrays : dict of str to array

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("in_place.npk") as npk:
        ...     npk.save({"x": np.zeros(3)})
        ...     with npk.writable_batch_mode() as batch:
        ...         x = batch.load("x")
        ...         x[0] = 5
        ...         batch.save({"x": x, "y": np.ones(1)})
        ...     npk.load("x"), npk.load("y")
        (array([5., 0., 0.]), array([1.]))
        """
        given = arrays if isinstance(arrays, dict) else {}
        known = {n for n, a in given.items() if n in self._views and a is self._views[n].array}
        if not known or len(known) < len(given):
            rest = {n: a for n, a in given.items() if n not in known}
            self._save(rest if known else arrays)

    def note_file_changes(self, names: Iterable[str] | None) -> None:
        """Record the values of arrays that this store is about to drop or save again.

        Only later writes to their views are lost, and only these are a conflict.
        """
        for name in list(self._views) if names is None else names:
            view = self._views.get(name)
            if view is not None and not view.is_replaced(self._handle.session):
                view.record_values()

    def end(self) -> None:
        """Detach the arrays from their files, and update the checksums.

        Raises
        ------
        ConflictError
            Arrays were dropped or saved again meanwhile, and later writes to them are not in
            the store.
        """
        views = [*self._replaced, *self._views.values()]
        self._views, self._replaced = {}, []
        lost = {}
        for view in views:
            if view.detach(self._handle.session) and view.has_changed():
                lost[view.name] = view.array
        if (
            self._handle.session is not None
        ):  # otherwise the next `verify` updates the checksums
            for name in dict.fromkeys(view.name for view in views):
                with self._handle.write_transaction() as session:
                    recompute_abandoned(session, name)
        if lost:
            raise _conflict_error(lost)


class _View:
    """Writable mapping of a data file, with a lock on it that marks it as in use."""

    def __init__(self, session: Session, name: str, entry: Entry) -> None:
        self.name = name
        self._id = entry.id
        self._recorded: tuple[bytes, int] | None = None
        self._file = data_files.open_committed(session.folder, entry).detach()
        fcntl.flock(self._file, fcntl.LOCK_SH)
        self._memory = np.empty(0, np.uint8)
        if entry.nbytes:
            self._memory = np.frombuffer(mmap.mmap(self._file, entry.nbytes), np.uint8)
        self.array = data_files.as_rows(self._memory, entry.dtype, entry.stored)
        if not entry.nbytes:
            self.array = np.empty(entry.stored, entry.dtype)

    def is_replaced(self, session: Session | None) -> bool:
        """Return whether the array was dropped or saved again since it was opened."""
        if session is None:  # the store is closed; replaced files are unlinked
            return os.fstat(self._file).st_nlink == 0
        entry = session.arrays().get(self.name)
        return entry is None or entry.id != self._id

    def record_values(self) -> None:
        """Record the checksums of the values."""
        self._recorded = checksum_blocks(self._memory, data_files.thread_count())

    def has_changed(self) -> bool:
        """Return whether values may have changed since `record_values`, if it was called."""
        return self._recorded != checksum_blocks(self._memory, data_files.thread_count())

    def detach(self, session: Session | None) -> bool:
        """Make later writes private to this process; return whether the array `is_replaced`."""
        remap_private(self._memory, self._file)
        try:
            return self.is_replaced(session)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)  # the mapping has its own descriptor
            os.close(self._file)


def _conflict_error(arrays: dict[str, Array]) -> ConflictError:
    names = ", ".join(map(quoted, arrays))
    return ConflictError(
        f"{names} was dropped or saved again while it was open in writable_batch_mode: later "
        "writes to it are not in the store. The committed values stand; to overwrite them, "
        "pass error.arrays, which holds the views, to npk.save",
        arrays,
    )


def recompute_abandoned(session: Session, name: str) -> None:
    """Recompute the checksums of an array that no live process writes in place any more."""
    entry = session.log.catalog.arrays.get(name)
    if entry is None or not entry.writable:
        return
    if not data_files.is_open_in_place(session.folder, entry):
        commits.recompute_checksums(session, name)
