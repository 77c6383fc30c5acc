"""What makes a folder a store: its header, its creation, and what it is cleared of."""

from __future__ import annotations

import contextlib
import json
import os
import re
from typing import TYPE_CHECKING

from ...errors import (
    CorruptStoreError,
    NewerFormatError,
    NotAStoreError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
)
from ..fs.directory import DATA, Folder, store_error, write_all
from ..fs.lock import LOCK, WriteLock
from ..fs.syscalls import read_small
from . import log, numpack0, records
from .catalog import Catalog
from .dtype_codes import InvalidRecordError, brief
from .log_reader import NAME as LOG

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "numpack.json"
_NAME, _HEADER_LIMIT = HEADER.encode(), 1 << 16
FORMAT, VERSION = "numpack", 1

_UNFINISHED = frozenset({LOCK, DATA, LOG, log.NEW_LOG, f"{HEADER}.new"})
_DATA_FILE = re.compile(r"([0-9]{8,19}-([0-9a-f]{8}))\.(?:bin|sum|del)", re.ASCII)
_HEADER = json.dumps({"format": FORMAT, "version": VERSION}).encode() + b"\n"


def open_folder(path: str, lock_timeout: float | None = None) -> Folder | None:
    """Open a folder, if there is one."""
    try:
        folder = Folder(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise store_error(path, error) from error
    folder.lock_timeout = lock_timeout
    return folder


def create_store(
    path: Path, *, exclusive: bool, durable: bool = False, lock_timeout: float | None = None
) -> Folder:
    """Create a store where there is none, and open its folder.

    Parameters
    ----------
    path : Path
    exclusive : bool
        Whether to refuse one that somebody else creates at this moment.
    durable : bool
        Whether to flush it to the device, with the folders that lead to it.
    lock_timeout : float or None
        Seconds to wait for its lock.

    Raises
    ------
    NotAStoreError, NewerFormatError, CorruptStoreError
        Nothing on disk was changed.
    """
    try:
        _check_creatable(path)
        path.mkdir(parents=True, exist_ok=True)
        folder = Folder(os.fspath(path))
        folder.lock_timeout = lock_timeout
    except StoreError:
        found = open_folder(os.fspath(path), lock_timeout)
        if found is None or not is_store(found):
            raise
        if exclusive:
            raise store_exists_error(os.fspath(path)) from None
        return found  # it was created meanwhile
    except (FileExistsError, NotADirectoryError) as error:
        msg = f"no store can be made at {path}: {error.strerror}; choose another path"
        raise NotAStoreError(msg) from error
    except OSError as error:
        raise store_error(os.fspath(path), error) from error
    with WriteLock(folder):
        if not is_store(folder):
            _check_creatable(path)
            write_store(folder, new_catalog(), durable=durable)
        elif exclusive:
            raise store_exists_error(os.fspath(path))
    if durable:
        flush_names(folder)
    return folder


def store_exists_error(path: str) -> StoreExistsError:
    """Make the error for a store that must not be there."""
    return StoreExistsError(f"there is a store at {path} already; choose another path or mode")


def not_found_error(path: str) -> StoreNotFoundError:
    """Make the error for a store that must be there."""
    msg = f"there is no store at {path}; mode='a', the default, creates one"
    return StoreNotFoundError(msg)


def drop_all(folder: Folder, *, durable: bool) -> None:
    """Drop all arrays of a store at once.

    A new log takes the place of the old one, under a new token, so that no file of the
    old store is ever taken for one of the new. Lazy arrays stay valid.
    """
    with WriteLock(folder):
        if durable:
            flush_names(folder)
        with contextlib.suppress(CorruptStoreError):  # of a damaged log nothing is known
            _commit_drop_all(folder, durable=durable)
        log.write_new(folder, new_catalog(), durable=durable)
        folder.make_data()


def flush_names(folder: Folder) -> None:
    """Flush to the device what makes a folder a store, and the folders that lead to it.

    They may have been made just now, by this process or another. Folders of another file
    system, and those that may not be read, are left to who made them.
    """
    folder.sync_file(HEADER)
    folder.sync_data()
    folder.sync()
    above = os.path.dirname(os.path.realpath(folder.path))  # noqa: PTH120 -- as text
    device = os.fstat(folder.descriptor).st_dev
    while _is_flushed(above, device) and above != os.path.dirname(above):  # noqa: PTH120
        above = os.path.dirname(above)  # noqa: PTH120


def _is_flushed(path: str, device: int) -> bool:
    """Flush a folder, if it is on a device."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        if os.fstat(descriptor).st_dev != device:
            return False
        os.fsync(descriptor)
        return True
    finally:
        os.close(descriptor)


def _commit_drop_all(folder: Folder, *, durable: bool) -> None:
    """Drop all arrays under the old token, which names the files to remove."""
    history = log.Log(folder, writable=True, durable=durable)
    try:
        if history.catalog.arrays:
            history.commit(drop=list(history.catalog.arrays))
            if durable:
                history.sync()
        remove_orphans(folder, history.catalog)
    finally:
        history.close()


def remove_orphans(folder: Folder, catalog: Catalog) -> None:
    """Remove the files of arrays that no commit names: those of writers that were killed.

    Only regular files are removed whose names carry the store's own token: what else is there,
    perhaps another store's, is not this one's.

    Parameters
    ----------
    folder : Folder
    catalog : Catalog
        Of now.
    """
    folder.make_data()  # some tools copy no empty folders
    folder.unlink(log.NEW_LOG)
    live = {entry.id for entry in catalog.arrays.values()}
    for name in folder.names(DATA):
        match = _DATA_FILE.fullmatch(name)
        if match and match[2] == catalog.token and match[1] not in live:
            folder.unlink(f"{DATA}/{name}")


def write_store(folder: Folder, catalog: Catalog, *, durable: bool) -> None:
    """Create a store; it is one from the moment that its header has its name."""
    folder.make_data()
    log.write_new(folder, catalog, durable=durable)
    beside = f"{HEADER}.new"
    descriptor = folder.new(beside)
    try:
        write_all(descriptor, _HEADER, 0)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    folder.rename(beside, HEADER)
    if durable:
        folder.sync()


def new_catalog() -> Catalog:
    """Give the catalog of a new store."""
    return Catalog(token=os.urandom(4).hex(), arrays={})


def is_store(folder: Folder) -> bool:
    """Tell whether a folder is a store that this version reads."""
    try:
        text = read_small(folder.descriptor, _NAME, _HEADER_LIMIT)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise store_error(f"{folder.path}/{HEADER}", error, HEADER) from error
    if text == _HEADER:
        return True
    try:
        name, version = records.header(json.loads(text))
    except (ValueError, RecursionError, MemoryError) as error:
        why = str(error) if isinstance(error, InvalidRecordError) else "it is no JSON object"
        msg = (
            f"the header {folder.path}/{HEADER} is damaged: {why}; it should read "
            f"{_HEADER.decode().strip()}; the arrays in {LOG} and {DATA}/ are not affected"
        )
        raise CorruptStoreError(msg) from None
    if name != FORMAT:
        msg = f"{folder.path} is a store of the format {brief(name)}, not {FORMAT!r}"
        raise NotAStoreError(msg)
    if version > VERSION:
        msg = (
            f"{folder.path} has format version {brief(version)}, and this numpack reads up to "
            f"{VERSION}; upgrade numpack"
        )
        raise NewerFormatError(msg)
    return True


def _check_creatable(path: Path) -> None:
    """Make sure that a store made here takes nothing from anybody."""
    if not path.exists():
        return
    if not path.is_dir():
        msg = f"{path} is a file, and a store is a folder; choose another path"
        raise NotAStoreError(msg)
    names = {entry.name for entry in path.iterdir()}
    if numpack0.METADATA in names:
        msg = f"{path} is a folder of NumPack 0.x"
        raise NotAStoreError(msg)
    if names - _UNFINISHED or (DATA in names and not _is_folder(path / DATA)):
        msg = f"{path} is no numpack store and not empty; choose another path"
        raise NotAStoreError(msg)
    if (DATA in names and any((path / DATA).iterdir())) or _is_log_in_use(path, names):
        msg = f"the store {path} is damaged: {HEADER} is missing; restore it from a backup"
        raise CorruptStoreError(msg)


def _is_folder(path: Path) -> bool:
    """Tell whether a path is a folder itself, and no link to one."""
    return path.is_dir() and not path.is_symlink()


def _is_log_in_use(path: Path, names: set[str]) -> bool:
    """Tell whether the log says more than one does that was just created."""
    if LOG not in names:
        return False
    catalog = log.Log(Folder(os.fspath(path)), writable=False).catalog
    return catalog.commit > 0 or bool(catalog.arrays)
