"""`PackageFolder`: what the store's other modules see of the files in a package."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from ...errors import MissingFileError, StoreError
from ..fs.directory import DATA, Folder
from ..fs.unnamed import UnnamedFile, open_content

if TYPE_CHECKING:
    from ..fs.syscalls import OpenFile
    from .archive import Archive

_SMALL = ".sum"
_LIMIT = 1 << 33  # bytes of checksums, of rows of 2 PiB


class PackageFolder(Folder):
    """The files in a package, of which those without rows are read.

    Parameters
    ----------
    archive : Archive
    """

    __slots__ = ("archive",)
    has_row_files = False

    def __init__(self, archive: Archive) -> None:
        self.archive = archive
        self.path = archive.path
        self.lock_timeout = None
        self.descriptor = archive.descriptor

    def is_removed(self) -> bool:
        """Return False: the open file stays readable."""
        return False

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open checksums; raise `MissingFileError` for any other file."""
        return open_content(self._content(name, flags))

    def open_file(self, name: str, flags: int = os.O_RDONLY) -> OpenFile:
        """Open a file as `open` does."""
        return cast("OpenFile", UnnamedFile(self.open(name, flags)))

    def read_start(self, name: str, limit: int) -> bytes:
        """Return up to `limit` bytes from the start of a file."""
        return self._content(name, os.O_RDONLY)[:limit]

    def has(self, name: str) -> bool:
        """Return whether there is a file of that name."""
        return self.archive.directory.find(name) is not None

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        return self.archive.member(name).size

    def names(self, subfolder: str) -> list[str]:
        """List the names in ``data`` or in the folder itself."""
        prefix = f"{DATA}/" if subfolder == DATA else ""
        names = self.archive.names()
        return [name.removeprefix(prefix) for name in names if ("/" in name) == bool(prefix)]

    def _content(self, name: str, flags: int) -> bytes:
        if flags != os.O_RDONLY:
            raise StoreError(f"the package {self.path} cannot be written")
        if name.endswith(_SMALL):
            return self.archive.content(name, _LIMIT)
        raise MissingFileError(f"the package {self.path} has no file {name}", file=name)
