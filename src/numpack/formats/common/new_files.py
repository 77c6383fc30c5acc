"""Files and folders that get their name when they are complete."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import shutil
import stat
from pathlib import Path

from ...errors import InvalidValueError
from ...store.fs.temporary import TemporaryFolder

_NAME = 100  # characters of the target's name in that of the temporary folder
_EXCHANGE = 2  # RENAME_EXCHANGE of Linux
_AT_FDCWD = -100


class NewFile:
    """A file or folder that replaces another one once it is complete.

    It is written in a temporary folder beside the target, which ends with this process. If the
    target is a link, what it refers to is replaced. The new one has the permissions of the old.

    Parameters
    ----------
    target : Path
    is_folder : bool, default False
        Whether it is a folder, and not a file.

    Attributes
    ----------
    path : Path
        Where to write; it has the name of the target, and does not exist at first.

    Raises
    ------
    InvalidValueError
        The target is a device, a FIFO or a socket; or it is a folder where a file is to be
        written, or the other way round.
    OSError
        Its folder does not exist, or it is a loop of links.
    """

    def __init__(self, target: Path, *, is_folder: bool = False) -> None:
        self._target = resolved(target)
        self._is_folder = is_folder
        require_replaceable(self._target, is_folder=is_folder)
        self._folder = beside(self._target)
        Path(self._folder.path).chmod(stat.S_IRWXU)  # what is replaced may be private
        self.path = Path(self._folder.path) / self._target.name

    def commit(self) -> None:
        """Flush the file, or all files of the folder, and give it its name."""
        try:
            require_replaceable(self._target, is_folder=self._is_folder)
            keep_mode(self._target, self.path)
            _flush(self.path)
            _replace(self.path, self._target)
            _sync(self._target.parent)
        finally:
            self._folder.remove()

    def abort(self) -> None:
        """Remove what was written; do nothing after `commit`."""
        self._folder.remove()


def resolved(target: Path) -> Path:
    """Return the path to which links lead, whether it exists or not.

    Raises
    ------
    OSError
        The links are a loop.
    """
    path = Path(os.path.realpath(target))
    if path.is_symlink():
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(target))
    return path


def require_replaceable(target: Path, *, is_folder: bool) -> None:
    """Check that a file or folder does not exist, or is one that another can replace.

    Raises
    ------
    InvalidValueError
        It is not.
    """
    try:
        mode = target.stat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISDIR(mode) if is_folder else stat.S_ISREG(mode):
        return
    kind = "a file" if stat.S_ISREG(mode) else "a device, a FIFO or a socket"
    kind = "a folder" if stat.S_ISDIR(mode) else kind
    needed = "a folder" if is_folder else "a regular file"
    msg = f"{target} is {kind}, and {needed} is written; choose another name"
    raise InvalidValueError(msg)


def keep_mode(old: Path, new: Path) -> None:
    """Copy the permissions of a file or folder, if it exists, to the one that replaces it."""
    with contextlib.suppress(FileNotFoundError):
        new.chmod(stat.S_IMODE(old.stat().st_mode))


def beside(target: Path) -> TemporaryFolder:
    """Create a temporary folder beside a file or folder, on the same file system.

    Raises
    ------
    FileNotFoundError
        The folder that is to contain the target does not exist.
    """
    if not target.parent.is_dir():
        number = errno.ENOENT
        raise FileNotFoundError(number, os.strerror(number), str(target.parent))
    return TemporaryFolder(str(target.parent), f".{target.name[:_NAME]}.", ".tmp")


def _flush(path: Path) -> None:
    if path.is_dir():
        for folder, _, files in os.walk(path, topdown=False):
            for name in files:
                _sync(Path(folder) / name)
            _sync(Path(folder))
    else:
        _sync(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        with contextlib.suppress(PermissionError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _replace(new: Path, target: Path) -> None:
    if not new.is_dir() or not target.is_dir():
        new.replace(target)
    elif not _exchange(new, target):  # which leaves the old folder in the temporary one
        old = target.with_name(f"{target.name}.old-{os.urandom(8).hex()}")
        target.rename(old)
        new.rename(target)
        shutil.rmtree(old)


def _exchange(one: Path, other: Path) -> bool:
    """Exchange the names of two folders at once; return whether the system can do so."""
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    if not rename(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_EXCHANGE)):
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS):
        return False
    raise OSError(number, os.strerror(number), str(other))
