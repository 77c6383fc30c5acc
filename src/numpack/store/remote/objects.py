"""`ArrayObjects`: the objects that hold one array, and their errors."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from ...errors import CorruptStoreError, MissingFileError, MovedError, ObjectChangedError
from ...object_store.translation import RangeError
from ..format import data_files
from ..format.extents import ObjectMap
from ..format.naming import quoted
from ..fs.forks import register
from ..kernels.checksums import BLOCK
from ..lazy.reference import digest_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..._core.memory import Array
    from ...errors import StoreError
    from ...object_store import ObjectStore, Version
    from ..format.extents import Pieces
    from ..format.log.state import Entry
    from .cache.file import Numbers

T = TypeVar("T")

_OBJECTS = 8  # that are read at once
_ANEW = "it was published anew since; open the store again"


class ArrayObjects:
    """The objects of one array, as of one commit.

    Parameters
    ----------
    store : ObjectStore
    name : str
        Of the array, for messages.
    entry : Entry
    digest : bytes
        Of its checksums, if they are known: those of the store have to be the same.

    Attributes
    ----------
    entry : Entry
    nbytes : int
    """

    def __init__(
        self, store: ObjectStore, name: str, entry: Entry, digest: bytes = b""
    ) -> None:
        self.entry, self.nbytes = entry, entry.nbytes
        self._store, self._name, self._digest = store, name, digest
        self._is_unchecked = bool(digest) and entry.nbytes >= BLOCK  # against the store's
        self._sums: Array | None = None
        self._map = ObjectMap.whole(entry) if entry.extents is None else None
        self._versions: dict[str, Version] = {}
        self._reading = threading.Lock()
        register(self)

    def after_fork(self) -> None:
        """Replace the lock in a forked child."""
        self._reading = threading.Lock()

    @property
    def name(self) -> str:
        """Name of the cache file: the id, and a digest of all checksums and of the length."""
        return f"{self.entry.id}-{self.digest().hex()}-{self.nbytes:x}"

    def digest(self) -> bytes:
        """Return the digest of the checksums, which are read if they are not known."""
        if not self._digest:
            self.checksums()
        return self._digest

    def checksums(self) -> Array:
        """Return the checksums of all blocks."""
        if self._sums is None:
            self._read_lists()
        assert self._sums is not None  # noqa: S101 -- for the type checker
        return self._sums

    def read(self, starts: Numbers, ends: Numbers, out: Array) -> None:
        """Fetch ranges of the data file into `out`, one after another.

        Raises
        ------
        MovedError
            An object was replaced or removed.
        """
        if self._map is None or self._is_unchecked:
            self._read_lists()
        assert self._map is not None  # noqa: S101 -- for the type checker
        pieces = self._map.split(starts, ends)
        if len(pieces) == 1:
            self._call(lambda: self._read_object(pieces[0], out))
        elif pieces:
            self._read_objects(pieces, out)

    def damaged_error(self, block: int) -> StoreError:
        """Return the error for a block that does not have its checksum."""
        sums, _ = self._call(self._fetch_lists)
        if digest_of(sums, self.entry.tail) != self._digest:
            return self.moved_error(_ANEW)
        return CorruptStoreError(
            f"the array {quoted(self._name)} of the store {self._store.location} is damaged: "
            f"the checksum of block {block:,} of {self.entry.data_file} is wrong, twice; "
            "publish the store again"
        )

    def moved_error(self, detail: str) -> MovedError:
        """Return the error for rows that are no longer there."""
        msg = (
            f"the array {quoted(self._name)} of the store {self._store.location} cannot be "
            f"read: {detail}"
        )
        return MovedError(msg, "published anew")

    def missing_error(self, error: MissingFileError) -> MovedError:
        """Return the error for an object that is not there."""
        return self.moved_error(
            f"{error.file} is missing; it was published anew since: open the store again"
        )

    def _read_objects(self, pieces: list[Pieces], out: Array) -> None:
        """Fetch ranges of several objects at once, and put each where it belongs."""
        parts = [np.empty(int((each.ends - each.starts).sum()), np.uint8) for each in pieces]
        with ThreadPoolExecutor(min(_OBJECTS, len(pieces))) as threads:
            self._call(lambda: list(threads.map(self._read_object, pieces, parts)))
        for each, part in zip(pieces, parts, strict=True):
            at = 0
            for place, size in zip(each.places, each.ends - each.starts, strict=True):
                out[place : place + size] = part[at : at + size]
                at += size

    def _read_object(self, pieces: Pieces, out: Array) -> None:
        name = pieces.name
        known = self._versions.get(name)
        found = self._store.read_ranges(name, pieces.starts, pieces.ends, out, version=known)
        if known is None and self._versions.setdefault(name, found) != found:
            raise ObjectChangedError(name)  # between the requests of two threads

    def _read_lists(self) -> None:
        """Read the checksums, and the extents if there are any."""
        with self._reading:
            if self._sums is None:
                sums, extents = self._call(self._fetch_lists)
                if self._map is None:
                    self._map = ObjectMap.parse(extents, self.entry)
                digest = digest_of(sums, self.entry.tail)
                if self._digest and digest != self._digest:
                    raise self.moved_error(_ANEW)
                self._digest, self._is_unchecked = digest, False
                self._sums = data_files.checksums_from(sums, self.entry)

    def _fetch_lists(self) -> tuple[bytes, bytes]:
        """Fetch the content of the files of the checksums and of the extents."""
        entry, length = self.entry, 4 * (self.nbytes // BLOCK)
        names = [entry.checksum_file] if length else []
        names += [entry.extents_file] if entry.extents is not None else []
        found = self._store.read_many([(name, -1, -1) for name in names]) if names else []
        sums = found[0][:length] if length else b""
        if len(sums) < length:
            raise CorruptStoreError(
                f"the checksums {self._store.location}/{entry.checksum_file} are truncated; "
                "publish the store again"
            )
        return sums, found[-1] if entry.extents is not None else b""

    def _call(self, read: Callable[[], T]) -> T:
        try:
            return read()
        except (MissingFileError, ObjectChangedError) as error:
            if isinstance(error, MissingFileError):
                raise self.missing_error(error) from None
            raise self.moved_error(_ANEW) from None
        except RangeError as error:
            raise CorruptStoreError(
                f"the array {quoted(self._name)} of the store {self._store.location} is "
                f"damaged: {error}; publish the store again"
            ) from None
