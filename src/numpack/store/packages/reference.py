"""References to arrays in a package, by which other processes map the same pages.

A package is never changed: `numpack.pack` writes another file and gives it the name. So a
reference is resolved to the file at its path if that is the same one, or if it has an array of
the same id and checksums; otherwise to the file that the process which pickled it has open.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, NamedTuple

from ..._core.mapped_files import map_open, mapping_of
from ..._core.processes import boot_id
from ..._core.view_layout import ViewLayout
from ...errors import MovedError, NumpackError, StoreNotFoundError, StorePermissionError
from ..format import data_files
from ..format.log.state import Entry
from ..format.naming import quoted
from ..format.schema import encode_dtype
from ..kernels.checksums import BLOCK
from ..lazy.array import LazyArray
from ..lazy.reference import digest_of, entry_by_id, identity_of
from .archive import Archive
from .log import catalog_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._core.dtypes import DType
    from ..._core.file_mapping import Reduced
    from ..._core.memory import Array

_NAME_LIMIT = 100  # characters of a name that is pickled, for messages


class PickledRows(NamedTuple):
    """Pickled form of a reference: plain values, of a few hundred bytes."""

    path: str  # of the package
    file: tuple[int, ...]  # device, inode, size and time
    boot: str
    pid: int
    descriptor: int
    name: str  # empty if it is long
    id: str
    shape: tuple[int, ...]
    tail: int
    offset: int  # of the rows
    digest: bytes  # of their checksums


class PackageRows:
    """A package that is mapped as a whole.

    Parameters
    ----------
    archive : Archive
    entries : mapping of str to Entry
        The arrays that references may refer to.

    Attributes
    ----------
    memory : ndarray of uint8
        All bytes of the package.
    views : ViewReferences
    """

    def __init__(self, archive: Archive, entries: Mapping[str, Entry]) -> None:
        descriptor = os.dup(archive.descriptor)
        self.memory = map_open(descriptor, archive.path, archive.size, readable=True)
        self.views = ViewReferences(archive, entries)
        mapping = mapping_of(self.memory)
        if mapping is not None:
            mapping.refer(self.views)


class ViewReferences:
    """What pickles views of a mapped package.

    It keeps the package open, so that other processes find it after it was replaced.

    Parameters
    ----------
    archive : Archive
    entries : mapping of str to Entry
    """

    def __init__(self, archive: Archive, entries: Mapping[str, Entry]) -> None:
        self._archive, self._entries = archive, entries
        self._places: list[tuple[int, str, Entry]] = []

    def to_pickle(self, name: str, entry: Entry, offset: int) -> PickledRows:
        """Return what another process needs to find the rows of an array."""
        descriptor = self._archive.descriptor
        return PickledRows(
            _path_of(self._archive),
            identity_of(descriptor, is_numpack0=True),
            boot_id(),
            os.getpid(),
            descriptor,
            name if len(name) <= _NAME_LIMIT else "",
            entry.id,
            entry.stored,
            entry.tail,
            offset,
            self.digest(entry),
        )

    def reduce_view(self, array: Array, offset: int) -> Reduced | None:
        """Return what pickles a view; ``None`` if it is not of the rows of one array.

        Parameters
        ----------
        array : ndarray
        offset : int
            In the package, of its lowest address.
        """
        for start, name, entry in self._located():
            if start <= offset < start + entry.nbytes:
                layout = tuple(ViewLayout.of(array, offset - start))
                pickled = tuple(self.to_pickle(name, entry, start))
                return _view_again, (pickled, entry.dtype, layout)
        return None

    def digest(self, entry: Entry) -> bytes:
        """Return a digest of the checksums of an array."""
        return _digest(self._archive, entry)

    def _located(self) -> list[tuple[int, str, Entry]]:
        """Return the offsets of all arrays."""
        if not self._places:
            self._places = [
                (self._archive.member(entry.data_file).start, name, entry)
                for name, entry in self._entries.items()
                if not entry.is_unusable and self._archive.directory.find(entry.data_file)
            ]
        return self._places


class PackageReference:
    """Origin of the rows of a lazy array in a package.

    Parameters
    ----------
    views : ViewReferences
    name : str
    entry : Entry
    offset : int
        Of the rows.
    """

    def __init__(self, views: ViewReferences, name: str, entry: Entry, offset: int) -> None:
        self._views, self._name, self._entry, self._offset = views, name, entry, offset

    def reduce(self, dtype: DType, rows: tuple[int, int] | None) -> tuple[Any, ...]:
        """Return what pickles the array, or a range of its rows."""
        pickled = tuple(self._views.to_pickle(self._name, self._entry, self._offset))
        return _map_again, (pickled, dtype, rows)

    def token(self) -> tuple[Any, ...]:
        """Return a token that is equal only for equal values, at any time."""
        entry = self._entry
        digest = self._views.digest(entry).hex()
        return "numpack", entry.id, str(entry.code), entry.stored, 0, 0, entry.revision, digest

    def hold(self) -> None:
        """Do nothing: a package does not change."""


def _digest(archive: Archive, entry: Entry) -> bytes:
    length = 4 * (entry.nbytes // BLOCK)
    sums = archive.content(entry.checksum_file, length) if length else b""
    return digest_of(sums, entry.tail)


def _path_of(archive: Archive) -> str:
    """Return the path of an open package, which may have been moved."""
    try:
        if os.path.samestat(os.stat(archive.path), os.fstat(archive.descriptor)):  # noqa: PTH116 -- as text
            return archive.path
        return os.readlink(f"/proc/self/fd/{archive.descriptor}")  # noqa: PTH115
    except OSError:
        return archive.path


def _map_again(pickled: Any, dtype: DType, rows: tuple[int, int] | None) -> LazyArray:
    """Map the rows of an array that was pickled.

    Raises
    ------
    MovedError
        They cannot be found; its ``reason`` says why.
    """
    reference = PickledRows(*pickled)
    entry = Entry(
        reference.id, encode_dtype(dtype), reference.shape, modified=0, tail=reference.tail
    )
    archive, offset = _Finder(reference, entry).find()
    found = PackageRows(archive, {reference.name: entry})
    memory = found.memory[offset : offset + entry.nbytes]
    stored = data_files.as_rows(memory, dtype, reference.shape)
    origin = PackageReference(found.views, reference.name, entry, offset)
    lazy = LazyArray(stored, origin, None)
    return lazy if rows is None else lazy.rows(*rows)


def _view_again(pickled: Any, dtype: DType, layout: Any) -> Array:
    """Map a view of the rows of an array; it is read-only.

    Raises
    ------
    MovedError
        They cannot be found; its ``reason`` says why.
    """
    lazy = _map_again(pickled, dtype, None)
    memory = data_files.as_bytes(lazy._stored)  # noqa: SLF001 -- of this package
    try:
        view = ViewLayout(*layout).view(memory, memory.nbytes)
    except (TypeError, ValueError):
        msg = "the pickle of a view of a stored array is damaged; pickle the array again"
        raise MovedError(msg) from None
    private: Array = lazy._private_view(view)  # noqa: SLF001
    return private


class _Finder:
    """Finds the package of a reference, and the rows in it."""

    def __init__(self, reference: PickledRows, entry: Entry) -> None:
        self._reference, self._entry = reference, entry
        self._reason, self._detail = "another copy", "another package is there"

    def find(self) -> tuple[Archive, int]:
        """Return the package and the offset of the rows."""
        found = self._at_path() or self._in_process()
        if found is None:
            reference = self._reference
            name = f"the array {quoted(reference.name)}" if reference.name else "an array"
            raise MovedError(
                f"{name} of the package {reference.path}, which was pickled by reference, has "
                f"moved: {self._detail}; load it from the package again, and pickle it again",
                self._reason,
            )
        return found

    def _at_path(self) -> tuple[Archive, int] | None:
        try:
            archive = Archive(self._reference.path)
            is_same = self._is_same(archive)
            return self._rows_in(archive) if is_same or self._has_rows(archive) else None
        except StoreNotFoundError:
            self._reason, self._detail = "missing", "there is no such file"
        except StorePermissionError:
            self._reason, self._detail = "permission", "there is no permission to read it"
        except NumpackError:  # another file is there
            pass
        return None

    def _in_process(self) -> tuple[Archive, int] | None:
        """Open the package through the process that pickled the reference, if it still runs."""
        reference = self._reference
        if not reference.boot or reference.boot != boot_id():
            return None
        try:
            archive = Archive(f"/proc/{reference.pid}/fd/{reference.descriptor}")
        except NumpackError:
            return None
        archive.path = reference.path
        return self._rows_in(archive) if self._is_same(archive) else None

    def _is_same(self, archive: Archive) -> bool:
        found = identity_of(archive.descriptor, is_numpack0=True)
        return found == tuple(self._reference.file)

    def _has_rows(self, archive: Archive) -> bool:
        """Return whether another file has the same rows under the same id."""
        found = entry_by_id(catalog_of(archive), self._reference.id)
        return found is not None and _digest(archive, found) == self._reference.digest

    def _rows_in(self, archive: Archive) -> tuple[Archive, int]:
        return archive, archive.rows(self._entry)
