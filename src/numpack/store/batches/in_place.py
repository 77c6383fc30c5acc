"""`NumPack.writable_batch_mode`: arrays that are written straight on their files."""

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
    from ..format.catalog import Entry
    from ..handle import Handle
    from ..session import Session


class WritableBatch:
    """What `NumPack.writable_batch_mode` gives: arrays straight on the files.

    Parameters
    ----------
    handle : Handle
    """

    def __init__(
        self,
        handle: Handle,
        save: Callable[[dict[str, Any]], None],
        settle: Callable[[list[str]], None],
    ) -> None:
        self._handle = handle
        self._save = save
        self._settle = settle
        self._views: dict[str, _View] = {}
        self._replaced: list[_View] = []  # of arrays that were saved anew since

    def load(self, array_name: str) -> Array:
        """Give an array whose memory is the file: what is written to it is in the store.

        Rows that were dropped are removed from the file first, as `NumPack.update` does.

        Parameters
        ----------
        array_name : str

        Returns
        -------
        ndarray
            Writable, over shared pages of the file; the same one each time. When the block
            ends it stays usable, and what is written from then on stays in it.

        Raises
        ------
        NotFoundError
            A `KeyError` that names the arrays there are.
        StoreError
            Rows of it were dropped while another batch has it open.
        """
        known = self._views.get(array_name)
        if known is not None and not known.is_replaced(self._handle.session):
            return known.array
        self._settle([array_name])
        with self._handle.writing() as session:
            commits.update(session, array_name)
            session.files.fill(entry_of(session.log.catalog.arrays, array_name))
            entry = commits.mark_writable(session, array_name)
            if entry.dropped:  # since another batch has opened it
                msg = (
                    f"rows of {quoted(array_name)} were dropped while it is open in another "
                    "writable_batch_mode; try again when that has ended"
                )
                raise StoreError(msg)
            if known is not None:
                self._replaced.append(known)
            known = self._views[array_name] = _View(session, array_name, entry)
        return known.array

    def save(self, arrays: dict[str, Any]) -> None:
        """Save arrays; nothing has to be done for those that `load` gave.

        Parameters
        ----------
        arrays : dict of str to array
        """
        given = arrays if isinstance(arrays, dict) else {}
        known = {n for n, a in given.items() if n in self._views and a is self._views[n].array}
        if not known or len(known) < len(given):
            rest = {n: a for n, a in given.items() if n not in known}
            self._save(rest if known else arrays)

    def leave(self, names: Iterable[str] | None) -> None:
        """Take note of the values of arrays that this store is about to drop or save anew.

        Only what is written to a view after that is lost, and only that is a conflict.
        """
        for name in list(self._views) if names is None else names:
            view = self._views.get(name)
            if view is not None and not view.is_replaced(self._handle.session):
                view.note()

    def end(self) -> None:
        """Part the arrays from the files, and bring the checksums up to date.

        Raises
        ------
        ConflictError
            Arrays were dropped or saved anew meanwhile: what was written to them since is
            not in the store.
        """
        views = [*self._replaced, *self._views.values()]
        self._views, self._replaced = {}, []
        lost = {}
        for view in views:
            if view.part(self._handle.session) and view.has_changed():
                lost[view.name] = view.array
        if self._handle.session is not None:  # else whoever verifies next updates the checksums
            for name in dict.fromkeys(view.name for view in views):
                with self._handle.writing() as session:
                    recompute_abandoned(session, name)
        if lost:
            raise _conflict(lost)


class _View:
    """A writable mapping of a data file, and a lock on it that shows that it is in use."""

    def __init__(self, session: Session, name: str, entry: Entry) -> None:
        self.name = name
        self._id = entry.id
        self._noted: tuple[bytes, int] | None = None
        self._file = data_files.open_committed(session.folder, entry).detach()
        fcntl.flock(self._file, fcntl.LOCK_SH)
        self._memory = np.empty(0, np.uint8)
        if entry.nbytes:
            self._memory = np.frombuffer(mmap.mmap(self._file, entry.nbytes), np.uint8)
        self.array = data_files.as_rows(self._memory, entry.dtype, entry.stored)
        if not entry.nbytes:
            self.array = np.empty(entry.stored, entry.dtype)

    def is_replaced(self, session: Session | None) -> bool:
        """Return whether the array was dropped or saved anew since it was opened."""
        if session is None:  # the store is closed: its files are unlinked if they are replaced
            return os.fstat(self._file).st_nlink == 0
        entry = session.arrays().get(self.name)
        return entry is None or entry.id != self._id

    def note(self) -> None:
        """Take note of the values."""
        self._noted = checksum_blocks(self._memory, data_files.thread_count())

    def has_changed(self) -> bool:
        """Return whether values may have changed since `note` was called, if it was."""
        return self._noted != checksum_blocks(self._memory, data_files.thread_count())

    def part(self, session: Session | None) -> bool:
        """Keep later writes private to this process; return whether the array `is_replaced`."""
        remap_private(self._memory, self._file)
        try:
            return self.is_replaced(session)
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)  # the mapping keeps a descriptor of its own
            os.close(self._file)


def _conflict(arrays: dict[str, Array]) -> ConflictError:
    names = ", ".join(map(quoted, arrays))
    return ConflictError(
        f"{names} was dropped or saved anew while it was open in writable_batch_mode: what was "
        "written to it since is not in the store. What was committed stands; to overwrite it, "
        "pass the arrays to npk.save: they are error.arrays, and the views stay usable",
        arrays,
    )


def recompute_abandoned(session: Session, name: str) -> None:
    """Bring checksums up to date where nobody writes in place any more, dead or done."""
    entry = session.log.catalog.arrays.get(name)
    if entry is None or not entry.writable:
        return
    if not data_files.is_open_in_place(session.folder, entry):
        commits.recompute_checksums(session, name)
