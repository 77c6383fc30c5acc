"""Where the staged files of a parallel write are, and why they are not."""

from __future__ import annotations

import os
import threading
from typing import Any, NamedTuple

from ..._core.processes import boot_id
from ...errors import MovedError
from ..format.naming import quoted
from ..format.staged.files import StagedFiles, ended_error
from ..fs.directory import Folder
from ..fs.forks import register
from ..lazy.reference import state_of

_TOKEN = 8  # characters at the end of the name of staged files


class Location(NamedTuple):
    """Pickled form of a parallel write: plain values, of a few hundred bytes."""

    path: str  # of the store
    name: str
    stem: str  # of the staged files
    file: tuple[int, int]  # device and inode of the data file
    boot: str  # within which device numbers are the same
    code: Any  # the dtype
    shape: tuple[int, ...]
    durable: bool
    lock_timeout: float | None


class Opener:
    """The files of a parallel write, opened once in each process, when they are needed.

    Parameters
    ----------
    location : Location
    files : StagedFiles, optional
        If they are open already.

    Attributes
    ----------
    current : StagedFiles or None
        ``None`` while they are not open in this process.
    """

    def __init__(self, location: Location, files: StagedFiles | None) -> None:
        self.current = files
        self._location = location
        self._has_ended = False
        self._mutex = threading.Lock()
        register(self)

    def after_fork(self) -> None:
        """Close a forked child's copies of the files."""
        self._mutex = threading.Lock()
        files, self.current = self.current, None
        if files is not None:
            files.close_inherited()

    def open(self) -> StagedFiles:
        """Return the files; raise `WriteEndedError` or another `MovedError`."""
        files = self.current
        if files is not None:
            return files
        with self._mutex:
            if self._has_ended:
                raise ended_error(self._location.path)
            if self.current is None:
                self.current = _open_at(self._location)
            return self.current

    def release(self) -> None:
        """Let go of files that have ended, once no thread uses them any more."""
        self._has_ended, self.current = True, None


def _open_at(location: Location) -> StagedFiles:
    """Open the files of a parallel write that was unpickled, or of a forked child."""
    try:
        folder = Folder(location.path)
        folder.lock_timeout = location.lock_timeout
        files = StagedFiles(folder, location.stem)
    except PermissionError:
        raise _moved_error(
            location, "permission", "there is no permission to write it"
        ) from None
    except FileNotFoundError:
        raise _why_missing(location) from None
    except NotADirectoryError:
        raise _moved_error(location, "missing", "there is no such path") from None
    if files.has_ended():
        raise ended_error(location.path)
    status = os.fstat(files.data)
    is_same_boot = location.boot == boot_id()
    device = status.st_dev if is_same_boot else location.file[0]
    if (device, status.st_ino) != location.file:
        raise _moved_error(location, "another copy", "a copy of the store is there")
    return files


def _why_missing(location: Location) -> MovedError:
    """Return the error for staged files that do not exist."""
    try:
        catalog = state_of(Folder(location.path))
    except OSError:
        return _moved_error(location, "missing", "there is no such path")
    if catalog is None:
        return _moved_error(location, "missing", "there is no store at the path")
    if catalog.token != location.stem[-_TOKEN:]:
        return _moved_error(location, "another store", "another store is there")
    return ended_error(location.path)


def _moved_error(location: Location, reason: str, detail: str) -> MovedError:
    return MovedError(
        f"the parallel write of {quoted(location.name)} to the store {location.path} has "
        f"moved: {detail}; begin it again (NumPack.begin), in a store that all processes reach "
        "by the same path",
        reason,
    )
