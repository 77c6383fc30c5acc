"""An object store that is a folder, which counts requests and can misbehave.

It needs no library. `install` makes stores open it for URLs of the scheme ``folder``.
"""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from numpack.errors import MissingFileError, ObjectChangedError
from numpack.object_store import Version
from numpack.object_store.translation import RangeError
from numpack.store.remote import packages

SCHEME = "folder://"


class FolderStore:
    """The files of a folder as objects.

    Attributes
    ----------
    requests : list of tuple
        Of what was asked for: kind, name, number of ranges, bytes.
    alter : callable
        Takes the name and the bytes of each answer, and returns the bytes to answer with.
    """

    opened: list[FolderStore] = []  # noqa: RUF012 -- cleared by `install`

    def __init__(self, url: str, options: Any) -> None:
        self.location = url
        self.options = dict(options or {})
        self.requests: list[tuple[str, str, int, int]] = []
        self.alter: Callable[[str, bytes], bytes] = lambda _, content: content
        self._folder = Path(url.removeprefix(SCHEME))
        self._lock = threading.Lock()
        FolderStore.opened.append(self)

    def read(self, name: str) -> tuple[bytes, Version]:
        content, version = self._read(name)
        return self._answer("read", name, 1, content), version

    def read_tail(self, name: str, nbytes: int) -> tuple[bytes, Version]:
        content, version = self._read(name)
        return self._answer("tail", name, 1, content[-nbytes:]), version

    def read_ranges(
        self, name: str, starts: Any, ends: Any, out: Any, *, version: Version | None = None
    ) -> Version:
        content, found = self._read(name)
        if version is not None and found != version:
            raise ObjectChangedError(f"{self.location}/{name} is another version")
        ranges = list(zip(starts, ends, strict=True))
        assert all(0 <= start < end for start, end in ranges)
        if any(end > len(content) for _, end in ranges):
            raise RangeError(f"{self.location}/{name} ends before the range that was asked for")
        parts = b"".join(content[start:end] for start, end in ranges)
        out[:] = np.frombuffer(self._answer("ranges", name, len(ranges), parts), np.uint8)
        return found

    def read_many(self, requests: Any) -> list[bytes]:
        return [
            self._answer(
                "many",
                name,
                1,
                self._read(name)[0][slice(start, end) if end >= 0 else slice(None)],
            )
            for name, start, end in requests
        ]

    def to_pickle(self) -> tuple[str, dict[str, Any]]:
        return self.location, {
            key: value for key, value in self.options.items() if "secret" not in key
        }

    def bytes_of(self, kind: str) -> int:
        """Return the bytes that were answered to requests of a kind."""
        return sum(nbytes for each, _, _, nbytes in self.requests if each == kind)

    def _read(self, name: str) -> tuple[bytes, Version]:
        path = self._folder / name
        try:
            content = path.read_bytes()
        except FileNotFoundError:
            raise MissingFileError(f"{self.location}/{name} is missing", file=name) from None
        etag = hashlib.blake2b(content, digest_size=8).hexdigest()
        return content, Version(len(content), etag, path.stat().st_mtime)

    def _answer(self, kind: str, name: str, count: int, content: bytes) -> bytes:
        with self._lock:
            self.requests.append((kind, name, count, len(content)))
        return self.alter(name, content)


def install(monkeypatch: Any = None) -> None:
    """Let stores be opened by ``folder://`` and a path; for good without a `monkeypatch`."""
    FolderStore.opened.clear()
    if monkeypatch is None:
        packages.open_object_store = FolderStore
    else:
        monkeypatch.setattr(packages, "open_object_store", FolderStore)


def url_of(path: str) -> str:
    """Return the URL of a folder."""
    return SCHEME + os.path.abspath(path)
