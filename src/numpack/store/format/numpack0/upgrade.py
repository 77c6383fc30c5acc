"""Opening NumPack 0.x folders as read-only stores, and upgrading them in place."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ....errors import StoreError
from ...fs.directory import read_between, write_all
from ...fs.lock import WriteLock
from ...kernels.checksums import checksum_blocks
from ...rows import deleted_rows
from ...rows.deleted_rows import DeletedRows
from .. import data_files, folder
from ..log.log import closed_error
from ..log.state import Catalog, Entry
from ..schema import encode_dtype
from . import reader
from .files import METADATA, open_file

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ...fs.directory import Folder
    from .reader import Numpack0Array

OBSOLETE = "obsolete.json"  # lists the files that an upgrade replaces, until they are removed

_NUMPACK0_FILE = re.compile(
    r"data_[^/\0]*\.npkd|deleted_[^/\0]*\.npkb|metadata\.npkm", re.DOTALL
)
_CHUNK_BYTES = 1 << 20  # copied at a time
_INVALID = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
_MAX_TIME = (1 << 63) - 1


class Numpack0Log:
    """The contents of a NumPack 0.x folder, with the interface of a read-only `Log`.

    Parameters
    ----------
    folder : Folder
    arrays : dict of str to Numpack0Array
        As returned by `read`.
    """

    def __init__(self, folder: Folder, arrays: dict[str, Numpack0Array]) -> None:
        self._path = folder.path
        self.dropped = {
            each.file: DeletedRows(each.dropped, each.shape[0])
            for each in arrays.values()
            if len(each.dropped)
        }
        entries = {each.name: _entry(each) for each in arrays.values()}
        self._catalog: Catalog | None = Catalog(arrays=entries)

    def refresh(self) -> Catalog:
        """Return the catalog, which no longer changes."""
        if self._catalog is None:
            raise closed_error(self._path)
        return self._catalog

    def after_fork(self) -> None:
        """Do nothing, because there is no lock."""

    def damage(self) -> list[str]:
        """Return an empty list, because the folder was validated when it was read."""
        return []

    def close(self) -> None:
        """Discard the catalog."""
        self._catalog = None


def is_numpack0(folder: Folder) -> bool:
    """Return whether a folder was written by NumPack 0.x."""
    return folder.has(METADATA)


def read(source: Folder) -> dict[str, Numpack0Array] | None:
    """Read a NumPack 0.x folder; return None if it was upgraded meanwhile."""
    try:
        return reader.read(Path(source.path), source.descriptor)
    except StoreError:
        if folder.is_store(source):
            return None
        raise


def upgrade_folder(source: Folder, *, keep: bool) -> bool:
    """Convert a NumPack 0.x folder to a store, without rewriting its rows.

    The data files get hard links with new names. The folder is a NumPack 0.x folder until the
    header is renamed into place, which completes the upgrade. Then the old names are removed.

    Parameters
    ----------
    source : Folder
    keep : bool
        Whether to keep the arrays.

    Returns
    -------
    bool
        False if another process has upgraded the folder; it may have kept the arrays.
    """
    if read(source) is None:  # raises before the lock file is created if it is unreadable
        return False
    with WriteLock(source):
        if folder.is_store(source):
            return False
        arrays = reader.read(Path(source.path), source.descriptor)
        if keep and "" in arrays:
            msg = f"{source.path} has an array with an empty name, which no store can hold"
            raise StoreError(msg)
        catalog = folder.new_catalog()
        source.make_data()
        _remove_links(source, arrays.values())
        for number, old in enumerate(arrays.values() if keep else ()):
            catalog.arrays[old.name] = _convert(source, old, catalog.new_id(ahead=number))
        _record_obsolete(source, arrays.values())
        source.sync_data()  # names must be on the device before a log refers to them
        source.sync()
        next_id = len(catalog.arrays) + 1
        catalog = Catalog(catalog.token, next_id=next_id, arrays=catalog.arrays)
        folder.write_store(source, catalog, durable=True)
        remove_numpack0_files(source)
        return True


def remove_numpack0_files(source: Folder) -> None:
    """Remove the files of NumPack 0.x that an upgrade of this folder has replaced.

    Only files that the upgrade recorded and that have not changed since are removed. Others
    may hold the only copy of their rows: NumPack 0.x may have saved arrays since, or files
    of another store may have been copied here.
    """
    files = _read_obsolete(source)
    if files is None:
        return
    for name, *identity in files:
        if identity == _identity(source, name):
            source.unlink(name)
    source.unlink(OBSOLETE)


def _record_obsolete(source: Folder, arrays: Iterable[Numpack0Array]) -> None:
    """Record the files that the upgrade replaces, before the header completes it."""
    names = [name for old in arrays for name in (old.file, reader.bitmap_of(old.file))]
    found = ((name, _identity(source, name)) for name in [*names, METADATA])
    files = [[name, *identity] for name, identity in found if identity]
    try:
        source.unlink(OBSOLETE)
    except (IsADirectoryError, PermissionError) as error:
        msg = f"{source.path}/{OBSOLETE} cannot be removed ({error.strerror}); remove it"
        raise StoreError(msg) from error
    descriptor = source.open(OBSOLETE, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
    try:
        write_all(descriptor, json.dumps({"files": files}).encode() + b"\n", 0)
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_obsolete(source: Folder) -> list[tuple[str, int, int, int]] | None:
    """Read the record of an upgrade; return None if it is missing or invalid."""
    try:
        descriptor = open_file(OBSOLETE, source.descriptor)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if status.st_size > 512 * status.st_blocks + _CHUNK_BYTES:  # mostly holes
            return None
        record: Any = json.loads(read_between(descriptor, 0, status.st_size))
        return [_obsolete_file(*each) for each in record["files"]]
    except _INVALID:
        return None
    finally:
        os.close(descriptor)


def _obsolete_file(name: Any, *identity: Any) -> tuple[str, int, int, int]:
    inode, size, modified = identity
    if not _NUMPACK0_FILE.fullmatch(name.encode().decode()):  # raises for surrogates
        raise ValueError(name)
    return name, inode, size, modified


def _identity(source: Folder, name: str) -> list[int]:
    """Return inode, size and modification time of a file; an empty list if it is missing."""
    try:
        status = os.stat(name, dir_fd=source.descriptor, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return []
        raise
    return [status.st_ino, status.st_size, status.st_mtime_ns]


def read_only_reason(path: str) -> str:
    """Return the message for an attempt to write to a NumPack 0.x folder."""
    return (
        f"{path} was written by NumPack 0.x and is read-only; NumPack(path, upgrade=True) "
        "upgrades it to a store of this version, in place and without rewriting its rows"
    )


def _entry(old: Numpack0Array) -> Entry:
    return Entry(
        id="",
        code=encode_dtype(old.dtype),
        stored=old.shape,
        modified=old.modified,
        dropped=len(old.dropped),
        numpack0_file=old.file,
    )


def _remove_links(source: Folder, arrays: Iterable[Numpack0Array]) -> None:
    """Remove links to the data files that an interrupted upgrade has left.

    No log contains their token, so they are recognised by inode.
    """
    old = {source.identity(each.file) for each in arrays}
    for name in source.names("data"):
        if name.endswith(".bin") and source.identity(f"data/{name}") in old:
            for ending in (".bin", ".sum", ".del"):
                source.unlink(f"data/{name.removesuffix('.bin')}{ending}")


def _convert(source: Folder, old: Numpack0Array, identifier: str) -> Entry:
    """Link a data file to its new name; write its checksums and its deleted-row list."""
    modified = min(old.modified, _MAX_TIME)
    entry = _entry(old).replace(id=identifier, numpack0_file="", dropped=0, modified=modified)
    _link(source, old.file, entry.data_file)
    rows = data_files.map_rows(source, entry)[0]
    checksums, tail = checksum_blocks(data_files.as_bytes(rows), data_files.thread_count())
    if checksums:
        data_files.write_checksums(source, entry, 0, checksums)
    source.sync_file(entry.data_file)
    source.sync_file(entry.checksum_file)
    entry = entry.replace(tail=tail)
    if not len(old.dropped):
        return entry
    descriptor = source.open(entry.dropped_file, os.O_RDWR | os.O_CREAT)
    try:
        crc = deleted_rows.write(descriptor, entry, old.dropped, durable=True)
    finally:
        os.close(descriptor)
    return entry.replace(dropped=len(old.dropped), dropped_crc=crc)


def _link(source: Folder, old: str, new: str) -> None:
    """Create a hard link, or copy the file if the file system does not support links."""
    parent = source.descriptor
    try:
        os.link(old, new, src_dir_fd=parent, dst_dir_fd=parent, follow_symlinks=False)
    except OSError:
        _copy(source, old, new)


def _copy(source: Folder, old: str, new: str) -> None:
    rows = open_file(old, source.descriptor)
    try:
        copy = source.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        try:
            at = 0
            while chunk := os.pread(rows, _CHUNK_BYTES, at):
                at += write_all(copy, chunk, at)
        finally:
            os.close(copy)
    finally:
        os.close(rows)
