"""`RemoteFolder`: what the store's other modules see of a store's folder in an object store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, cast

from ...errors import MissingFileError
from ..fs.directory import Folder
from ..fs.unnamed import UnnamedFile, open_content

if TYPE_CHECKING:
    from ...object_store import ObjectStore
    from ..fs.syscalls import OpenFile

_SMALL = (".sum", ".del")  # checksums, and deleted rows


class SmallFiles:
    """The small files of a store's folder, which are fetched once and kept in memory.

    It has those methods of a `Folder` that read such files.

    Parameters
    ----------
    store : ObjectStore

    Attributes
    ----------
    path : str
        The store's URL, without secrets.
    """

    def __init__(self, store: ObjectStore) -> None:
        self.path = store.location
        self._store = store
        self._contents: dict[str, bytes] = {}

    def open(self, name: str) -> int:
        """Open a file as one without a name."""
        return open_content(self.content(name))

    def read_start(self, name: str, limit: int) -> bytes:
        """Return up to `limit` bytes from the start of a file."""
        return self.content(name)[:limit]

    def content(self, name: str) -> bytes:
        """Return the content of a file; raise `MissingFileError` if there is none."""
        if name not in self._contents:
            try:
                self._contents[name] = self._store.read_many([(name, -1, -1)])[0]
            except MissingFileError:
                msg = f"the file {self.path}/{name} is missing; publish the store again"
                raise MissingFileError(msg, file=name) from None
        return self._contents[name]


class RemoteFolder(Folder):
    """A store's folder, of which the log is local and the small files are fetched.

    Parameters
    ----------
    folder : str
        A local folder, which has the log. It may be removed afterwards.
    store : ObjectStore
    """

    __slots__ = ("_small",)

    has_extents = True
    has_row_files = False

    def __init__(self, folder: str, store: ObjectStore) -> None:
        super().__init__(folder)
        self.path = store.location
        self._small = SmallFiles(store)

    def open(self, name: str, flags: int = os.O_RDONLY) -> int:
        """Open a file; raise `MissingFileError` for those that have rows."""
        return self._small.open(name) if name.endswith(_SMALL) else super().open(name, flags)

    def open_file(self, name: str, flags: int = os.O_RDONLY) -> OpenFile:
        """Open a file as `open` does."""
        if name.endswith(_SMALL):
            return cast("OpenFile", UnnamedFile(self._small.open(name)))
        return super().open_file(name, flags)

    def read_start(self, name: str, limit: int) -> bytes:
        """Return up to `limit` bytes from the start of a file."""
        if name.endswith(_SMALL):
            return self._small.read_start(name, limit)
        return super().read_start(name, limit)

    def size(self, name: str) -> int:
        """Return the size of a file in bytes."""
        if name.endswith(_SMALL):
            return len(self._small.content(name))
        return super().size(name)
