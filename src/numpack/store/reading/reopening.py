"""Opening a store that was pickled again, or the reason why it is not there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._core.policy import warn
from ...errors import (
    CommitNotFoundError,
    CommitWarning,
    MovedError,
    NotAStoreError,
    StorePermissionError,
)
from ..checks import is_package

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..format.log.state import Catalog
    from ..store import NumPack

Seen = tuple[str, int]  # token and commit of a store when it was pickled, or an empty token


def reopened(
    prepare: Callable[[dict[str, Any]], NumPack],
    path: str,
    options: dict[str, Any],
    *,
    is_open: bool,
    seen: Seen,
) -> NumPack:
    """Return a store that was pickled, open if it was.

    Parameters
    ----------
    prepare : callable
        Initializes the store with options.
    path : str
        Or the URL.
    options : dict
    is_open : bool
    seen : tuple

    Raises
    ------
    MovedError
        It is not there, or is not the same store.
    """
    is_remote = "storage_options" in options
    has_one_commit = is_remote or is_package(path)
    if seen[0] and options["mode"] == "r" and not has_one_commit:
        options = {**options, "at": seen[1]}
    store = prepare(options)
    if not is_open:
        return store
    try:
        found = _open_as_of(store, prepare, options)
    except StorePermissionError as error:
        raise _moved_error(path, "permission", str(error)) from error
    except NotAStoreError as error:
        raise _moved_error(path, "missing", str(error)) from error
    catalog = store._handle.require_session().history.refresh()  # noqa: SLF001
    reason, detail = _mismatch(catalog, *seen)
    if reason:
        store.close()
        raise _moved_error(path, reason, detail)
    if has_one_commit and seen[0] and catalog.commit != seen[1]:
        how = "published" if is_remote else "packed"
        found = f"{path} has been {how} anew since commit {seen[1]}"
    if found:
        warn(f"{found}; it was unpickled as of commit {catalog.commit}", CommitWarning)
    return store


def _open_as_of(
    store: NumPack, prepare: Callable[[dict[str, Any]], NumPack], options: dict[str, Any]
) -> str:
    """Open a store; at its newest commit, and return why, if its log lacks the other one."""
    try:
        store.open()
    except CommitNotFoundError as error:
        prepare({**options, "at": None})
        store.open()
        return str(error).partition(";")[0]
    return ""


def _mismatch(catalog: Catalog, token: str, commit: int) -> tuple[str, str]:
    """Return why a store is not the one that was pickled; empty strings if it is."""
    if token and catalog.token != token:
        return "another store", "another store is there"
    if token and catalog.commit < commit:
        return "another copy", "an older copy of the store is there"
    return "", ""


def _moved_error(path: str, reason: str, detail: str) -> MovedError:
    msg = f"the store {path}, which was open when it was pickled, has moved: {detail}"
    return MovedError(msg, reason)
