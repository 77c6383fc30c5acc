"""Object stores that obstore reaches: S3, Google Cloud, Azure, HTTP, folders and memory."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import MissingFileError, ObjectChangedError, RemoteError
from .objects import Version
from .urls import scheme_of, without_secrets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from .objects import Buffer, Bytes, Contents, Numbers, ObjectStore, Request


def open_obstore(source: Any, options: dict[str, Any]) -> ObjectStore:
    """Open a URL, or a store of obstore."""
    import obstore.store

    if not isinstance(source, str):
        return ObstoreEngine(source, f"{type(source).__name__}://", "", options)
    if scheme_of(source) == "memory":
        return ObstoreEngine(_memory(), without_secrets(source), source[9:].strip("/"), options)
    if scheme_of(source) == "file":
        options = {"mkdir": True, **options}
    store = obstore.store.from_url(source, **options)
    return ObstoreEngine(store, without_secrets(source).rstrip("/"), "", options)


_MEMORY: list[Any] = []


def _memory() -> Any:
    import obstore.store

    if not _MEMORY:
        _MEMORY.append(obstore.store.MemoryStore())
    return _MEMORY[0]


class ObstoreEngine:
    def __init__(self, store: Any, location: str, prefix: str, options: dict[str, Any]) -> None:
        self._store = store
        self.location = location
        self._prefix = f"{prefix}/" if prefix else ""
        self._options = options

    def _get(self, name: str, span: Any = None) -> tuple[Any, Version]:
        import obstore

        try:
            options = None if span is None else {"range": span}
            result = obstore.get(self._store, self._prefix + name, options=options)
            return result.bytes(), _version(result.meta)
        except FileNotFoundError:
            pass
        except obstore.exceptions.BaseError as error:
            raise RemoteError(str(error)) from None
        raise MissingFileError(f"{self.location}/{name} does not exist", file=name)

    def read(self, name: str) -> tuple[bytes, Version]:
        data, version = self._get(name)
        return bytes(data), version

    def read_tail(self, name: str, nbytes: int) -> tuple[bytes, Version]:
        data, version = self._get(name, {"suffix": nbytes})
        return bytes(data), version

    def read_ranges(
        self,
        name: str,
        starts: Numbers,
        ends: Numbers,
        out: Bytes,
        *,
        version: Version | None = None,
    ) -> Version:
        place = 0
        for start, end in zip(starts, ends, strict=True):
            if end > start:
                data, found = self._get(name, (int(start), int(end)))
                if version is not None and found != version:
                    raise ObjectChangedError(f"{self.location}/{name} was written again")
                version = found
                out[place : place + end - start] = np.frombuffer(data, np.uint8)
                place += end - start
        assert version is not None
        return version

    def read_many(self, requests: Sequence[Request]) -> Contents:
        return [
            bytes(self._get(name, None if start < 0 else (start, end))[0])
            for name, start, end in requests
        ]

    def write(
        self,
        name: str,
        data: Buffer | Sequence[Buffer],
        *,
        replaces: Version | None = None,
        create: bool = False,
    ) -> Version:
        import obstore

        mode: Any = "create" if create else "overwrite"
        if replaces is not None:
            mode = {"e_tag": replaces.etag}
        if isinstance(data, list | tuple):
            data = b"".join(bytes(memoryview(part)) for part in data)
        try:
            obstore.put(self._store, self._prefix + name, bytes(memoryview(data)), mode=mode)
        except (
            obstore.exceptions.AlreadyExistsError,
            obstore.exceptions.PreconditionError,
        ):
            raise ObjectChangedError(f"{self.location}/{name} was written by another") from None
        return _version(obstore.head(self._store, self._prefix + name))

    def list(self, prefix: str) -> Iterator[tuple[str, Version]]:
        import obstore

        for chunk in obstore.list(self._store, self._prefix + prefix):
            for meta in chunk:
                yield meta["path"].removeprefix(self._prefix), _version(meta)

    def remove(self, names: Iterable[str]) -> None:
        import obstore

        for name in names:
            try:
                obstore.delete(self._store, self._prefix + name)
            except FileNotFoundError:
                continue

    def to_pickle(self) -> tuple[str, dict[str, Any]]:
        return self.location, {}


def _version(meta: Any) -> Version:
    return Version(meta["size"], meta["e_tag"] or "", meta["last_modified"].timestamp())
