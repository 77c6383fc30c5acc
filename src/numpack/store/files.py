"""The system calls of the store: a folder held open, whole reads and writes at an offset."""

from __future__ import annotations

import contextlib
import os
from typing import Any

from ..errors import NotAStoreError
from ._files import Opened, close_apart, open_at


class Folder:
    """A folder held open, so that it stays the same one whatever becomes of its path.

    It is closed when the last reference is gone: a thread that reads keeps it open beside
    another that closes the store.

    Parameters
    ----------
    path : str
        Absolute.

    Attributes
    ----------
    descriptor : int
    path : str
    lock_timeout : float or None
        Seconds to wait for the store's lock; ``None``: for ever.
    """

    __slots__ = ("descriptor", "lock_timeout", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock_timeout: float | None = None
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __del__(self) -> None:
        """Close the folder."""
        if self.descriptor >= 0:
            os.close(self.descriptor)

    def is_removed(self) -> bool:
        """Tell whether the folder has been deleted."""
        return os.fstat(self.descriptor).st_nlink == 0

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a file of the folder; give its descriptor."""
        return open_at(self.descriptor, name, flags)

    def opened(self, name: str, flags: int = os.O_RDONLY) -> Opened:
        """Open a file of the folder, for a ``with`` statement, which gets its descriptor."""
        return Opened(self.descriptor, name, flags)

    def unlink(self, name: str) -> None:
        """Remove a file, if it is there."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name, dir_fd=self.descriptor)

    def unlink_large(self, name: str) -> None:
        """Remove a large file; its room is given back a little later."""
        with contextlib.suppress(FileNotFoundError):
            descriptor = self.open(name)
            try:
                self.unlink(name)
            finally:
                close_apart(descriptor)

    def rename(self, name: str, new: str) -> None:
        """Give a file a new name, in place of what has it."""
        os.rename(name, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)

    def has(self, name: str) -> bool:
        """Tell whether there is a file of that name."""
        return os.access(name, os.F_OK, dir_fd=self.descriptor)

    def size(self, name: str) -> int:
        """Give the bytes of a file."""
        return os.stat(name, dir_fd=self.descriptor).st_size

    def names(self, subfolder: str) -> list[str]:
        """List what is in a subfolder; nothing if there is none."""
        try:
            descriptor = self.open(subfolder, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return []
        try:
            return os.listdir(descriptor)  # noqa: PTH208 -- paths are no use here
        finally:
            os.close(descriptor)

    def sync(self, *subfolders: str) -> None:
        """Flush the names of files to the device, of this folder and of some below it."""
        os.fsync(self.descriptor)
        for name in subfolders:
            self.sync_file(name)

    def sync_file(self, name: str) -> None:
        """Flush one file to the device, if it is there."""
        try:
            descriptor = self.open(name)
        except FileNotFoundError:
            return
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, name: str) -> bytes:
        """Read a file."""
        descriptor = self.open(name)
        try:
            return read_between(descriptor, 0, os.fstat(descriptor).st_size)
        finally:
            os.close(descriptor)


def removed(path: str) -> NotAStoreError:
    """Make the error for a store whose folder is gone."""
    return NotAStoreError(f"the store {path} was removed; open another")


def write_all(descriptor: int, data: Any, offset: int) -> int:
    """Write a buffer at `offset`, in one call unless the system cuts it; give its length."""
    length = count = os.pwrite(descriptor, data, offset)
    rest = memoryview(data).cast("B")
    while count and length < len(rest):
        count = os.pwrite(descriptor, rest[length:], offset + length)
        length += count
    return length


def read_between(descriptor: int, start: int, end: int) -> bytes:
    """Read the bytes from `start` up to `end`, or to the end of the file."""
    parts = []
    while start < end:
        part = os.pread(descriptor, end - start, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return b"".join(parts)
