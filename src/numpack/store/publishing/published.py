"""The store that was published before, as far as publishing again needs it."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

from ...errors import CorruptStoreError, MissingFileError
from ..format import data_files
from ..format.extents import EXTENT_BYTES, ObjectMap
from ..format.folder import HEADER, read_header
from ..format.log.past import newest_catalog
from ..format.log.reader import NAME as LOG
from ..fs.directory import DATA
from ..kernels.checksums import BLOCK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeVar

    from ..._core.memory import Array
    from ...object_store.objects import ObjectStore, Request, Version
    from ..format.log.state import Catalog, Entry

    T = TypeVar("T")

_OBJECT = re.compile(r"data/([0-9]{8,19}-([0-9a-f]{8}))\.(?:bin|sum|del|ext)", re.ASCII)
_SUM_BYTES = 4


class PublishedArray(NamedTuple):
    """An array of a published store whose objects are all there."""

    entry: Entry
    checksums: Array
    extents: ObjectMap


class Published:
    """What is at a URL.

    Parameters
    ----------
    objects : ObjectStore

    Attributes
    ----------
    header : int
        Format version in the header; 0 if there is none.
    log : bytes
        Content of the log.
    log_version : Version or None
        Of the log; ``None`` if there is none.
    catalog : Catalog or None
        ``None`` if there is no log, or a damaged one.
    damage : str
        What is wrong with the log.
    files : dict of str to Version
        The objects in ``data/``.
    """

    def __init__(self, objects: ObjectStore) -> None:
        self.objects = objects
        self.log_version: Version | None
        with ThreadPoolExecutor(3) as pool:
            header = pool.submit(_existing, lambda: objects.read(HEADER))
            log = pool.submit(_existing, lambda: objects.read(LOG))
            files = pool.submit(lambda: dict(objects.list(f"{DATA}/")))
        self.files = files.result()
        text = header.result()
        self.header = 0 if text is None else read_header(text[0], objects.location)
        self.log, self.log_version = log.result() or (b"", None)
        self.catalog, self.damage = None, ""
        if self.log_version is not None:
            try:
                self.catalog = newest_catalog(self.log)
            except ValueError as error:
                self.damage = str(error)
        self._maps: dict[str, ObjectMap] | None = None

    def maps(self) -> dict[str, ObjectMap]:
        """Return where the bytes of the arrays are, except of those that cannot be read."""
        if self._maps is None:
            entries = {} if self.catalog is None else self.catalog.arrays
            usable = {name: each for name, each in entries.items() if not each.is_unusable}
            lists = self._read_existing(
                {
                    name: (each.extents_file, EXTENT_BYTES * each.extents[0])
                    for name, each in usable.items()
                    if each.extents is not None
                }
            )
            self._maps = {}
            for name, entry in usable.items():
                if entry.extents is None:
                    self._maps[name] = ObjectMap.whole(entry)
                elif name in lists:
                    try:
                        self._maps[name] = ObjectMap.parse(lists[name], entry)
                    except CorruptStoreError:
                        continue
        return self._maps

    def arrays_like(self, wanted: Iterable[tuple[str, Entry]]) -> dict[str, PublishedArray]:
        """Return the arrays of which blocks may be the same, with their checksums.

        Parameters
        ----------
        wanted : iterable of (str, Entry)
            Name and entry of local arrays.
        """
        catalog = self.catalog
        if catalog is None or catalog.journal is not None:  # rows may not be in place
            return {}
        found = {}
        for name, entry in wanted:
            there = catalog.arrays.get(name)
            if there is not None and _is_like(there, entry, catalog) and self._has(name, there):
                found[name] = there
        sums = self._read_existing(
            {
                name: (each.checksum_file, _SUM_BYTES * (each.nbytes // BLOCK))
                for name, each in found.items()
                if each.nbytes >= BLOCK
            }
        )
        return {
            name: PublishedArray(
                each, data_files.checksums_from(sums.get(name, b""), each), self.maps()[name]
            )
            for name, each in found.items()
            if each.nbytes < BLOCK or name in sums
        }

    def garbage(self, extents: ObjectMap, own: str) -> int:
        """Return how many bytes of the objects of a map, except one, it does not refer to."""
        return sum(
            self.files[name].size - used
            for name, (used, _) in extents.bytes_in_objects().items()
            if name != own
        )

    def obsolete(self, catalog: Catalog, needed: set[str]) -> list[str]:
        """Return the objects that neither a new catalog nor the one that was read needs.

        Those of other tokens, and those that may belong to a publisher beside, are left.

        Parameters
        ----------
        catalog : Catalog
            The new one.
        needed : set of str
            Names of the data objects that its arrays refer to.
        """
        if self.log_version is None or self.damage:
            return []
        before = {} if self.catalog is None else self.catalog.arrays
        if len(self.maps()) < len(before):  # what the others refer to is unknown
            return []
        needed = needed.union(*(each.object_names() for each in self.maps().values()))
        ids = {each.id for each in (*before.values(), *catalog.arrays.values())}
        found = []
        for name, version in self.files.items():
            match = _OBJECT.fullmatch(name)
            if (
                match is not None
                and match[2] == catalog.token
                and match[1] not in ids
                and name not in needed
                and version.modified < self.log_version.modified
            ):
                found.append(name)
        return found

    def _has(self, name: str, entry: Entry) -> bool:
        """Return whether all objects of an array are there, and long enough."""
        extents = self.maps().get(name)
        if extents is None:
            return False
        needed = {each: size for each, (_, size) in extents.bytes_in_objects().items()}
        needed[entry.checksum_file] = _SUM_BYTES * (entry.nbytes // BLOCK)
        needed[entry.dropped_file] = 8 * entry.dropped
        return all(
            not size or (each in self.files and self.files[each].size >= size)
            for each, size in needed.items()
        )

    def _read_existing(self, wanted: dict[str, tuple[str, int]]) -> dict[str, bytes]:
        """Read the starts of objects that were listed; leave out the others."""
        chosen = {
            key: (name, 0, size)
            for key, (name, size) in wanted.items()
            if name in self.files and self.files[name].size >= size
        }
        requests: list[Request] = list(chosen.values())
        contents = self.objects.read_many(requests) if requests else []
        return dict(zip(chosen, contents, strict=True))


def _existing(read: Callable[[], T]) -> T | None:
    try:
        return read()
    except MissingFileError:
        return None


def _is_like(there: Entry, entry: Entry, catalog: Catalog) -> bool:
    """Return whether blocks of two arrays may be compared."""
    return (
        not there.is_unusable
        and not there.writable
        and entry.id.endswith(catalog.token)
        and there.code == entry.code
        and there.stored[1:] == entry.stored[1:]
        and bool(there.stored) == bool(entry.stored)
    )
