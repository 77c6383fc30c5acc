"""A local folder as an object store."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING, Any

from ...errors import MissingFileError, ObjectChangedError
from .engine import ObstoreEngine

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ..objects import Version
    from ..reading import Span


class FolderEngine(ObstoreEngine):
    """The files of a folder, which is made when the first one is written.

    obstore does not replace a file under a condition. That is done here, under an exclusive
    lock of the folder, which writers on other machines may not see.
    """

    def __init__(self, stores: Any, folder: Path, location: str) -> None:
        super().__init__(None, location, pickled=(location, {}))
        self._stores = stores
        self._folder = folder

    def _open(self, *, make: bool = False) -> bool:
        """Open the folder, unless it does not exist."""
        if self._store is None and (make or self._folder.is_dir()):
            self._store = self.call(
                "open", "", lambda: self._stores.LocalStore(self._folder, mkdir=make)
            )
        return self._store is not None

    def _fetch(self, name: str, span: Span, *, exact: bool = True) -> tuple[Any, Version]:
        if not self._open():
            where = f"{self.location}/{name}"
            raise MissingFileError(f"{where} does not exist", file=where)
        return super()._fetch(name, span, exact=exact)

    def put(
        self,
        name: str,
        data: Any,
        mode: Any,
        *,
        multipart: bool,
        retry: bool = True,
        **parts: int,
    ) -> dict[str, str | None]:
        """Write a file under a temporary name and rename it."""
        self._open(make=True)
        if not isinstance(mode, dict):
            return super().put(name, data, mode, multipart=multipart, retry=retry, **parts)
        descriptor = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self.head(name).etag != mode["e_tag"]:
                raise ObjectChangedError(f"{self.location}/{name} was written by another")
            return super().put(name, data, "overwrite", multipart=False)
        finally:
            os.close(descriptor)

    def head(self, name: str) -> Version:
        """Return the version of a file."""
        if not self._open():
            raise MissingFileError(f"{self.location}/{name} does not exist", file=name)
        return super().head(name)

    def list(self, prefix: str) -> Iterator[tuple[str, Version]]:
        """Yield the files whose names begin with `prefix`."""
        if self._open():
            yield from super().list(prefix)

    def remove(self, names: Any) -> None:
        """Remove files; those that do not exist are no error."""
        if self._open():
            super().remove(names)
