"""An object store in memory, which stops where a test wants; reading published stores."""

from __future__ import annotations

import itertools
import json
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from numpack.errors import MissingFileError, ObjectChangedError
from numpack.object_store.objects import Version
from numpack.store.format.extents import ObjectMap
from numpack.store.format.log.past import newest_catalog
from numpack.store.format.log.state import Catalog, Entry

BLOCK = 1 << 20


class KilledError(BaseException):
    """The process of the publisher ends here."""


class MemoryObjects:
    """An `ObjectStore` in memory, whose clock ticks with each write.

    Attributes
    ----------
    contents : dict of str to bytes
    calls : list of tuple
        Kind and name of all requests.
    before, after : callable
        Called with kind and name before, and after, each request is carried out.
    """

    location = "memory://objects"

    def __init__(self) -> None:
        self.contents: dict[str, bytes] = {}
        self.versions: dict[str, Version] = {}
        self.calls: list[tuple[str, str]] = []
        self.written: dict[str, int] = {}
        self.before: Callable[[str, str], None] = lambda kind, name: None
        self.after: Callable[[str, str], None] = lambda kind, name: None
        self._clock = itertools.count(1)
        self._lock = threading.RLock()

    def copy(self) -> MemoryObjects:
        """Return another store with the same objects."""
        made = MemoryObjects()
        made.contents, made.versions = dict(self.contents), dict(self.versions)
        made._clock = itertools.count(max(map(int, self._times()), default=0) + 1)
        return made

    def stop_at(self, number: int, what: str = "before") -> None:
        """Raise `KilledError` at a request of that number, and at all later ones."""
        count = itertools.count()

        def stop(kind: str, name: str) -> None:
            if next(count) >= number:
                raise KilledError

        setattr(self, what, stop)

    @property
    def bytes_written(self) -> int:
        return sum(self.written.values())

    def read(self, name: str) -> tuple[bytes, Version]:
        return self._request("read", name, lambda: (self._found(name), self.versions[name]))

    def read_tail(self, name: str, nbytes: int) -> tuple[bytes, Version]:
        content, version = self.read(name)
        return content[-nbytes:], version

    def read_many(self, requests: Iterable[tuple[str, int, int]]) -> list[bytes]:
        return [
            self.read(name)[0][slice(start, end) if start >= 0 else slice(None)]
            for name, start, end in requests
        ]

    def write(
        self, name: str, data: Any, *, replaces: Any = None, create: bool = False
    ) -> Version:
        is_buffer = isinstance(data, bytes | bytearray | memoryview | np.ndarray)
        if not is_buffer and not isinstance(data, list | tuple):  # a stream
            assert replaces is None
            assert not create
        content = bytes(data) if is_buffer else b"".join(map(bytes, data))
        return self._request("write", name, lambda: self._put(name, content, replaces, create))

    def list(self, prefix: str) -> Iterator[tuple[str, Version]]:
        assert prefix == "data/"
        found = self._request("list", prefix, lambda: list(self.versions.items()))
        return iter([(name, version) for name, version in found if name.startswith(prefix)])

    def remove(self, names: Iterable[str]) -> None:
        for name in list(names):
            self._request("remove", name, lambda name=name: self._drop(name))

    def to_pickle(self) -> Any:
        raise AssertionError

    def _request(self, kind: str, name: str, carry_out: Callable[[], Any]) -> Any:
        self.before(kind, name)
        with self._lock:
            self.calls.append((kind, name))
            result = carry_out()
        self.after(kind, name)
        return result

    def _found(self, name: str) -> bytes:
        if name not in self.contents:
            raise MissingFileError(f"{name} does not exist", file=name)
        return self.contents[name]

    def _put(self, name: str, content: bytes, replaces: Any, create: bool) -> Version:
        there = self.versions.get(name)
        if (create and there) or (replaces is not None and replaces != there):
            raise ObjectChangedError(f"{name} has changed")
        time = float(next(self._clock))
        self.contents[name] = content
        self.versions[name] = Version(len(content), f'"{int(time)}"', time)
        self.written[name] = len(content)
        return self.versions[name]

    def _drop(self, name: str) -> None:
        self.contents.pop(name, None)
        self.versions.pop(name, None)

    def _times(self) -> list[float]:
        return [version.modified for version in self.versions.values()]


# Reading what was published ------------------------------------------------------------------


def catalog_of(objects: Mapping[str, bytes]) -> Catalog:
    """Return the catalog of a published store, as a reader that opens it does."""
    log = objects["commits.log"]
    assert log.count(b"\n") == 2, "a header line and a snapshot"
    catalog = newest_catalog(log)
    header = json.loads(objects["numpack.json"])
    assert header["format"] == "numpack"
    for entry in catalog.arrays.values():
        assert not entry.is_unusable
        assert int(entry.id.partition("-")[0]) < catalog.next_id
        assert header["version"] >= (3 if entry.extents else 2 if entry.attrs else 1)
    return catalog


def extents_of(objects: Mapping[str, bytes], entry: Entry) -> ObjectMap:
    if entry.extents is None:
        return ObjectMap.whole(entry)
    return ObjectMap.parse(objects[entry.extents_file], entry)


def arrays_of(objects: Mapping[str, bytes]) -> dict[str, np.ndarray]:
    """Read all arrays of a published store, and check them against their checksums."""
    return {name: _rows(objects, entry) for name, entry in catalog_of(objects).arrays.items()}


def _rows(objects: Mapping[str, bytes], entry: Entry) -> np.ndarray:
    data = np.empty(entry.nbytes, np.uint8)
    for name, starts, ends, places in extents_of(objects, entry).split([0], [entry.nbytes]):
        for start, end, place in zip(starts, ends, places, strict=True):
            part = np.frombuffer(objects[name][start:end], np.uint8)
            data[place : place + end - start] = part
    sums = [zlib.crc32(data[at : at + BLOCK]) for at in range(0, entry.nbytes, BLOCK)]
    if entry.nbytes % BLOCK:
        assert sums.pop() == entry.tail
    assert np.array(sums, "<u4").tobytes() == (objects[entry.checksum_file] if sums else b"")
    rows = data.view(entry.dtype) if entry.nbytes else np.empty(0, entry.dtype)
    rows = rows.reshape(entry.stored)
    if entry.dropped:
        deleted = objects[entry.dropped_file]
        assert len(deleted) == 8 * entry.dropped
        assert zlib.crc32(deleted) == entry.dropped_crc
        rows = np.delete(rows, np.frombuffer(deleted, "<u8").astype(np.int64), axis=0)
    return rows


def needed_by(objects: Mapping[str, bytes]) -> set[str]:
    """Return the names of all objects that a published store refers to."""
    names = {"numpack.json", "commits.log"}
    for entry in catalog_of(objects).arrays.values():
        names |= set(extents_of(objects, entry).object_names())
        names |= {entry.checksum_file} if entry.nbytes >= BLOCK else set()
        names |= {entry.dropped_file} if entry.dropped else set()
        names |= {entry.extents_file} if entry.extents else set()
    return names


def same(found: Mapping[str, np.ndarray], expected: Mapping[str, Any]) -> bool:
    """Return whether arrays are the same, in the same order."""
    return list(found) == list(expected) and all(
        found[name].dtype == np.asarray(expected[name]).dtype
        and np.array_equal(found[name], expected[name])
        for name in found
    )
