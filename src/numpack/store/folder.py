"""The store's folder: what makes it a store, its lock, and what it is cleared of."""

from __future__ import annotations

import fcntl
import json
import os
import re
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from ..errors import CorruptStoreError, NewerFormatError, NotAStoreError, StoreError
from . import log

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator
    from pathlib import Path

HEADER = "numpack.json"
LOCK = "lock"
DATA = "data"
FORMAT, VERSION = "numpack", 1

_UNFINISHED = frozenset({LOCK, DATA, log.NAME, f"{log.NAME}.new", f"{HEADER}.new"})
_DATA_FILE = re.compile(r"[0-9]{8,}-[0-9a-f]{8}\.bin")


def prepare(path: Path) -> None:
    """Make sure that `path` is a store that this version reads; create it if need be.

    Raises
    ------
    NotAStoreError, NewerFormatError, CorruptStoreError
        Nothing on disk was changed.
    """
    if _is_store(path):
        return
    try:
        _check_creatable(path)
        path.mkdir(parents=True, exist_ok=True)
    except StoreError:
        if _is_store(path):  # somebody else has created it meanwhile
            return
        raise
    except (FileExistsError, NotADirectoryError) as error:
        msg = f"no store can be made at {path}: {error.strerror}; choose another path"
        raise NotAStoreError(msg) from error
    with exclusive(path):
        if not _is_store(path):
            _check_creatable(path)
            _create(path)


def empty(path: Path) -> None:
    """Drop all arrays of a store at once; does nothing to what is no store.

    A new log takes the place of the old one, under a new token, so that no file of the
    old store is ever taken for one of the new. Lazy arrays stay valid.
    """
    if _is_store(path):
        with exclusive(path):
            log.write_new(path / log.NAME, _fresh_state())
            sweep(path, ())


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the writers' lock; the operating system drops it when the holder dies.

    A descriptor of its own for each holder makes threads and handles of one process queue
    as well. A forked child closes its copies at once, or the lock would live as long as it.
    """
    try:
        descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
    except FileNotFoundError:
        raise log.removed(path) from None
    except OSError as error:
        msg = f"the store {path} cannot be written: {error}"
        raise StoreError(msg) from error
    _HELD.add(descriptor)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        _HELD.discard(descriptor)
        os.close(descriptor)


_HELD: set[int] = set()


def _close_held() -> None:
    while _HELD:
        os.close(_HELD.pop())


os.register_at_fork(after_in_child=_close_held)


def sweep(path: Path, live: Collection[str]) -> None:
    """Remove data files that no commit names: those of writers that died."""
    (path / DATA).mkdir(exist_ok=True)  # some tools copy no empty folders
    for file in (path / DATA).iterdir():
        if _DATA_FILE.fullmatch(file.name) and f"{DATA}/{file.name}" not in live:
            file.unlink(missing_ok=True)


def _is_store(path: Path) -> bool:
    try:
        text = (path / HEADER).read_text("utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return False
    except UnicodeDecodeError:
        text = ""
    try:
        header: Any = json.loads(text)
        name, version = header["format"], int(header["version"])
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
        name, version = FORMAT, 0
    if name != FORMAT:
        msg = f"{path} is a store of the format {name!r}, not {FORMAT!r}"
        raise NotAStoreError(msg)
    if version < 1:
        msg = (
            f"the header {path / HEADER} is damaged; it should read "
            f"{json.dumps(_header())}; the arrays in {log.NAME} and {DATA}/ are not affected"
        )
        raise CorruptStoreError(msg)
    if version > VERSION:
        msg = (
            f"{path} has format version {version}, and this numpack reads up to {VERSION}; "
            "upgrade numpack"
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
    if "metadata.npkm" in names:
        msg = f"{path} was written by NumPack 0.x, whose folders this version does not read"
        raise NotAStoreError(msg)
    if names - _UNFINISHED or (DATA in names and not (path / DATA).is_dir()):
        msg = f"{path} is no numpack store and not empty; choose another path"
        raise NotAStoreError(msg)
    if (DATA in names and any((path / DATA).iterdir())) or _is_log_in_use(path, names):
        msg = f"the store {path} is damaged: {HEADER} is missing; restore it from a backup"
        raise CorruptStoreError(msg)


def _is_log_in_use(path: Path, names: set[str]) -> bool:
    """Tell whether the log says more than one does that was just created."""
    if log.NAME not in names:
        return False
    opened = log.Log(path)
    state = opened.state
    opened.close()
    return state.commit > 0 or bool(state.arrays)


def _create(path: Path) -> None:
    """Create a store; it is one from the moment that its header has its name."""
    (path / DATA).mkdir(exist_ok=True)
    log.write_new(path / log.NAME, _fresh_state())
    beside = path / f"{HEADER}.new"
    beside.write_text(json.dumps(_header()) + "\n", "utf-8")
    beside.replace(path / HEADER)


def _fresh_state() -> log.State:
    return log.State(token=os.urandom(4).hex())


def _header() -> dict[str, Any]:
    return {"format": FORMAT, "version": VERSION}
