"""Temporary folders that end with the process that made them."""

from __future__ import annotations

import contextlib
import fcntl
import glob
import os
import shutil
import weakref
from pathlib import Path

_DIGITS = 16


class TemporaryFolder:
    """A new folder, which ends with this process.

    The process holds a lock (`flock`) on it. Where that is gone the process has been killed,
    and the next temporary folder of the same parent, prefix and suffix removes the other.

    Parameters
    ----------
    parent : str
        The folder that contains it.
    prefix, suffix : str
        Of its name.

    Attributes
    ----------
    path : str
    """

    def __init__(self, parent: str, prefix: str, suffix: str = "") -> None:
        _remove_abandoned(parent, prefix, suffix)
        self.path = _new_path(parent, prefix, suffix)
        descriptor = _create_locked(self.path)
        ended = _new_path(parent, prefix, suffix)
        self._end = weakref.finalize(self, _remove, self.path, ended, descriptor, os.getpid())

    def remove(self) -> None:
        """Remove the folder and what it contains, once."""
        self._end()


def _new_path(parent: str, prefix: str, suffix: str) -> str:
    return str(Path(parent) / f"{prefix}{os.urandom(_DIGITS // 2).hex()}{suffix}")


def _remove_abandoned(parent: str, prefix: str, suffix: str) -> None:
    """Remove the folders of processes that have ended."""
    pattern = f"{glob.escape(prefix)}{'[0-9a-f]' * _DIGITS}{glob.escape(suffix)}"
    for path in Path(parent).glob(pattern):
        with contextlib.suppress(OSError):  # in use, being removed, or without locks
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(descriptor)


def _create_locked(path: str) -> int:
    """Create a folder; return a descriptor that holds a shared lock on it."""
    while True:
        Path(path).mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):  # removed before it was locked
            if os.path.samestat(Path(path).stat(), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)


def _remove(path: str, ended: str, descriptor: int, process: int) -> None:
    """Remove a folder under another name, in which late writers create no files."""
    try:
        if process == os.getpid():
            with contextlib.suppress(OSError):  # it has been removed
                Path(path).rename(ended)
                shutil.rmtree(ended)
    finally:
        os.close(descriptor)
