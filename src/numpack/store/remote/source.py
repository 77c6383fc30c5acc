"""`Source`: an object store that arrays are read from, and the cache of their blocks."""

from __future__ import annotations

import hashlib
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from ...errors import MissingFileError
from ..fs.forks import register
from ..rows import deleted_rows
from .cache.blocks import ArrayBlocks
from .cache.location import cache_folder, checked_limit
from .cache.pool import Pool
from .folder import SmallFiles
from .objects import ArrayObjects

if TYPE_CHECKING:
    from ...object_store import ObjectStore
    from ..format.log.state import Entry
    from ..rows.deleted_rows import DeletedRows

_KEPT = 16  # arrays whose blocks and deleted rows are kept


class CacheOptions(NamedTuple):
    """The options of the cache, as they were passed."""

    cache: str | None = None
    cache_bytes: int | None = None

    @classmethod
    def checked(cls, cache: Any, cache_bytes: Any) -> CacheOptions:
        """Return valid options."""
        checked_limit(cache_bytes)
        folder = None if cache is None else cache_folder(cache)
        return cls(folder, None if cache_bytes is None else int(cache_bytes))

    def pool(self) -> Pool:
        """Open the cache."""
        limit = checked_limit(self.cache_bytes)
        return Pool(cache_folder(self.cache), limit, is_default=self.cache is None)


class Source:
    """An object store, and the blocks of its arrays that are in use.

    Parameters
    ----------
    store : ObjectStore
    options : CacheOptions

    Attributes
    ----------
    store, options
    pool : Pool
    """

    def __init__(self, store: ObjectStore, options: CacheOptions) -> None:
        self.store, self.options = store, options
        self.pool = options.pool()
        self._small = SmallFiles(store)
        self._deleted: dict[Any, DeletedRows] = {}
        self._recent: dict[Any, ArrayBlocks] = {}  # kept for what is unpickled next
        self._blocks: weakref.WeakValueDictionary[Any, ArrayBlocks] = (
            weakref.WeakValueDictionary()
        )
        register(self)

    def blocks(self, name: str, entry: Entry, digest: bytes = b"") -> ArrayBlocks:
        """Return the blocks of an array, the same ones as long as they are in use.

        Parameters
        ----------
        name : str
            For messages.
        entry : Entry
        digest : bytes
            Of its checksums, if they are known.
        """
        key = entry.id, entry.revision, entry.nbytes, entry.tail, digest
        found = self._blocks.get(key)
        if found is None:
            made = ArrayBlocks(
                ArrayObjects(self.store, name, entry, digest), self.pool, self._folder(entry)
            )
            found = self._blocks.setdefault(key, made)
        if digest:
            self._recent.pop(key, None)
            self._recent[key] = found
            _shorten(self._recent)
        return found

    def release_cached(self) -> None:
        """Close the files that are open only for what is unpickled next."""
        self._recent.clear()

    def after_fork(self) -> None:
        """Do nothing: there is no lock."""

    def deleted(self, blocks: ArrayBlocks) -> DeletedRows | None:
        """Return the deleted rows of an array that was unpickled; ``None`` if it has none."""
        entry = blocks.objects.entry
        if not entry.dropped:
            return None
        key = entry.id, entry.stored, entry.dropped_crc, entry.dropped
        found = self._deleted.get(key)
        if found is None:
            try:
                found = deleted_rows.read(self._small, entry)  # type: ignore[arg-type]  # has what is needed of a Folder
            except MissingFileError as error:
                raise blocks.objects.missing_error(error) from None
            self._deleted[key] = found
            _shorten(self._deleted)
        return found

    def _folder(self, entry: Entry) -> str:
        """Return the folder of the store in the cache: blocks of others are never trusted."""
        token = entry.id.partition("-")[2]
        text = f"{self.store.location}\n{token}"
        return hashlib.blake2b(text.encode(), digest_size=12).hexdigest()


def _shorten(cache: dict[Any, Any]) -> None:
    """Make room in a cache; other threads may do so at the same time."""
    for oldest in list(cache)[:-_KEPT]:
        cache.pop(oldest, None)
