"""The system calls of the store: a folder held open, whole reads and writes at an offset."""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from typing import TYPE_CHECKING, Any, TypeVar

from ...errors import (
    CorruptStoreError,
    MissingFileError,
    NotAStoreError,
    StoreError,
    StoreMemoryError,
    StorePermissionError,
)
from .syscalls import Directory, OpenFile, close_in_background, open_at, size_of, unlink_regular

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

DATA = "data"

_DATA = f"{DATA}/"
_IN_DATA = len(_DATA)
_NO_FILE = (errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO, errno.ENODEV, errno.EEXIST)
_DENIED = (errno.EACCES, errno.EPERM)
_MANY_OPEN = (errno.EMFILE, errno.ENFILE)
_CLAMPED_BYTES = 1 << 20  # that are read without asking for the size of the file first
_SPARSE_BYTES = 16 << 20  # of a file; a larger one has no more than
_SPARSE = 1000  # times the bytes that it takes on the disk
_BLOCK = 512  # bytes, in which the system counts what a file takes on the disk


class Folder:
    """A store's folder held open, so that it stays the same one whatever becomes of its path.

    Names of files are those of the folder or, behind ``data/``, of that folder in it, which is
    held open too. Every call is relative to one of the two and follows no link: nothing
    outside of them is opened, made, renamed or removed, and only regular files are opened.

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

    __slots__ = ("_data", "_own", "descriptor", "lock_timeout", "path")

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock_timeout: float | None = None
        self._own = Directory(path)
        self._data: Directory | None = None
        self.descriptor = self._own.descriptor

    def is_removed(self) -> bool:
        """Tell whether the folder has been deleted."""
        return os.fstat(self.descriptor).st_nlink == 0

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a regular file of the folder; give its descriptor.

        Raises
        ------
        MissingFileError
            There is none of that name.
        CorruptStoreError
            It is a link, a folder, a FIFO or a device.
        StoreError
            It cannot be opened; `errno` says why.
        """
        return self._opened(open_at, name, flags)

    def open_file(self, name: str, flags: int = os.O_RDONLY) -> OpenFile:
        """Open a file as `open` does, for a ``with`` statement, which gets its descriptor."""
        return self._opened(OpenFile, name, flags)

    def new(self, name: str, *, like: str = "") -> int:
        """Make a file, and open it to read and to write.

        A regular file of that name is one that a writer left that was killed: it is unlinked,
        not truncated, because no file that someone may have mapped ever is.

        Parameters
        ----------
        name : str
        like : str, optional
            A file whose owner, group and permissions it gets as far as the system allows it.

        Raises
        ------
        CorruptStoreError
            A link, a folder, a FIFO or a device has the name.
        """
        self.unlink(name)
        descriptor = self.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        if like:
            with contextlib.suppress(OSError):
                self._make_like(descriptor, like)
        return descriptor

    def unlink(self, name: str) -> None:
        """Remove a regular file, if it is there; what is none is left alone."""
        try:
            parent, name_there = self._place(name)
            unlink_regular(parent.descriptor, name_there)
        except FileNotFoundError:
            pass
        except StoreError:
            raise
        except OSError as error:
            raise store_error(f"{self.path}/{name}", error, name) from error

    def unlink_large(self, name: str) -> None:
        """Remove a large file; its room is given back a little later."""
        with contextlib.suppress(FileNotFoundError):
            descriptor = self.open(name)
            try:
                self.unlink(name)
            finally:
                close_in_background(descriptor)

    def rename(self, name: str, new: str) -> None:
        """Give a file a new name, in place of what has it."""
        try:
            os.rename(name, new, src_dir_fd=self.descriptor, dst_dir_fd=self.descriptor)
        except OSError as error:
            raise store_error(f"{self.path}/{new}", error, new) from error

    def has(self, name: str) -> bool:
        """Tell whether there is anything of that name, a link that leads nowhere too."""
        try:
            parent, name = self._place(name)
            _status(parent, name)
        except FileNotFoundError:
            return False
        return True

    def size(self, name: str) -> int:
        """Give the bytes of a file."""
        parent, name = self._place(name)
        return _status(parent, name).st_size

    def identity(self, name: str) -> tuple[int, int]:
        """Give what tells a file from all others, whatever its name: device and inode."""
        parent, name = self._place(name)
        status = _status(parent, name)
        return status.st_dev, status.st_ino

    def names(self, subfolder: str) -> list[str]:
        """List what is in `data`, or in the folder itself; nothing if there is none."""
        try:
            held = self._opened_data() if subfolder == DATA else self._own
        except FileNotFoundError:
            return []
        return os.listdir(held.descriptor)  # noqa: PTH208 -- paths are no use here

    def make_data(self) -> None:
        """Make the folder of the data files, if it is missing.

        Raises
        ------
        CorruptStoreError
            Something else has its name.
        """
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(DATA, dir_fd=self.descriptor)
        except OSError as error:
            raise store_error(f"{self.path}/{DATA}", error, DATA) from error
        self._opened_data()

    def sync(self) -> None:
        """Flush the names of the files in the folder itself to the device."""
        os.fsync(self.descriptor)

    def sync_data(self) -> None:
        """Flush the names of the data files to the device, if there is a folder of them."""
        with contextlib.suppress(FileNotFoundError):
            os.fsync(self._opened_data().descriptor)

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
            return read_between(descriptor, 0, size_of(descriptor))
        finally:
            os.close(descriptor)

    def _opened(self, use: Callable[[int, str, int], T], name: str, flags: int) -> T:
        try:
            if name.startswith(_DATA):
                held = self._data or self._opened_data()
                return use(held.descriptor, name[_IN_DATA:], flags)
            return use(self.descriptor, name, flags)
        except FileNotFoundError as error:
            if self._has_other_data():
                return self._opened(use, name, flags)
            raise store_error(f"{self.path}/{name}", error, name) from None
        except StoreError:
            raise
        except OSError as error:
            if error.errno is None:  # raised by a signal handler, say
                raise
            raise store_error(f"{self.path}/{name}", error, name) from error

    def _place(self, name: str) -> tuple[Directory, str]:
        if name.startswith(_DATA):
            return self._opened_data(), name[_IN_DATA:]
        return self._own, name

    def _opened_data(self) -> Directory:
        """Give the folder of the data files; another thread may open it at the same time."""
        held = self._data
        if held is None:
            try:
                held = Directory(DATA, self.descriptor)
            except OSError as error:
                if error.errno is None:
                    raise
                raise store_error(f"{self.path}/{DATA}", error, DATA) from error
            self._data = held
        return held

    def _has_other_data(self) -> bool:
        """Let go of the folder of the data files if another has its name by now."""
        held = self._data
        if held is None:
            return False
        try:
            found = _status(self._own, DATA)
        except FileNotFoundError:
            return False
        if os.path.samestat(found, os.fstat(held.descriptor)):
            return False
        self._data = None
        return True

    def _make_like(self, descriptor: int, name: str) -> None:
        wanted, found = _status(self._own, name), os.fstat(descriptor)
        if not stat.S_ISREG(wanted.st_mode):
            return
        if (wanted.st_uid, wanted.st_gid) != (found.st_uid, found.st_gid):
            with contextlib.suppress(
                OSError
            ):  # the group may be changed where the owner may not
                os.fchown(descriptor, -1, wanted.st_gid)
                os.fchown(descriptor, wanted.st_uid, -1)
        if wanted.st_mode != found.st_mode:
            os.fchmod(descriptor, stat.S_IMODE(wanted.st_mode) & 0o777)


