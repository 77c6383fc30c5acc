"""`NumPack.backup`: a copy of one commit of a store, beside its writers."""

from __future__ import annotations

import contextlib
import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ...errors import (
    CorruptStoreError,
    InvalidValueError,
    StoreError,
    StoreExistsError,
)
from ..format import data_files
from ..format.folder import HEADER, flush_names, is_store, new_catalog, write_store
from ..format.log.log import NEW_LOG
from ..format.log.reader import NAME as LOG
from ..format.log.state import Catalog
from ..format.naming import quoted
from ..fs.copying import copy_start
from ..fs.directory import DATA, Folder, write_all
from ..fs.errors import store_error
from ..fs.lock import LOCK, WriteLock
from ..rows import deleted_rows
from .held import committed_files, compute_checksums, copy_rows

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from ..format.data_files import Progress
    from ..format.log.state import Entry
    from ..session import Session
    from .held import ArrayFiles


def backup(session: Session, path: str, progress: Progress, *, verify: bool) -> None:
    """Copy the arrays and attributes of the newest commit to a new store.

    Parameters
    ----------
    session : Session
    path : str
        The target, absolute; it must not exist, or be an empty folder.
    progress : callable
        Called with the number of bytes copied, after each part.
    verify : bool
        Whether to check the copy against its checksums.
    """
    if session.is_numpack0:
        msg = (
            f"{session.folder.path} is a folder of NumPack 0.x, which has no commits to back "
            "up; copy the folder, or upgrade it with NumPack(path, upgrade=True)"
        )
        raise StoreError(msg)
    with _new_folder(session.folder, path) as target:
        copying = _Copying(session, target, progress, verify=verify)
        try:
            copying.run()
        except BaseException:
            copying.remove()
            raise
    flush_names(target)


class _Copying:
    """A backup that is being made."""

    def __init__(
        self, session: Session, target: Folder, progress: Progress, *, verify: bool
    ) -> None:
        self._session = session
        self._target = target
        self._progress = progress
        self._verify = verify
        self._token = new_catalog().token
        self._made: dict[str, Entry] = {}

    def run(self) -> None:
        """Copy all arrays, then write log and header."""
        self._target.make_data()
        before = self._copy_all()
        self._target.sync_data()
        catalog = Catalog(
            self._token, before.commit, before.next_id, self._made, attrs=before.attrs
        )
        write_store(self._target, catalog, durable=True)

    def remove(self) -> None:
        """Remove what was written; the header first, so that no part of a store is left."""
        names = [HEADER, f"{HEADER}.new", LOG, NEW_LOG]
        for entry in self._made.values():
            names += [entry.data_file, entry.checksum_file, entry.dropped_file]
        for name in names:
            with contextlib.suppress(OSError):
                self._target.unlink(name)
        with contextlib.suppress(OSError):
            os.rmdir(DATA, dir_fd=self._target.descriptor)

    def _copy_all(self) -> Catalog:
        """Copy the files of all arrays; return the catalog of their commit."""
        with committed_files(self._session) as files:
            for name, entry in files.catalog.arrays.items():
                with files.opened(name) as opened:
                    self._copy(name, entry, opened)
                files.release(name)
            return files.catalog

    def _copy(self, name: str, entry: Entry, files: ArrayFiles) -> None:
        number = entry.id.partition("-")[0]
        made = entry.replace(id=f"{number}-{self._token}", writable=False, extents=None)
        try:
            self._made[name] = made
            self._made[name] = self._copy_files(entry, made, files)
            if self._verify:
                _require_intact(self._target, name, self._made[name])
        except StoreError:
            raise
        except OSError as error:
            where = f"{self._target.path}/{made.data_file}"
            raise store_error(where, error) from error

    def _copy_files(self, entry: Entry, made: Entry, files: ArrayFiles) -> Entry:
        """Copy the files of an array; return the entry of the copy."""
        with data_files.create_files(self._target, made) as descriptor:
            sums, tail = copy_rows(self._session, entry, files, descriptor, self._progress)
            os.fsync(descriptor)
        made = made.replace(tail=tail)
        self._write(made.checksum_file, lambda new: write_all(new, sums, 0), len(sums))
        if files.deleted is not None:
            source, length = files.deleted.descriptor, 8 * entry.dropped
            self._write(made.dropped_file, lambda new: copy_start(source, new, length), 1)
        return made

    def _write(self, name: str, write: Callable[[int], object], length: int) -> None:
        """Write a new file and flush it; do nothing if it has no bytes."""
        if not length:
            return
        descriptor = self._target.new(name)
        try:
            write(descriptor)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def _new_folder(source: Folder, path: str) -> Iterator[Folder]:
    """Create and lock the folder of a backup; remove it again if an error is raised."""
    _check_target(source, path)
    made = not os.path.lexists(path)
    try:
        Path(path).mkdir(stat.S_IMODE(os.fstat(source.descriptor).st_mode), parents=True)
    except FileExistsError:
        made = False
    except OSError as error:
        raise store_error(path, error) from error
    folder = Folder(path)
    folder.lock_timeout = source.lock_timeout
    try:
        with WriteLock(folder):
            _check_empty(folder, but=LOCK)
            try:
                yield folder
            except BaseException:
                folder.unlink(LOCK)
                raise
    except BaseException:
        if made:
            with contextlib.suppress(OSError):
                Path(path).rmdir()
        raise


def _check_target(source: Folder, path: str) -> None:
    """Check that a backup can be made at a path, without changing anything."""
    if not os.path.lexists(path):
        resolved, store = os.path.realpath(path), os.path.realpath(source.path)
        if resolved.startswith(f"{store}/"):
            msg = f"the backup {path} would be inside of the store; choose a path elsewhere"
            raise InvalidValueError(msg)
        return
    if not Path(path).is_dir():
        msg = f"{path} is a file, and a backup is a new folder; choose another path"
        raise StoreExistsError(msg)
    _check_empty(Folder(path))


def _check_empty(folder: Folder, *, but: str = "") -> None:
    if not set(folder.names("")) - {but}:
        return
    what = "is not empty"
    with contextlib.suppress(StoreError):
        what = "is a store" if is_store(folder) else what
    msg = (
        f"the folder {folder.path} {what}; choose another path, or remove the folder if an "
        "interrupted backup has left it"
    )
    raise StoreExistsError(msg)


def _require_intact(folder: Folder, name: str, entry: Entry) -> None:
    """Check a copy against its checksums."""
    with data_files.open_committed(folder, entry, os.O_RDONLY) as descriptor:
        sums, tail = compute_checksums(descriptor, entry.nbytes)
    found = data_files.checksums_from(sums, entry.replace(tail=tail))
    wrong = np.flatnonzero(found != data_files.read_checksums(folder, entry))
    if len(wrong):
        msg = (
            f"the array {quoted(name)} cannot be backed up with verify=True: the checksum of "
            f"block {wrong[0]:,} is wrong; restore it from an earlier backup, or drop the array"
        )
        raise CorruptStoreError(msg)
    if entry.dropped:
        deleted_rows.read(folder, entry)
