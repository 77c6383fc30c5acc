"""The folder of a store: its header, its creation and the removal of orphaned files."""

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
from ..fs.directory import DATA, Folder, write_all
from ..fs.errors import store_error
from ..fs.lock import LOCK, WriteLock
from ..fs.syscalls import read_small
from .dtype_codes import InvalidRecordError, brief
from .log import log, records
from .log.reader import NAME as LOG
from .log.state import Catalog
from .numpack0.files import METADATA as NUMPACK0_METADATA
from .staged import files as staged

if TYPE_CHECKING:
    from pathlib import Path

HEADER = "numpack.json"
_HEADER_LIMIT = 1 << 16
FORMAT, VERSION = "numpack", 3
WITH_ATTRIBUTES, WITH_EXTENTS = 2, 3  # the versions that have them

_NEW_HEADER = f"{HEADER}.new"
_UNFINISHED = frozenset({LOCK, DATA, LOG, log.NEW_LOG, _NEW_HEADER})
_DATA_FILE = re.compile(r"([0-9]{8,19}-([0-9a-f]{8}))\.(?:bin|sum|del|ext)", re.ASCII)
_TEXT = '{"format": "numpack", "version": %d}\n'
_HEADER, _HEADER_WITH_ATTRIBUTES = ((_TEXT % each).encode() for each in (1, WITH_ATTRIBUTES))
_ORDINARY = {_HEADER: 1, _HEADER_WITH_ATTRIBUTES: WITH_ATTRIBUTES}


