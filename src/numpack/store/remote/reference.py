"""References to arrays in an object store, by which other processes read them."""

from __future__ import annotations

import threading
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

from ..._core.view_layout import ViewLayout
from ...errors import MovedError
from ..format.log.state import Entry
from ..format.schema import encode_dtype
from ..fs.forks import register
from .array import RemoteArray
from .packages import open_objects
from .source import CacheOptions, Source

if TYPE_CHECKING:
    from ..._core.dtypes import DType
    from ..._core.file_mapping import Reduced
    from ..._core.memory import Array
    from .cache.blocks import ArrayBlocks

_NAME_LIMIT = 100  # characters of a name that is pickled, for messages
_SOURCES = 16  # object stores that a process keeps open for what it unpickles


class PickledArray(NamedTuple):
    """Pickled form of a reference: plain values, of a few hundred bytes."""

    url: str
    options: dict[str, Any]  # without secrets
    cache: CacheOptions
    name: str  # empty if it is long
    id: str
    shape: tuple[int, ...]
    tail: int
    dropped: int
    dropped_crc: int
    revision: int
    extents: tuple[int, int] | None
    digest: bytes  # of the checksums


class RemoteReference:
    """Origin of the rows of a `RemoteArray`.

    Parameters
    ----------
    source : Source
    name : str
    entry : Entry
    blocks : ArrayBlocks
    """

    def __init__(self, source: Source, name: str, entry: Entry, blocks: ArrayBlocks) -> None:
        self._source, self._name, self._entry, self._blocks = source, name, entry, blocks

    def reduce(self, dtype: DType, rows: tuple[int, int] | None) -> tuple[Any, ...]:
        """Return what pickles an array, or a range of its rows."""
        url, options = self._source.store.to_pickle()
        entry = self._entry
        pickled = PickledArray(
            url,
            options,
            self._source.options,
            self._name if len(self._name) <= _NAME_LIMIT else "",
            entry.id,
            entry.stored,
            entry.tail,
            entry.dropped,
            entry.dropped_crc,
            entry.revision,
            entry.extents,
            self._digest(),
        )
        return open_again, (tuple(pickled), dtype, rows)

    def reduce_view(self, array: Array, offset: int) -> Reduced:
        """Return what pickles a view of the rows in the cache; see `Reference.reduce_view`."""
        pickled, dtype, _ = self.reduce(self._entry.dtype, None)[1]
        whole = PickledArray(*pickled)._replace(dropped=0, dropped_crc=0)
        return view_again, (tuple(whole), dtype, tuple(ViewLayout.of(array, offset)))

    def token(self) -> tuple[Any, ...]:
        """Return a token that is equal only for equal values, at any time."""
        entry = self._entry
        deleted = entry.dropped, entry.dropped_crc
        values = entry.stored, *deleted, entry.revision, self._digest().hex()
        return "numpack", entry.id, str(entry.code), *values

    def hold(self) -> None:
        """Do nothing: objects are not changed, and a changed one is not read."""

    def _digest(self) -> bytes:
        digest: bytes = self._blocks.objects.digest()
        return digest


def open_again(
    pickled: tuple[Any, ...], dtype: DType, rows: tuple[int, int] | None
) -> RemoteArray:
    """Open an array that was pickled; nothing is requested, but for deleted rows.

    Raises
    ------
    MovedError
        It was published anew; also raised when rows are read.
    """
    reference = PickledArray(*pickled)
    cache = CacheOptions(*reference.cache)
    source = _SHARED.source(reference.url, reference.options, cache)
    entry = Entry(
        reference.id,
        encode_dtype(dtype),
        reference.shape,
        modified=0,
        tail=reference.tail,
        dropped=reference.dropped,
        dropped_crc=reference.dropped_crc,
        revision=reference.revision,
        extents=reference.extents,
    )
    blocks = source.blocks(reference.name, entry, reference.digest)
    origin = RemoteReference(source, reference.name, entry, blocks)
    array = RemoteArray(blocks, dtype, reference.shape, 0, origin, source.deleted(blocks))
    return array if rows is None else array.rows(*rows)


def view_again(pickled: tuple[Any, ...], dtype: DType, layout: Any) -> Array:
    """Fetch the rows of a view that was pickled; it is read-only.

    Raises
    ------
    MovedError
        They were published anew; or the pickle is damaged.
    """
    array = open_again(pickled, dtype, None)
    try:
        return array.view_of(ViewLayout(*layout))
    except (TypeError, ValueError):
        msg = "the pickle of a view of a stored array is damaged; pickle the array again"
        raise MovedError(msg) from None


class _SharedSources:
    """The object stores that this process has opened for what it unpickles."""

    def __init__(self) -> None:
        self._sources: OrderedDict[str, Source] = OrderedDict()
        self._lock = threading.Lock()
        register(self)

    def after_fork(self) -> None:
        """Replace the lock in a forked child."""
        self._lock = threading.Lock()

    def source(self, url: str, options: dict[str, Any], cache: CacheOptions) -> Source:
        """Return the one of a URL and options; it is opened once."""
        key = repr((url, sorted(options.items()), cache))
        with self._lock:
            found = self._sources.pop(key, None)
            if found is None:
                found = Source(open_objects(url, options), cache)
            self._sources[key] = found
            if len(self._sources) > _SOURCES:
                self._sources.popitem(last=False)
        return found


_SHARED = _SharedSources()
