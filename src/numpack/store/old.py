"""Folders of NumPack 0.x as stores: read in place, and upgraded."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import StoreError
from . import data, dropped, folder, legacy
from ._lock import Lock
from ._sums import sum_blocks
from .dropped import Dropped
from .log import closed
from .schema import encode_dtype
from .state import Entry, State

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .files import Folder
    from .legacy import OldArray

_OLD_FILE = re.compile(r"data_.*\.npkd|deleted_.*\.npkb", re.DOTALL)


class OldLog:
    """What a folder of NumPack 0.x says, in the place of a log.

    Parameters
    ----------
    folder : Folder
    arrays : dict of str to OldArray
        What `read` gave.
    """

    def __init__(self, folder: Folder, arrays: dict[str, OldArray]) -> None:
        self._path = folder.path
        self.dropped = {
            each.file: Dropped(each.dropped, each.shape[0])
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


def is_old(folder: Folder) -> bool:
    """Tell whether a folder is one of NumPack 0.x."""
    return folder.has(legacy.METADATA)


def read(source: Folder) -> dict[str, OldArray] | None:
    """Read what a folder of NumPack 0.x says; ``None`` if it was upgraded meanwhile."""
    try:
        return legacy.read(Path(source.path))
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
        arrays = legacy.read(Path(source.path))
        state = folder.fresh_state()
        folder.make_data_folder(source)
        _clear_second_names(source, arrays.values())
        for number, old in enumerate(arrays.values() if keep else ()):
            state.arrays[old.name] = _adopt(source, old, state.new_id(ahead=number))
        source.sync("data")  # the names of all that the log will name, on the device first
        folder.create(source, state._replace(next_id=len(state.arrays) + 1), durable=True)
        remove_old(source)
        return True


def remove_old(source: Folder) -> None:
    """Remove what a store has replaced: the files of NumPack 0.x, its metadata last."""
    for name in source.names("."):
        if _OLD_FILE.fullmatch(name):
            source.unlink(name)
    source.unlink(legacy.METADATA)


def refuse_to_write(path: str) -> str:
    """Say why a folder of NumPack 0.x cannot be written."""
    return (
        f"{path} was written by NumPack 0.x and is only read; NumPack(path, upgrade=True) "
        "makes a store of this version of it, in place and without writing its rows anew"
    )


def _entry(old: OldArray) -> Entry:
    return Entry(
        id="",
        code=encode_dtype(old.dtype),
        stored=old.shape,
        modified=old.modified,
        dropped=len(old.dropped),
        old_file=old.file,
    )


def _clear_second_names(source: Folder, arrays: Iterable[OldArray]) -> None:
    """Remove the second names that an interrupted upgrade gave the data files.

    Their token is of no log, so they are told by the files that they are names of.
    """
    old = {source.identity(each.file) for each in arrays}
    for name in source.names("data"):
        if name.endswith(".bin") and source.identity(f"data/{name}") in old:
            for ending in (".bin", ".sum", ".del"):
                source.unlink(f"data/{name.removesuffix('.bin')}{ending}")


def _adopt(source: Folder, old: OldArray, identifier: str) -> Entry:
    """Give an old data file its new name, its checksums and its list of dropped rows."""
    if not old.name:
        msg = f"{source.path} has an array without a name, which no store can hold"
        raise StoreError(msg)
    entry = _entry(old)._replace(id=identifier, old_file="", dropped=0)
    _link(source, old.file, entry.data_file)
    rows = data.mapped(source, entry)[0]
    sums, tail = sum_blocks(data.as_bytes(rows), data.threads())
    if sums:
        data.write_sums(source, entry, 0, sums)
    source.sync_file(entry.data_file)
    source.sync_file(entry.sum_file)
    entry = entry._replace(tail=tail)
    if not len(old.dropped):
        return entry
    descriptor = source.open(entry.dropped_file, os.O_RDWR | os.O_CREAT)
    try:
        crc = dropped.write(descriptor, entry, old.dropped, durable=True)
    finally:
        os.close(descriptor)
    return entry._replace(dropped=len(old.dropped), dropped_crc=crc)


def _link(source: Folder, old: str, new: str) -> None:
    descriptor = source.descriptor
    try:
        os.link(old, new, src_dir_fd=descriptor, dst_dir_fd=descriptor)
    except OSError:  # a file system without second names
        shutil.copyfile(f"{source.path}/{old}", f"{source.path}/{new}")