def open_folder(path: str, lock_timeout: float | None = None) -> Folder | None:
    """Open a folder; return None if it does not exist."""
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
        Whether to fail if another process creates the store at the same time.
    durable : bool
        Whether to flush the store and its parent folders to the device.
    lock_timeout : float or None
        Seconds to wait for the store's lock.

    Raises
    ------
    NotAStoreError, NewerFormatError, CorruptStoreError
        Nothing on disk was changed.
    """
    try:
        check_creatable(path)
        path.mkdir(parents=True, exist_ok=True)
        folder = Folder(os.fspath(path))
        folder.lock_timeout = lock_timeout
    except StoreError:
        found = open_folder(os.fspath(path), lock_timeout)
        if found is None or not is_store(found):
            raise
        if exclusive:
            raise store_exists_error(os.fspath(path)) from None
        return found  # created meanwhile by another process
    except (FileExistsError, NotADirectoryError) as error:
        msg = f"no store can be created at {path}: {error.strerror}; choose another path"
        raise NotAStoreError(msg) from error
    except OSError as error:
        raise store_error(os.fspath(path), error) from error
    with WriteLock(folder):
        if not is_store(folder):
            check_creatable(path)
            write_store(folder, new_catalog(), durable=durable)
        elif exclusive:
            raise store_exists_error(os.fspath(path))
    if durable:
        flush_names(folder)
    return folder


def store_exists_error(path: str) -> StoreExistsError:
    """Return the error for a store that exists but must not."""
    return StoreExistsError(f"there is a store at {path} already; choose another path or mode")


def not_found_error(path: str) -> StoreNotFoundError:
    """Return the error for a store that must exist but does not."""
    msg = f"there is no store at {path}; NumPack(path) creates one"
    return StoreNotFoundError(msg)


def drop_all(folder: Folder, *, durable: bool) -> None:
    """Drop all arrays of a store at once, even if its log is damaged.

    A new log with a new token replaces the old one, so that no file of the old store can be
    mistaken for one of the new. Lazy arrays stay valid.
    """
    with WriteLock(folder):
        if durable:
            flush_names(folder)
        with contextlib.suppress(CorruptStoreError):  # a damaged log names no files to remove
            _commit_drop_all(folder, durable=durable)
        log.write_new(folder, new_catalog(), durable=durable)
        folder.make_data()


def flush_names(folder: Folder) -> None:
    """Flush the header, the file names of a store and its parent folders to the device.

    Any of them may have been created a moment ago, by this process or another. Parent folders
    stop at the first that is on another file system or is not readable.
    """
    folder.sync_file(HEADER)
    folder.sync_data()
    folder.sync()
    above = os.path.dirname(os.path.realpath(folder.path))  # noqa: PTH120 -- as text
    device = os.fstat(folder.descriptor).st_dev
    while _is_flushed(above, device) and above != os.path.dirname(above):  # noqa: PTH120
        above = os.path.dirname(above)  # noqa: PTH120


def _is_flushed(path: str, device: int) -> bool:
    """Flush a folder if it is readable and on the given device; return whether it was."""
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
    """Commit that all arrays are dropped, and remove the files that have the old token."""
    history = log.Log(folder, writable=True, durable=durable)
    try:
        if history.catalog.arrays:
            history.commit(drop=list(history.catalog.arrays))
            if durable:
                history.sync()
        remove_orphans(folder, history.catalog)
        staged.remove_all(folder, folder.names(DATA), history.catalog.token)
    finally:
        history.close()


def remove_orphans(folder: Folder, catalog: Catalog) -> None:
    """Remove orphans: files of arrays that no commit names, left by writers that were killed.

    These are also the files of parallel writes that no process has open.

    Only regular files whose names contain the store's own token are removed. Any other file
    may belong to another store.

    Parameters
    ----------
    folder : Folder
    catalog : Catalog
        The current one.
    """
    folder.make_data()  # some tools do not copy empty folders
    folder.unlink(log.NEW_LOG)
    folder.unlink(_NEW_HEADER)
    live = {entry.id for entry in catalog.arrays.values()}
    names = folder.names(DATA)
    for name in names:
        match = _DATA_FILE.fullmatch(name)
        if match and match[2] == catalog.token and match[1] not in live:
            folder.unlink(f"{DATA}/{name}")
    staged.remove_abandoned(folder, names, catalog.token)


def write_store(folder: Folder, catalog: Catalog, *, durable: bool) -> None:
    """Write the files of a new store; renaming the header into place completes it."""
    folder.make_data()
    log.write_new(folder, catalog, durable=durable)
    header = header_text(version_of(catalog))
    _write_header(folder, folder.new(_NEW_HEADER), header, durable=durable)
    if durable:
        folder.sync()


def mark_attributes(folder: Folder, *, durable: bool) -> None:
    """Raise the version in the header to 2 before the first attributes are committed.

    Versions of this package that know no attributes then refuse the store as newer instead of
    reporting damage. Requires the store's lock.
    """
    text = folder.read_start(HEADER, _HEADER_LIMIT)
    if text == _HEADER_WITH_ATTRIBUTES:
        return
    is_store(folder)  # raises if the header is damaged, or newer
    record = json.loads(text)
    if record["version"] < WITH_ATTRIBUTES:
        changed = json.dumps({**record, "version": WITH_ATTRIBUTES}).encode() + b"\n"
        # A file that replaces another is flushed first: else a power loss could lose both.
        _write_header(folder, folder.new(_NEW_HEADER, like=HEADER), changed, durable=True)
        if durable:
            folder.sync()


def _write_header(folder: Folder, descriptor: int, text: bytes, *, durable: bool) -> None:
    """Write the header to a new file, and rename that into place."""
    try:
        write_all(descriptor, text, 0)
        if durable:
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
    folder.rename(_NEW_HEADER, HEADER)


def version_of(catalog: Catalog) -> int:
    """Return the lowest format version that has all members of a catalog."""
    entries = catalog.arrays.values()
    if any(each.extents is not None for each in entries):
        return WITH_EXTENTS
    return WITH_ATTRIBUTES if catalog.attrs or any(each.attrs for each in entries) else 1


def header_text(version: int) -> bytes:
    """Return the header of a store of a format version."""
    return (_TEXT % version).encode()


def new_catalog() -> Catalog:
    """Return the catalog of a new store."""
    return Catalog(token=os.urandom(4).hex(), arrays={})


def is_store(folder: Folder) -> bool:
    """Return whether a folder is a store; raise if this version cannot read it."""
    try:
        text = read_small(folder.descriptor, HEADER, _HEADER_LIMIT)
    except FileNotFoundError:
        return False
    except OSError as error:
        raise store_error(f"{folder.path}/{HEADER}", error) from error
    read_header(text, folder.path)
    return True


def read_header(text: bytes, path: str) -> int:
    """Return the format version in the header of a store.

    Parameters
    ----------
    text : bytes
    path : str
        Of the store, for errors.

    Raises
    ------
    CorruptStoreError, NotAStoreError, NewerFormatError
        It is damaged, or of another format or a newer version.
    """
    if text in _ORDINARY:
        return _ORDINARY[text]
    try:
        name, version = records.header(json.loads(text))
    except (ValueError, RecursionError, MemoryError) as error:
        why = str(error) if isinstance(error, InvalidRecordError) else "it is not a JSON object"
        msg = (
            f"the header {path}/{HEADER} is damaged: {why}; it should read "
            f"{_HEADER.decode().strip()}; the arrays in {LOG} and {DATA}/ are not affected"
        )
        raise CorruptStoreError(msg) from None
    if name != FORMAT:
        msg = f"{path} is a store of the format {brief(name)}, not {FORMAT!r}"
        raise NotAStoreError(msg)
    if version > VERSION:
        msg = (
            f"{path} has format version {brief(version)}, and this numpack reads up to "
            f"{VERSION}; upgrade numpack"
        )
        raise NewerFormatError(msg)
    return int(version)


def check_creatable(path: Path) -> None:
    """Check that a store can be created at a path without affecting existing files.

    Raises
    ------
    NotAStoreError, CorruptStoreError
        It cannot; the message says what is there.
    """
    if not path.exists():
        return
    if not path.is_dir():
        kind = "a file" if path.is_file() else "a device, a FIFO or a socket"
        msg = f"{path} is {kind}, and a store is a folder; choose another path"
        raise NotAStoreError(msg)
    names = {entry.name for entry in path.iterdir()}
    if NUMPACK0_METADATA in names:
        msg = (
            f"{path} is a folder of NumPack 0.x, not a store; NumPack(path, upgrade=True) "
            "upgrades it"
        )
        raise NotAStoreError(msg)
    if names - _UNFINISHED or (DATA in names and not _is_folder(path / DATA)):
        msg = f"{path} is neither a numpack store nor empty; choose another path"
        raise NotAStoreError(msg)
    if (DATA in names and any((path / DATA).iterdir())) or _is_log_in_use(path, names):
        msg = f"the store {path} is damaged: {HEADER} is missing; restore it from a backup"
        raise CorruptStoreError(msg)


def _is_folder(path: Path) -> bool:
    """Return whether a path is a folder itself, not a link to one."""
    return path.is_dir() and not path.is_symlink()


def _is_log_in_use(path: Path, names: set[str]) -> bool:
    """Return whether the log contains more than that of a newly created store."""
    if LOG not in names:
        return False
    catalog = log.Log(Folder(os.fspath(path)), writable=False).catalog
    return catalog.commit > 0 or bool(catalog.arrays)
