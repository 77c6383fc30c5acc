"""Writing objects whole, under a condition."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ...errors import (
    MissingFileError,
    ObjectChangedError,
    RemoteError,
    StorePermissionError,
    UnsupportedError,
)
from ..objects import Version

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from ..objects import Buffer, Stream
    from .engine import ObstoreEngine

    Chunks: TypeAlias = list[memoryview]

MULTIPART = 32 << 20
"""A larger object is sent in parts, each of which is retried by itself."""

_CHUNK, _PARTS = 5 << 20, 9000  # bytes of a part, at least, and how many parts; S3 has 10,000
_TRIES = 4  # of a request whose outcome is not known
_PAUSE = 0.2  # seconds before the second, doubled before each further one


def chunks_of(data: Buffer | Sequence[Buffer]) -> Chunks:
    """Return views of bytes of the contiguous buffers."""
    parts: Any = data if isinstance(data, list | tuple) else [data]
    return [_bytes_of(part).toreadonly() for part in parts]


def _bytes_of(part: Any) -> memoryview:
    if isinstance(part, np.ndarray):  # whose dtype may be one that memoryview does not know
        part = np.ascontiguousarray(part).reshape(-1).view(np.uint8)
    return memoryview(part).cast("B")


def write(
    engine: ObstoreEngine, name: str, chunks: Chunks, replaces: Version | None, *, create: bool
) -> Version:
    """Write an object, which must not exist, or still be a version, or may be any."""
    size = sum(map(len, chunks))
    content: Any = chunks[0] if len(chunks) == 1 else chunks
    if replaces is None and (size > MULTIPART or not create):
        if create:
            _refuse_existing(engine, name)
        multipart = size > MULTIPART
        sent = _sent(content, chunks, multipart)
        chunk = _chunk_size(size)
        result = engine.put(name, sent, "overwrite", multipart=multipart, chunk_size=chunk)
    else:
        content = chunks[0] if len(chunks) == 1 else b"".join(chunks)
        result = _write_if(engine, name, content, _mode(engine, name, replaces))
    return _written(engine, name, size, result)


def write_stream(engine: ObstoreEngine, name: str, stream: Stream) -> Version:
    """Write an object in parts, of which a few are in memory at a time."""
    size = stream.nbytes
    raised: list[BaseException] = []

    def parts() -> Iterator[Buffer]:
        try:
            yield from stream
        except BaseException as error:
            raised.append(error)
            raise

    chunk = _chunk_size(size)
    try:
        result = engine.put(name, parts(), "overwrite", multipart=True, chunk_size=chunk)
    except Exception:
        if raised:  # as it was: the engine takes it for an error of its library
            raise raised[0] from None
        raise
    return _written(engine, name, size, result)


def _chunk_size(size: int) -> int:
    return max(_CHUNK, -(-size // _PARTS))


def _sent(content: Any, chunks: Chunks, multipart: bool) -> Any:
    """Return what obstore sends: it takes several buffers in parts only."""
    if multipart or len(chunks) == 1:
        return content
    return b"".join(chunks)


def _refuse_existing(engine: ObstoreEngine, name: str) -> None:
    """Raise if an object exists; requests in parts have no condition."""
    try:
        engine.head(name)
    except MissingFileError:
        return
    raise ObjectChangedError(f"{engine.location}/{name} exists already")


def _mode(engine: ObstoreEngine, name: str, replaces: Version | None) -> Any:
    if replaces is None:
        return "create"
    if not replaces.etag:
        raise UnsupportedError(
            f"cannot replace {engine.location}/{name}: the server gives no ETag, so that "
            "another writer's version cannot be told apart",
            reason="no conditional writes",
        )
    numbered = {"version": replaces.generation} if replaces.generation else {}
    return {"e_tag": replaces.etag, **numbered}


def _write_if(engine: ObstoreEngine, name: str, content: Any, mode: Any) -> dict[str, Any]:
    """Send an object under a condition, until it is known what became of it.

    After a request whose answer is lost, the next one fails if the lost one did not. Then the
    object is read: what it holds tells which.
    """
    for attempt in range(_TRIES):
        try:
            return engine.put(name, content, mode, multipart=False, retry=False)
        except (ObjectChangedError, MissingFileError) as error:
            found = _same(engine, name, content) if attempt else None
            if found is None:
                raise _conflict(engine, name, error) from None
            return {"e_tag": found.etag, "version": found.generation}
        except (UnsupportedError, StorePermissionError):
            raise
        except RemoteError:
            if attempt + 1 == _TRIES:
                raise
            time.sleep(_PAUSE * 2**attempt)
    raise AssertionError


def _conflict(engine: ObstoreEngine, name: str, error: Exception) -> ObjectChangedError:
    if isinstance(error, ObjectChangedError):
        return error
    return ObjectChangedError(f"{engine.location}/{name} was removed meanwhile")


def _same(engine: ObstoreEngine, name: str, content: Any) -> Version | None:
    """Return the version of an object if its content is this."""
    try:
        data, version = engine.read(name)
    except MissingFileError:
        return None
    return version if data == content else None


def _written(engine: ObstoreEngine, name: str, size: int, result: dict[str, Any]) -> Version:
    if result.get("e_tag"):
        return Version(size, result["e_tag"], time.time(), result.get("version") or "")
    return engine.head(name)
