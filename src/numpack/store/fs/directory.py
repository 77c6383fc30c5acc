"""The store's folder held open, and complete reads and writes at an offset."""

from __future__ import annotations

import contextlib
import os
import stat
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from ...errors import StoreError
from .errors import store_error
from .syscalls import (
    Directory,
    OpenFile,
    close_in_background,
    has_name,
    open_at,
    read_small,
    size_of,
    unlink_regular,
)

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

DATA = "data"

_DATA = f"{DATA}/"
_IN_DATA = len(_DATA)
_CLAMPED_BYTES = 1 << 20  # longer reads are limited to the size of the file first
_SPARSE_BYTES = 16 << 20  # a file longer than this is sparse if its length exceeds
_SPARSE_FACTOR = 1000  # this many times its allocated bytes
_BLOCK = 512  # bytes, the unit of `st_blocks`


class Folder:
    """A store's folder held open, so that it remains the same one if its path changes.

    File names are relative to the folder; those that begin with ``data/`` are in its
    subfolder, which is held open too. All calls are relative to one of these two descriptors
    and follow no links: nothing outside is opened, created, renamed or removed, and only
    regular files are opened.

    The folder is closed with the last reference, so a thread that reads keeps it open while
    another closes the store.

    Parameters
    ----------
    path : str
        Absolute.

    Attributes
    ----------
    descriptor : int
    path : str
    lock_timeout : float or None
        Seconds to wait for the store's lock; None waits forever.
    has_extents : bool
        Whether the rows of arrays may be in several files, see `format.extents`: never in a
        folder on disk.
    has_row_files : bool
        Whether the rows of each array are a file, which can be opened.
    """

    __slots__ = ("_data", "_own", "descriptor", "lock_timeout", "path")
    has_extents: ClassVar[bool] = False
    has_row_files: ClassVar[bool] = True

    def __init__(self, path: str) -> None:
        self.path = path
        self.lock_timeout: float | None = None
        self._own = Directory(path)
        self._data: Directory | None = None
        self.descriptor = self._own.descriptor

    def is_removed(self) -> bool:
        """Return whether the folder has been deleted."""
        return os.fstat(self.descriptor).st_nlink == 0

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a regular file of the folder and return its descriptor.

        Raises
        ------
        MissingFileError
            No file has that name.
        CorruptStoreError
            It is a link, a folder, a FIFO or a device.
        StoreError
            It cannot be opened; `errno` holds the reason.
        """
        return self._open(open_at, name, flags)

    def read_start(self, name: str, limit: int) -> bytes:
        """Return up to `limit` bytes from the start of a file; raise errors as `open` does."""
        return self._read(read_small, name, limit)

    def open_file(self, name: str, flags: int = os.O_RDONLY) -> OpenFile:
        """Open a file as `open` does, as a context manager that returns the descriptor."""
        if flags == os.O_RDONLY:
            return self._read(OpenFile, name, flags)
        return self._open(OpenFile, name, flags)

    def new(self, name: str, *, like: str = "") -> int:
        """Create a file and open it for reading and writing.

        An existing regular file of that name was left by a writer that was killed. It is
        unlinked, not truncated, because another process may have mapped it.

        Parameters
        ----------
        name : str
        like : str, optional
            A file whose owner, group and permissions are copied as far as the system permits.

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
        """Remove a regular file if it exists; do not remove anything else."""
        try:
            parent, name_there = self._place(name)
            unlink_regular(parent.descriptor, name_there)
        except FileNotFoundError:
            pass
        except StoreError:
            raise
        except OSError as error:
            raise store_error(f"{self.path}/{name}", error) from error

    def unlink_large(self, name: str) -> None:
        """Remove a large file; its disk space is freed by a background thread."""
        with contextlib.suppress(FileNotFoundError):
            descriptor = self.open(name)
            try:
                self.unlink(name)
            finally:
                close_in_background(descriptor)

    def rename(self, name: str, new: str, *, to: Folder | None = None) -> None:
        """Rename a file, replacing any file that has the new name.

        Parameters
        ----------
        name, new : str
        to : Folder, optional
            The folder of the new name, by default this one. It must be on the same file system.
        """
        target = self if to is None else to
        try:
            before, old_name = self._place(name)
            after, new_name = target._place(new)  # noqa: SLF001 -- of this class
            os.rename(
                old_name, new_name, src_dir_fd=before.descriptor, dst_dir_fd=after.descriptor
            )
        except StoreError:
            raise
        except OSError as error:
            raise store_error(f"{target.path}/{new}", error) from error

    def link(self, name: str, new: str) -> None:
        """Link a file to a second name, replacing any file that has it.

        Raises
        ------
        OSError
            The file system has no hard links, for example.
        """
        self.unlink(new)
        (before, old_name), (after, new_name) = self._place(name), self._place(new)
        os.link(
            old_name,
            new_name,
            src_dir_fd=before.descriptor,
            dst_dir_fd=after.descriptor,
            follow_symlinks=False,
        )

    def has(self, name: str) -> bool:
        """Return whether anything has that name, including a dangling link."""
        try:
            parent, name = self._place(name)
            _status(parent, name)
        except FileNotFoundError:
            return False
        return True

    def is_named(self, descriptor: int, name: str) -> bool:
        """Return whether a name refers to an open file."""
        try:
            parent, name = self._place(name)
        except FileNotFoundError:
            return False
        return has_name(descriptor, parent.descriptor, name.encode())

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        parent, name = self._place(name)
        return _status(parent, name).st_size

    def identity(self, name: str) -> tuple[int, int]:
        """Return the device and inode of a file, which identify it whatever its name."""
        parent, name = self._place(name)
        status = _status(parent, name)
        return status.st_dev, status.st_ino

    def names(self, subfolder: str) -> list[str]:
        """List the names in ``data`` or in the folder itself; none if ``data`` is missing."""
        try:
            folder = self._open_data() if subfolder == DATA else self._own
        except FileNotFoundError:
            return []
        return os.listdir(folder.descriptor)  # noqa: PTH208 -- lists a descriptor

    def make_data(self) -> None:
        """Create the subfolder of the data files if it is missing.

        Raises
        ------
        CorruptStoreError
            Something that is not a folder has its name.
        """
        try:
            with contextlib.suppress(FileExistsError):
                os.mkdir(DATA, dir_fd=self.descriptor)
        except OSError as error:
            raise store_error(f"{self.path}/{DATA}", error, is_folder=True) from error
        self._open_data()

    def sync(self) -> None:
        """Flush the file names in the folder itself to the device."""
        os.fsync(self.descriptor)

    def sync_data(self) -> None:
        """Flush the names of the data files to the device, if their subfolder exists."""
        with contextlib.suppress(FileNotFoundError):
            os.fsync(self._open_data().descriptor)

    def sync_file(self, name: str) -> None:
        """Flush a file to the device, if it exists."""
        try:
            descriptor = self.open(name)
        except FileNotFoundError:
            return
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def read(self, name: str) -> bytes:
        """Return the content of a file."""
        descriptor = self.open(name)
        try:
            return read_between(descriptor, 0, size_of(descriptor))
        finally:
            os.close(descriptor)

    def _read(self, use: Callable[[int, str, int], T], name: str, option: int) -> T:
        """Read a file, if possible without opening its subfolder; else as `_open` does."""
        if self._data is None:
            try:
                return use(self.descriptor, name, option)
            except OSError as error:
                if error.errno is None:  # raised by a signal handler
                    raise
        return self._open(use, name, option)

    def _open(self, use: Callable[[int, str, int], T], name: str, flags: int) -> T:
        try:
            if name.startswith(_DATA):
                held = self._data or self._open_data()
                return use(held.descriptor, name[_IN_DATA:], flags)
            return use(self.descriptor, name, flags)
        except FileNotFoundError as error:
            if self._release_replaced_data():
                return self._open(use, name, flags)
            raise store_error(f"{self.path}/{name}", error) from None
        except StoreError:
            raise
        except OSError as error:
            if error.errno is None:  # raised by a signal handler
                raise
            raise store_error(f"{self.path}/{name}", error) from error

    def _place(self, name: str) -> tuple[Directory, str]:
        if name.startswith(_DATA):
            return self._open_data(), name[_IN_DATA:]
        return self._own, name

    def _open_data(self) -> Directory:
        """Return the subfolder of the data files; two threads may open it concurrently."""
        held = self._data
        if held is None:
            try:
                held = Directory(DATA, self.descriptor)
            except OSError as error:
                if error.errno is None:
                    raise
                raise store_error(f"{self.path}/{DATA}", error, is_folder=True) from error
            self._data = held
        return held

    def _release_replaced_data(self) -> bool:
        """Close the subfolder of the data files if another folder now has its name."""
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
            with contextlib.suppress(OSError):
                # Separate calls: changing the group may be permitted, but not the owner.
                os.fchown(descriptor, -1, wanted.st_gid)
                os.fchown(descriptor, wanted.st_uid, -1)
        if wanted.st_mode != found.st_mode:
            os.fchmod(descriptor, stat.S_IMODE(wanted.st_mode) & 0o777)


def has_hole(descriptor: int, start: int, end: int) -> bool:
    """Return whether a range of a file has holes; False where this cannot be determined."""
    try:
        return os.lseek(descriptor, start, os.SEEK_HOLE) < end
    except (OSError, AttributeError):  # SEEK_HOLE is not supported
        return False


def is_sparse(descriptor: int) -> bool:
    """Return whether a large file consists almost entirely of holes.

    The thresholds are high because a file system may compress files.
    """
    status = os.fstat(descriptor)
    return status.st_size > max(_SPARSE_BYTES, _SPARSE_FACTOR * _BLOCK * status.st_blocks)


def write_all(descriptor: int, data: Any, offset: int) -> int:
    """Write all of a buffer at `offset`, repeating short writes; return its length."""
    length = count = os.pwrite(descriptor, data, offset)
    rest = memoryview(data).cast("B")
    while count and length < len(rest):
        count = os.pwrite(descriptor, rest[length:], offset + length)
        length += count
    return length


def read_between(descriptor: int, start: int, end: int) -> bytes:
    """Read the bytes from `start` up to `end`, or to the end of the file."""
    parts = []
    if end - start > _CLAMPED_BYTES:  # `os.pread` allocates as many bytes as requested
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
