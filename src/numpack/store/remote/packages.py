"""Packages in object stores: one object, whose files are read as if each were an object."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np

from ...errors import (
    CorruptStoreError,
    MissingFileError,
    ObjectChangedError,
    StoreNotFoundError,
    UnsupportedError,
)
from ...object_store import open_object_store
from ...object_store.translation import RangeError
from ..checks import PACKAGE
from ..fs.forks import register
from ..packages.layout import TAIL_BYTES, Member, read_directory

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ...object_store import ObjectStore, Version
    from ...object_store.objects import Bytes, Contents, Numbers, Request
    from ..packages.directory import Directory


def open_objects(source: Any, options: Mapping[str, Any] | None = None) -> ObjectStore:
    """Open the objects of a store under a URL, or the files of a package at one.

    Parameters
    ----------
    source, options
        See `open_object_store`.
    """
    place = package_place(source)
    if place is None:
        return open_object_store(source, options)
    return PackageObjects(open_object_store(place[0], options), place[1])


def package_place(source: Any) -> tuple[str, str] | None:
    """Return the URL of the folder of a package, and its name; ``None`` of any other source.

    Examples
    --------
    >>> package_place("s3://bucket/data/features.npkz")
    ('s3://bucket/data', 'features.npkz')
    """
    if not isinstance(source, str):
        return None
    url, mark, query = source.partition("?")
    folder, _, name = url.rpartition("/")
    if not name.endswith(PACKAGE) or folder.endswith(":/"):
        return None
    return f"{folder}{mark}{query}", name


class PackageObjects:
    """The files of a package, which is one object of another store.

    Its directory is read when it is first needed, by one request, with the log and the header
    if they are not longer than usual. It stays the same version.

    Parameters
    ----------
    store : ObjectStore
    name : str
        Of the package.
    """

    def __init__(self, store: ObjectStore, name: str) -> None:
        self.location = f"{store.location}/{name}"
        self._store, self._name = store, name
        self._found: tuple[Directory, Version] | None = None
        self._tail = b""
        self._loading = threading.Lock()
        register(self)

    def after_fork(self) -> None:
        """Replace the lock in a forked child."""
        self._loading = threading.Lock()

    def read(self, name: str) -> tuple[bytes, Version]:
        """Return the content of a file."""
        member, version = self._member(name)
        return self._content(0, member.size, member), version._replace(size=member.size)

    def read_tail(self, name: str, nbytes: int) -> tuple[bytes, Version]:
        """Return the last bytes of a file, or all if it is shorter."""
        member, version = self._member(name)
        start = max(0, member.size - nbytes)
        return self._content(start, member.size, member), version._replace(size=member.size)

    def read_ranges(
        self,
        name: str,
        starts: Numbers,
        ends: Numbers,
        out: Bytes,
        *,
        version: Version | None = None,
    ) -> Version:
        """Fill `out` with ranges of one file, one after another."""
        member, known = self._member(name)
        if version is not None and version != known:
            raise self._changed()
        begins, stops = np.asarray(starts, np.int64), np.asarray(ends, np.int64)
        if len(stops) and int(stops.max()) > member.size:
            raise RangeError(f"{self.location}/{name} has {member.size:,} bytes")
        return self._read(begins + member.start, stops + member.start, out)

    def read_many(self, requests: Sequence[Request]) -> Contents:
        """Return a range of each file: (name, start, end), where -1, -1 is all of it."""
        found = []
        for name, start, end in requests:
            member, _ = self._member(name)
            whole = start < 0
            found.append(
                self._content(0 if whole else start, member.size if whole else end, member)
            )
        return found

    def write(self, name: str, data: Any, **_: Any) -> NoReturn:
        """Refuse to write."""
        self._refuse(name, data)

    def list(self, prefix: str) -> Iterator[tuple[str, Version]]:
        """Yield the files whose names begin with `prefix`."""
        directory, version = self._load()
        for name in directory.names():
            if name.startswith(prefix):
                yield name, version._replace(size=self._member(name)[0].size)

    def remove(self, names: Iterable[str]) -> None:
        """Refuse to remove anything."""
        self._refuse(names)

    def to_pickle(self) -> tuple[str, dict[str, Any]]:
        """Return a URL and options, without secrets, that open the same package."""
        url, options = self._store.to_pickle()
        return f"{url.rstrip('/')}/{self._name}", options

    def _refuse(self, *_: object) -> NoReturn:
        raise UnsupportedError(f"the package {self.location} is only read")

    def _changed(self) -> ObjectChangedError:
        return ObjectChangedError(
            f"{self.location} was written again meanwhile; open the package again"
        )

    def _member(self, name: str) -> tuple[Member, Version]:
        directory, version = self._load()
        found = Member.of(directory, name)
        if found is None:
            where = f"{self.location}/{name}"
            raise MissingFileError(f"{where} does not exist", file=where)
        return found, version

    def _content(self, start: int, end: int, member: Member) -> bytes:
        """Return a part of a file, which has been read already if it is near the end."""
        start, end = start + member.start, end + member.start
        _, version = self._load()
        at = version.size - len(self._tail)
        if start >= at:
            return self._tail[start - at : end - at]
        return self._fetch(start, end)

    def _fetch(self, start: int, end: int) -> bytes:
        out = np.empty(end - start, np.uint8)
        self._read(np.array([start]), np.array([end]), out)
        return out.tobytes()

    def _read(self, starts: Any, ends: Any, out: Bytes) -> Version:
        version = None if self._found is None else self._found[1]
        return self._store.read_ranges(self._name, starts, ends, out, version=version)

    def _load(self) -> tuple[Directory, Version]:
        """Return the directory and the version of the package, which are read once."""
        if self._found is None:
            with self._loading:
                if self._found is None:
                    self._found = self._read_directory()
        return self._found

    def _read_directory(self) -> tuple[Directory, Version]:
        try:
            self._tail, version = self._store.read_tail(self._name, TAIL_BYTES)
        except MissingFileError:
            msg = f"there is no package at {self.location}; pack a store and copy it there"
            raise StoreNotFoundError(msg) from None
        try:
            directory, _ = read_directory(self._tail, version.size, self._fetch)
        except ValueError as error:
            raise CorruptStoreError(
                f"{self.location} is not a package, or is damaged: {error}; copy it again, or "
                "pack the store again"
            ) from None
        if directory.is_compressed:
            reason = f"{self.location} is compressed, and compressed rows are not read in place"
            fix = "copy it here and unpack it (numpack.unpack), or pack it without compress="
            raise UnsupportedError(f"{reason}; {fix}", reason=reason, fix=fix)
        return directory, version
