"""Folders of NumPack 0.x as stores: read in place, and upgraded."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import StoreError
from ..fs.directory import read_between, write_all
from ..fs.lock import Lock
from ..kernels.checksums import sum_blocks
from ..rows import deleted_rows
from ..rows.deleted_rows import DeletedRows
from . import data_files, folder, numpack0
from .catalog import Entry, State
from .log import closed
from .schema import encode_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..fs.directory import Folder
    from .numpack0 import Numpack0Array

OBSOLETE = "obsolete.json"  # which files an upgrade has replaced, until they are removed

_OLD_FILE = re.compile(r"data_[^/\0]*\.npkd|deleted_[^/\0]*\.npkb|metadata\.npkm", re.DOTALL)
_CHUNK_BYTES = 1 << 20  # copied at a time
_UNREADABLE = (ValueError, KeyError, TypeError, AttributeError, RecursionError)
_MAX_TIME = (1 << 63) - 1


class Numpack0Log:
    """What a folder of NumPack 0.x says, in the place of a log.

    Parameters
    ----------
    folder : Folder
    arrays : dict of str to Numpack0Array
        What `read` gave.
    """

    def __init__(self, folder: Folder, arrays: dict[str, Numpack0Array]) -> None:
        self._path = folder.path
        self.dropped = {
            each.file: DeletedRows(each.dropped, each.shape[0])
            for each in arrays.values()
            if len(each.dropped)
        }
        entries = {each.name: _entry(each) for each in arrays.values()}
        self._state: State | None = State(arrays=entries)

    def refresh(self) -> State:
        """Give the state, which nobody changes any more."""
        if self._state is None:
            raise closed(self._path)
        return self._state

    def after_fork(self) -> None:
        """Do nothing: there is no lock."""

    def damage(self) -> list[str]:
        """Find nothing: all of it was checked when it was read."""
        return []

    def close(self) -> None:
        """Forget the state."""
        self._state = None


def is_numpack0(folder: Folder) -> bool:
    """Tell whether a folder is one of NumPack 0.x."""
    return folder.has(numpack0.METADATA)


def read(source: Folder) -> dict[str, Numpack0Array] | None:
    """Read what a folder of NumPack 0.x says; ``None`` if it was upgraded meanwhile."""
    try:
        return numpack0.read(Path(source.path), source.descriptor)
    except StoreError:
        if folder.is_store(source):
            return None
        raise


def take_over(source: Folder, *, keep: bool) -> bool:
    """Make a store of a folder of NumPack 0.x, without writing its rows anew.

    The data files get second names; the folder is a store from the moment that its header
    has its name, and was the old one until then. What is left of the old one is removed.

    Parameters
    ----------
    source : Folder
    keep : bool
        Whether to keep the arrays.

    Returns
    -------
    bool
        Whether it was done: not if somebody else was quicker, who may have kept them.
    """
    if read(source) is None:  # and what cannot be read is left as it is, without a lock
        return False
    with Lock(source):
        if folder.is_store(source):
            return False
        arrays = numpack0.read(Path(source.path), source.descriptor)
        if keep and "" in arrays:
            msg = f"{source.path} has an array without a name, which no store can hold"
            raise StoreError(msg)
        state = folder.fresh_state()
        source.make_data()
        _clear_second_names(source, arrays.values())
        for number, old in enumerate(arrays.values() if keep else ()):
            state.arrays[old.name] = _adopt(source, old, state.new_id(ahead=number))
        _record(source, arrays.values())
        source.sync_data()  # the names of all that the log will name, on the device first
        source.sync()
        folder.create(source, state._replace(next_id=len(state.arrays) + 1), durable=True)
        remove_numpack0_files(source)
        return True


def remove_numpack0_files(source: Folder) -> None:
    """Remove the files of NumPack 0.x that this store's upgrade has replaced.

    They are those that the upgrade has recorded, as far as they are the same files still.
    All others are left: NumPack 0.x may have saved rows beside the store since, and rows of
    another store may have been copied here, which are nowhere else.
    """
    files = _recorded(source)
    if files is None:
        return
    for name, *identity in files:
        if identity == _identity(source, name):
            source.unlink(name)
    source.unlink(OBSOLETE)


def _record(source: Folder, arrays: Iterable[Numpack0Array]) -> None:
    """Record which files the upgrade replaces, before the header makes it happen."""
    names = [name for old in arrays for name in (old.file, numpack0.bitmap_of(old.file))]
    found = ((name, _identity(source, name)) for name in [*names, numpack0.METADATA])
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


def _recorded(source: Folder) -> list[tuple[str, int, int, int]] | None:
    """Read the record of an upgrade; ``None`` if there is none that an upgrade has written."""
    try:
        descriptor = numpack0.open_file(OBSOLETE, source.descriptor)
    except OSError:
        return None
    try:
        status = os.fstat(descriptor)
        if status.st_size > 512 * status.st_blocks + _CHUNK_BYTES:  # it has holes
            return None
        record: Any = json.loads(read_between(descriptor, 0, status.st_size))
        return [_recorded_file(*each) for each in record["files"]]
    except _UNREADABLE:
        return None
    finally:
        os.close(descriptor)


def _recorded_file(name: Any, *identity: Any) -> tuple[str, int, int, int]:
    inode, size, modified = identity
    if not _OLD_FILE.fullmatch(name.encode().decode()):  # no surrogates
        raise ValueError(name)
    return name, inode, size, modified


def _identity(source: Folder, name: str) -> list[int]:
    """Return the inode, size and time of the last change of a file; nothing if it is gone."""
    try:
        status = os.stat(name, dir_fd=source.descriptor, follow_symlinks=False)
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENOTDIR, errno.ENAMETOOLONG):
            return []
        raise
    return [status.st_ino, status.st_size, status.st_mtime_ns]


def refuse_to_write(path: str) -> str:
    """Say why a folder of NumPack 0.x cannot be written."""
    return (
        f"{path} was written by NumPack 0.x and is only read; NumPack(path, upgrade=True) "
        "makes a store of this version of it, in place and without writing its rows anew"
    )


def _entry(old: Numpack0Array) -> Entry:
    return Entry(
        id="",
        code=encode_dtype(old.dtype),
        stored=old.shape,
        modified=old.modified,
        dropped=len(old.dropped),
        old_file=old.file,
    )


def _clear_second_names(source: Folder, arrays: Iterable[Numpack0Array]) -> None:
    """Remove the second names that an interrupted upgrade gave the data files.

    Their token is of no log, so they are told by the files that they are names of.
    """
    old = {source.identity(each.file) for each in arrays}
    for name in source.names("data"):
        if name.endswith(".bin") and source.identity(f"data/{name}") in old:
            for ending in (".bin", ".sum", ".del"):
                source.unlink(f"data/{name.removesuffix('.bin')}{ending}")


def _adopt(source: Folder, old: Numpack0Array, identifier: str) -> Entry:
    """Give an old data file its new name, its checksums and its list of dropped rows."""
    modified = min(old.modified, _MAX_TIME)
    entry = _entry(old)._replace(id=identifier, old_file="", dropped=0, modified=modified)
    _link(source, old.file, entry.data_file)
    rows = data_files.mapped(source, entry)[0]
    sums, tail = sum_blocks(data_files.as_bytes(rows), data_files.threads())
    if sums:
        data_files.write_sums(source, entry, 0, sums)
    source.sync_file(entry.data_file)
    source.sync_file(entry.sum_file)
    entry = entry._replace(tail=tail)
    if not len(old.dropped):
        return entry
    descriptor = source.open(entry.dropped_file, os.O_RDWR | os.O_CREAT)
    try:
        crc = deleted_rows.write(descriptor, entry, old.dropped, durable=True)
    finally:
        os.close(descriptor)
    return entry._replace(dropped=len(old.dropped), dropped_crc=crc)


def _link(source: Folder, old: str, new: str) -> None:
    """Give a file a second name, or copy it where the file system has no hard links."""
    here = source.descriptor
    try:
        os.link(old, new, src_dir_fd=here, dst_dir_fd=here, follow_symlinks=False)
    except OSError:
        _copy(source, old, new)


def _copy(source: Folder, old: str, new: str) -> None:
    rows = numpack0.open_file(old, source.descriptor)
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
