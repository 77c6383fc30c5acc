"""Files of a NumPack 0.x folder, opened without following links or blocking."""

from __future__ import annotations

import errno
import os
import stat
import struct
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO

from ....errors import CorruptStoreError, StoreError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

METADATA = "metadata.npkm"

LENGTH = struct.Struct("<I")
_TEXT_BYTES = 65_536  # far above the limit of any file system for a file name


def open_file(name: str, directory: int) -> int:
    """Open a regular file of a folder for reading and return its descriptor.

    Links are not followed, and opening a FIFO does not block.

    Raises
    ------
    OSError
        ``ELOOP`` for a link, ``EINVAL`` for anything else that is not a regular file.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    descriptor = os.open(name, flags, dir_fd=directory)
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    raise OSError(errno.EINVAL, "Not a regular file", name)


@dataclass(slots=True)
class Directory:
    """A folder held open, so that all files are read from it even if its path changes."""

    path: Path
    descriptor: int

    @classmethod
    @contextmanager
    def open(cls, path: Path, descriptor: int | None) -> Iterator[Directory]:
        """Open a folder, or use its descriptor if it is open already."""
        if descriptor is not None:
            yield cls(path, descriptor)
            return
        try:
            own_descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            raise damaged_error(path / METADATA, "it is missing") from None
        except OSError as error:
            raise unreadable_error(path / METADATA, error) from error
        try:
            yield cls(path, own_descriptor)
        finally:
            os.close(own_descriptor)

    def status(self, name: str) -> os.stat_result | None:
        """Return the status of a regular file, or None if no file has that name.

        Links are refused: they could expose files outside the folder, and an upgrade would
        move the link instead of the rows. FIFOs and devices are refused because opening them
        can block.
        """
        path = self.path / name
        try:
            status = os.stat(name, dir_fd=self.descriptor, follow_symlinks=False)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
                return None
            raise unreadable_error(path, error) from error
        if not stat.S_ISREG(status.st_mode):
            kind = "a link" if stat.S_ISLNK(status.st_mode) else "a folder, pipe or device"
            what = f"it is {kind}, not a regular file"
            raise damaged_error(path, what, "or put the file itself there")
        return status

    @contextmanager
    def file(self, name: str) -> Iterator[Source | None]:
        """Open a regular file for reading; yield None if no file has that name."""
        if self.status(name) is None:
            yield None
            return
        try:
            descriptor = open_file(name, self.descriptor)
        except OSError as error:  # replaced since the call of `status`
            raise unreadable_error(self.path / name, error) from error
        with os.fdopen(descriptor, "rb") as file:
            yield Source(file, self.path / name, os.fstat(descriptor).st_size)


@dataclass(slots=True)
class Source:
    """A file read sequentially, with checks against its length.

    Attributes
    ----------
    file : binary file
    path : Path
        Used in messages.
    left : int
        Bytes not read yet.
    """

    file: BinaryIO
    path: Path
    left: int

    def read(self, count: int) -> bytes:
        """Read exactly `count` bytes."""
        try:
            data = self.file.read(count) if count <= self.left else b""
        except OSError as error:
            raise unreadable_error(self.path, error) from error
        if len(data) != count:
            at = self.file.tell() - len(data)
            what = f"it ends at byte {at + self.left:,}, {count:,} bytes are needed at {at:,}"
            raise damaged_error(self.path, what)
        self.left -= count
        return data

    def unpack(self, layout: struct.Struct) -> tuple[Any, ...]:
        """Read and unpack a structure."""
        return layout.unpack(self.read(layout.size))

    def text(self, what: str) -> str:
        """Read a string that its length precedes; `what` describes it in messages."""
        (length,) = self.unpack(LENGTH)
        if length > _TEXT_BYTES:
            raise damaged_error(
                self.path, f"{what} has {length:,} bytes, more than {_TEXT_BYTES:,}"
            )
        data = self.read(length)
        try:
            return data.decode()
        except UnicodeDecodeError as error:
            raise damaged_error(
                self.path, f"{what}, {data[:64]!r}, is not valid UTF-8 ({error.reason})"
            ) from None


def unreadable_error(path: Path, error: OSError) -> StoreError:
    """Return the error for a file that cannot be opened or read."""
    msg = f"{path} of a store of NumPack 0.x cannot be read: {error.strerror}; make it readable"
    return StoreError(msg)


def damaged_error(path: Path, what: str, alternative: str = "") -> CorruptStoreError:
    """Return the error for a damaged file; `alternative` is another fix than a backup."""
    msg = f"{path} of a store of NumPack 0.x is damaged: {what}; restore it from a backup"
    return CorruptStoreError(f"{msg}, {alternative}" if alternative else msg)
