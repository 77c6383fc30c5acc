"""`Archive`: an open package, and where its files are in it."""

from __future__ import annotations

import os
import stat
import sys
from typing import TYPE_CHECKING

from ...errors import (
    CorruptStoreError,
    MissingFileError,
    NotAStoreError,
    StoreError,
    StoreNotFoundError,
    UnsupportedError,
)
from ..fs.directory import read_between
from ..fs.errors import store_error
from .layout import (
    ALIGNMENT,
    LOCAL,
    LOCAL_SIGNATURE,
    STORED,
    TAIL_BYTES,
    Member,
    read_directory,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from ..format.log.state import Entry

_WINDOW_BYTES = TAIL_BYTES // 4  # as local files are read quickly
_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY


class Archive:
    """An open package.

    Parameters
    ----------
    path : str
        Absolute.
    descriptor : int, optional
        Of the file, which is closed with this object; by default it is opened.

    Attributes
    ----------
    path : str
    descriptor : int
    size : int
    directory : Directory

    Raises
    ------
    StoreNotFoundError, NotAStoreError, StorePermissionError
        There is no such file, it is not regular, or it cannot be read.
    CorruptStoreError
        It is no package, or is damaged.
    """

    def __init__(self, path: str, descriptor: int = -1) -> None:
        self.path = path
        self.descriptor = descriptor if descriptor >= 0 else _open(path)
        status = os.fstat(self.descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise NotAStoreError(f"{path} is no regular file; pass the path of a package")
        self.size = status.st_size
        self._tail_start = max(0, self.size - _WINDOW_BYTES)
        self._tail = read_between(self.descriptor, self._tail_start, self.size)
        try:
            self.directory, self._end = read_directory(self._tail, self.size, self._read)
        except ValueError as error:
            self.damaged(str(error))

    def __del__(self, _is_exiting: Callable[[], bool] = sys.is_finalizing) -> None:
        """Close the file; at exit the system does."""
        if _is_exiting():  # modules such as os may be gone
            return
        descriptor = getattr(self, "descriptor", -1)
        if descriptor >= 0:
            os.close(descriptor)

    def require_stored(self) -> None:
        """Check that nothing is compressed.

        Raises
        ------
        UnsupportedError
            Something is.
        """
        if self.directory.is_compressed:
            raise compressed_error(self.path)

    def names(self) -> list[str]:
        """Return the names of the files in it."""
        return self.directory.names()

    def member(self, name: str) -> Member:
        """Return where a file is.

        Raises
        ------
        MissingFileError
            There is none of this name.
        """
        found = Member.of(self.directory, name)
        if found is None:
            msg = f"the file {name} is missing in the package {self.path}; pack the store again"
            raise MissingFileError(msg, file=name)
        return found

    def content(self, name: str, limit: int) -> bytes:
        """Return the content of a file that is not compressed.

        Raises
        ------
        CorruptStoreError
            It has more than `limit` bytes.
        """
        member = self.member(name)
        if member.size > limit or member.method != STORED:
            self.damaged(f"{name} has {member.size:,} bytes, or is compressed")
        return self._read(member.start, member.start + member.size)

    def rows(self, entry: Entry) -> int:
        """Return the offset of an array's rows.

        Raises
        ------
        CorruptStoreError, MissingFileError
            They are not as the log says.
        UnsupportedError
            They are compressed.
        """
        name = entry.data_file
        member = self.member(name)
        if member.method != STORED:
            raise compressed_error(self.path)
        if member.size != entry.nbytes:
            self.damaged(f"{name} has {member.size:,} bytes, and the log says {entry.nbytes:,}")
        if member.start % ALIGNMENT or entry.dropped or entry.writable:
            self.damaged(f"the rows in {name} are not as numpack.pack writes them")
        self.check_header(name, member)
        return member.start

    def check_header(self, name: str, member: Member) -> None:
        """Check that the header of a member agrees with the directory."""
        text = name.encode()
        data = os.pread(self.descriptor, LOCAL.size + len(text), member.header)
        if len(data) == LOCAL.size + len(text) and data[LOCAL.size :] == text:
            signature, _, flags, method, *_, length, extra = LOCAL.unpack_from(data)
            found = signature, method, member.header + len(data) + extra, length, flags & ~0x800
            if found == (LOCAL_SIGNATURE, member.method, member.start, len(text), 0):
                return
        self.damaged(f"the header of {name} does not agree with its directory")

    def damaged(self, what: str) -> NoReturn:
        """Raise the error for a damaged package."""
        raise CorruptStoreError(
            f"{self.path} is not a package, or is damaged: {what}; copy it again, or pack the "
            "store again"
        )

    def _read(self, start: int, end: int) -> bytes:
        if start >= self._tail_start:
            return self._tail[start - self._tail_start : end - self._tail_start]
        return read_between(self.descriptor, start, end)


def compressed_error(path: str) -> UnsupportedError:
    """Return the error for a package that is not read in place."""
    reason = f"{path} is compressed, and compressed rows cannot be mapped"
    fix = f"unpack it: numpack.unpack({path!r})"
    return UnsupportedError(f"{reason}; {fix}", reason=reason, fix=fix)


def _open(path: str) -> int:
    try:
        return os.open(path, _FLAGS)
    except (FileNotFoundError, NotADirectoryError):
        msg = f"there is no package at {path}; numpack.pack(store, path) makes one"
        raise StoreNotFoundError(msg) from None
    except OSError as error:
        found: StoreError = store_error(path, error)
        raise found from error