def store_error(path: str, error: OSError, name: str | None = None) -> StoreError:
    """Make the store's error of the operating system's.

    Parameters
    ----------
    path : str
    error : OSError
    name : str, optional
        Of the file, as the store names it.

    Returns
    -------
    StoreError
        With the `errno` of the system's. It is damage only if a file is missing, or is none.

    Raises
    ------
    OSError
        `error` itself, if it is not the system's.
    """
    number = error.errno
    if number is None:  # not the system's: a signal handler may raise a `TimeoutError`, say
        raise error
    made: StoreError
    if number == errno.ENOENT:
        made = MissingFileError(
            f"the file {path} is missing; restore it from a backup", file=path
        )
    elif number in _NO_FILE or (number == errno.ENOTDIR and name == DATA):
        kind = "folder" if name == DATA else "regular file"
        made = CorruptStoreError(
            f"{path} is damaged: it is no {kind}, and a store holds no links, pipes or "
            "devices; restore it from a backup, or have it made by someone you trust"
        )
    elif number in _DENIED:
        made = StorePermissionError(
            f"this user is not permitted to use {path} ({error.strerror}); change its "
            "permissions, or open the store with mode='r' if it is only to be read"
        )
    elif number in _MANY_OPEN:
        made = StoreError(
            f"{path} cannot be opened: too many files are open; close some, or raise the limit "
            "(ulimit -n)"
        )
    elif number == errno.ENOMEM:
        made = StoreMemoryError(f"there is too little memory to map {path}; load fewer rows")
    else:
        made = StoreError(f"{path} cannot be used: {error.strerror or error}; try it again")
    made.errno = number
    return made


def too_large_error(path: str, nbytes: int) -> StoreMemoryError:
    """Make the error for what does not fit in memory."""
    return StoreMemoryError(
        f"{nbytes:,} bytes of {path} do not fit in memory; load it with lazy=True, or some of "
        "its rows with getitem or stream_load"
    )


def removed_error(path: str) -> NotAStoreError:
    """Make the error for a store whose folder is gone."""
    return NotAStoreError(f"the store {path} was removed; open another")


def has_hole(descriptor: int, start: int, end: int) -> bool:
    """Tell whether bytes of a file were never written, as far as the system tells."""
    try:
        return os.lseek(descriptor, start, os.SEEK_HOLE) < end
    except (OSError, AttributeError):  # the system, or its file system, does not tell
        return False


def is_sparse(descriptor: int) -> bool:
    """Tell whether next to nothing of a large file is on the disk.

    Bytes that a file system compresses may look like that too, unless they are many.
    """
    status = os.fstat(descriptor)
    return status.st_size > max(_SPARSE_BYTES, _SPARSE * _BLOCK * status.st_blocks)


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
    if end - start > _CLAMPED_BYTES:  # as many are allocated as are asked for
        end = min(end, size_of(descriptor))
    while start < end:
        part = os.pread(descriptor, end - start, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return b"".join(parts)


def _status(folder: Directory, name: str) -> os.stat_result:
    return os.stat(name, dir_fd=folder.descriptor, follow_symlinks=False)
