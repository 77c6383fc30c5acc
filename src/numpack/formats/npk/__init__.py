"""The store itself, as what is converted from and to."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import numpy as np

from ...errors import StoreError
from ...store import NumPack
from ...store.checks import (
    as_array,
    check_rows,
    checked_attribute,
    checked_key,
    checked_name,
    entry_of,
)
from ...store.commits.attributes import AttributeChange, checked_text
from ...store.format.log.attributes import values_of
from ...store.fs.lock import SharedLock
from ...store.fs.temporary import TemporaryFolder
from ...store.reading.checked_rows import CheckedRows
from .._protocol import ArrayInfo
from ..common import stores
from ..common.new_files import beside, keep_mode, resolved
from ..common.sources import PART_BYTES, SlicedSource

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from ..._core.memory import Array
    from ...store.format.log.state import Catalog
    from ...store.reading.checked_rows import BlockCheck
    from ...store.reading.streaming import CommittedRows
    from ...store.session import Session
    from .._protocol import Part
    from .package import PackageTarget

LABEL = "a numpack store"
TOGETHER = False
NEEDS_LENGTHS = False

_STAGED = "convert-"  # folders within a store that has them adopted
_HELD = 8  # arrays that are held at a time if not all files can be open
_MANY_OPEN = (errno.EMFILE, errno.ENFILE)


class ReadOptions(TypedDict, total=False):
    """Options of reading: those of `NumPack`."""

    at: int | None
    lock_timeout: float | None
    storage_options: Mapping[str, Any] | None
    cache: str | os.PathLike[str] | None
    cache_bytes: int | None


class WriteOptions(TypedDict, total=False):
    """Options of writing: those of `NumPack`, and of `create_target`."""

    append: bool
    drop_others: bool
    durability: Literal["process", "power"]
    lock_timeout: float | None


READ_OPTIONS = ReadOptions.__optional_keys__
WRITE_OPTIONS = WriteOptions.__optional_keys__


def open_source(
    path: Path | str | NumPack, /, *, names: Sequence[str] | None = None, **options: Any
) -> StoreSource:
    """Open a store, at a path or a URL; one that is open is read as it is.

    Parameters
    ----------
    path : Path, str or NumPack
    names : sequence of str, optional
        Of the arrays that will be read, by default all.
    **options
        See `ReadOptions`.
    """
    if isinstance(path, NumPack):
        return StoreSource(path, names)
    store = stores.open_source(path, **options)
    try:
        return StoreSource(store, names, closes=True)
    except BaseException:
        store.close()
        raise


def create_target(
    path: Path | NumPack,
    arrays: Mapping[str, ArrayInfo],
    attrs: Mapping[str, Any],
    /,
    *,
    append: bool = False,
    drop_others: bool = False,
    **options: Any,
) -> StoreTarget | PackageTarget:
    """Begin to write arrays that one commit makes part of a store, new or not.

    Parameters
    ----------
    path : Path or NumPack
    arrays : mapping of str to ArrayInfo
    attrs : mapping
    append : bool, default False
        Whether the rows are appended to the arrays of an existing store.
    drop_others : bool, default False
        Whether the store loses its other arrays; a package is written anew in any case.
    **options
        Of `NumPack`.
    """
    if isinstance(path, Path):
        path = resolved(path)
    if isinstance(path, Path) and path.suffix == ".npkz":
        from .package import PackageTarget  # noqa: PLC0415 -- rarely needed

        given = {"append": append, **options}
        return PackageTarget(path, arrays, attrs, create_target, given)
    for name, info in arrays.items():
        as_array(checked_name(name), np.empty((0,) * len(info.shape), info.dtype))
    return StoreTarget(
        path, arrays, attrs, append=append, drop_others=drop_others, options=options
    )


class StoreSource(SlicedSource):
    """The arrays of a store as of one commit, compared with their checksums.

    Parameters
    ----------
    store : NumPack
        Open.
    names : sequence of str, optional
        Of the arrays that will be read, by default all.
    closes : bool, default False
        Whether `close` closes the store.
    """

    def __init__(
        self, store: NumPack, names: Sequence[str] | None = None, *, closes: bool = False
    ) -> None:
        self._store, self._closes = store, closes
        self._stack = contextlib.ExitStack()
        self._session: Session = store._session()  # noqa: SLF001
        self._rows: dict[str | None, CommittedRows] = {}  # `None` for those of all arrays
        self._checks: dict[str, BlockCheck] = {}
        catalog = self._hold(names)
        entries = {**self._session.arrays(), **catalog.arrays}
        arrays = {
            name: ArrayInfo(entry.dtype, entry.shape, values_of(entry.attrs))
            for name, entry in entries.items()
            if names is None or name in catalog.arrays or not entry.is_unusable
        }
        super().__init__(arrays, values_of(catalog.attrs))

    def _hold(self, names: Sequence[str] | None) -> Catalog:
        """Keep arrays as they are; exclude writers if so many files cannot be open."""
        try:
            held = self._rows[None] = self._store._stream(names, checked=True)  # noqa: SLF001
        except StoreError as error:
            if getattr(error, "errno", None) not in _MANY_OPEN:
                raise
            self._stack.enter_context(SharedLock(self._session.folder))
            arrays = dict(self._session.arrays())
            catalog = self._session.history.refresh()
            return catalog.with_arrays({name: entry_of(arrays, name) for name in arrays})
        return held.catalog

    def read(self, name: str, start: int, stop: int) -> Array:
        """Return rows of an array.

        Raises
        ------
        CorruptStoreError
            The store is damaged.
        """
        held = self._rows.get(None) or self._rows.get(name)
        if held is None:
            if len(self._rows) >= _HELD:
                self._release()
            held = self._rows[name] = CheckedRows(self._session, [name], self._checks)
        return held.read(name, start, stop)

    def _release(self) -> None:
        rows, self._rows = self._rows, {}
        for each in rows.values():
            each.close()

    def close(self) -> None:
        """Release the files."""
        self._release()
        self._stack.close()
        if self._closes:
            self._store.close()


class StoreTarget:
    """Arrays that are written to a temporary store, which another one adopts.

    The temporary store is in the folder of an existing store, or beside a new one, which is
    renamed when it is complete.

    Parameters
    ----------
    path : Path or NumPack
    arrays : mapping of str to ArrayInfo
    attrs : mapping
    append : bool
        Whether the rows are appended to the arrays of an existing store.
    options : mapping
        Of `NumPack`.
    drop_others : bool, default False
        Whether the store loses its other arrays in the same commit.
    """

    def __init__(
        self,
        path: Path | NumPack,
        arrays: Mapping[str, ArrayInfo],
        attrs: Mapping[str, Any],
        *,
        append: bool,
        options: Mapping[str, Any],
        drop_others: bool = False,
    ) -> None:
        self._arrays, self._append, self._options = arrays, append, options
        self._drop_others = drop_others
        self._small: dict[str, Array] = {}  # beginnings of arrays that are not written yet
        self._small_bytes = 0
        self._changes = _changes(arrays, attrs)
        self._stack = contextlib.ExitStack()
        with contextlib.ExitStack() as stack:
            self._store = self._existing(path, stack)
            self._path = path if isinstance(path, Path) else Path(_folder_of(path))
            if append:
                self._require_rows()
            if self._store is None:
                self._folder = beside(self._path)
            else:
                self._folder = TemporaryFolder(_folder_of(self._store), _STAGED)
            stack.callback(self._folder.remove)
            staged = NumPack(Path(self._folder.path) / "staged", mode="x")
            self._staged = stack.enter_context(staged)
            self._stack = stack.pop_all()

    def _existing(self, path: Path | NumPack, stack: contextlib.ExitStack) -> NumPack | None:
        """Open the target, if it exists."""
        if isinstance(path, NumPack):
            return _writable(path)
        if not self._append and (
            not path.exists() or (path.is_dir() and not any(path.iterdir()))
        ):
            return None
        store = stores.open_target(path, append=self._append, **self._options)
        return _writable(stack.enter_context(store))

    def _require_rows(self) -> None:
        """Check that the rows can be appended, before they are read."""
        known = self._store._arrays() if self._store is not None else {}  # noqa: SLF001
        for name, info in self._arrays.items():
            extents = tuple(extent or 0 for extent in info.shape) or (0,)
            rows = np.broadcast_to(np.empty((), info.dtype), extents)  # without memory
            check_rows(name, entry_of(known, name), rows)

    def write(self, part: Part) -> None:
        """Write the next rows, many small arrays at once."""
        if any(name in self._small for name in part):
            self._write_small()
        new = {name: array for name, array in part.items() if name not in self._staged}
        more = {name: array for name, array in part.items() if name not in new}
        if more:
            self._staged.append(more)
        nbytes = sum(array.nbytes for array in new.values())
        if self._small_bytes + nbytes > PART_BYTES:
            self._staged.save({**self._small, **new})  # in their order
            self._small, self._small_bytes = {}, 0
            return
        self._small.update({name: array.copy() for name, array in new.items()})
        self._small_bytes += nbytes

    def _write_small(self) -> None:
        small, self._small, self._small_bytes = self._small, {}, 0
        if small:
            self._staged.save(small)

    def commit(self) -> None:
        """Make the arrays part of the store in one commit."""
        try:
            self._write_small()
            if self._store is None:
                self._commit_new()
            else:
                self._commit_to(self._store)
        finally:
            self._stack.close()

    def _commit_new(self) -> None:
        made = Path(self._folder.path) / self._path.name
        with NumPack(made, mode="x", **self._options) as store:
            self._commit_to(store)
        keep_mode(self._path, made)  # of an empty folder
        try:
            made.rename(self._path)
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
            with (  # another process has created it meanwhile
                NumPack(self._path, mode="r+", **self._options) as store,
                NumPack(made, mode="r+") as staged,
            ):
                self._adopt(store, staged)
        if self._options.get("durability") == "power":
            _flush_folder(self._path.parent)

    def _commit_to(self, store: NumPack) -> None:
        if self._append:
            store._append_from(self._staged, self._changes)  # noqa: SLF001
            if self._drop_others:
                store.drop([name for name in store if name not in self._arrays])
        else:
            self._adopt(store, self._staged)

    def _adopt(self, store: NumPack, staged: NumPack) -> None:
        store._adopt(staged, self._changes, drop_others=self._drop_others)  # noqa: SLF001

    def abort(self) -> None:
        """Remove what was written."""
        self._stack.close()


def _changes(
    arrays: Mapping[str, ArrayInfo], attrs: Mapping[str, Any]
) -> dict[str | None, AttributeChange]:
    """Return what is added to the attributes that the names have in the store."""
    given: dict[str | None, Mapping[str, Any]] = {None: attrs}
    given.update({name: info.attrs for name, info in arrays.items()})
    changes = {}
    for name, values in given.items():
        if values:
            checked = {checked_key(key): checked_attribute(key, values[key]) for key in values}
            checked_text(name, checked)
            changes[name] = AttributeChange(checked)
    return changes


def _writable(store: NumPack) -> NumPack:
    reason = store._session().read_only  # noqa: SLF001
    if reason:
        raise StoreError(reason)
    return store


def _folder_of(store: NumPack) -> str:
    return store._session().folder.path  # noqa: SLF001


def _flush_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
