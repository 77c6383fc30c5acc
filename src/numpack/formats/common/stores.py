"""Stores that a conversion reads or changes: opened, or refused by what is there instead."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ...errors import CorruptStoreError, NotAStoreError, StoreNotFoundError
from ...store import NumPack
from ...store.checks import PACKAGE, is_remote
from ...store.format.folder import HEADER, check_creatable


def open_source(path: Path | str, **options: Any) -> NumPack:
    """Open a store, a package or a URL for reading.

    Parameters
    ----------
    path : Path or str
    **options
        Of `NumPack`.

    Raises
    ------
    StoreNotFoundError
        There is nothing at the path.
    NotAStoreError
        There is something else.
    """
    store = NumPack(path, mode="r", **options)
    try:
        store.open()
    except StoreNotFoundError:
        if is_remote(path):
            raise
        raise _source_error(Path(path)) from None
    return store


def open_target(path: Path, *, append: bool, **options: Any) -> NumPack:
    """Open a store that exists for writing.

    Parameters
    ----------
    path : Path
    append : bool
        Whether rows are to be appended to its arrays.
    **options
        Of `NumPack`.

    Raises
    ------
    StoreNotFoundError
        Rows are to be appended, and there is nothing at the path, or an empty folder.
    NotAStoreError, CorruptStoreError
        There is something else at the path.
    """
    store = NumPack(path, mode="r+", **options)
    try:
        store.open()
    except StoreNotFoundError:
        raise _target_error(path, append=append) from None
    return store


def _source_error(path: Path) -> NotAStoreError:
    kind = "package" if path.name.endswith(PACKAGE) else "store"
    if not path.exists():
        return StoreNotFoundError(f"there is no {kind} at {path}; pass the path of one")
    if path.is_dir():
        reason = f"the folder {path} is not a numpack store: it has no {HEADER}"
        return NotAStoreError(f"{reason}; pass the folder of a store")
    if path.is_file():
        fix = "rename it to the suffix of its format, or read it with format=('npz', None)"
        return NotAStoreError(f"{path} is a file, and a numpack store is a folder; {fix}")
    what = f"{path} is a device, a FIFO or a socket, and a numpack store is a folder"
    return NotAStoreError(f"{what}; pass the folder of a store")


def _target_error(path: Path, *, append: bool) -> NotAStoreError | CorruptStoreError:
    try:
        check_creatable(path)
    except (NotAStoreError, CorruptStoreError) as error:
        return error
    if append:
        msg = f"there is no store at {path}; leave out append=True to make one"
        return StoreNotFoundError(msg)
    msg = f"{path} was being created as a store, and has no {HEADER}; remove it"
    return NotAStoreError(msg)
