"""Errors of the system as errors of a store."""

from __future__ import annotations

import errno

from ...errors import (
    CorruptStoreError,
    MissingFileError,
    NotAStoreError,
    StoreError,
    StoreMemoryError,
    StorePermissionError,
)

_NOT_REGULAR = (
    errno.ELOOP,
    errno.EMLINK,
    errno.EISDIR,
    errno.ENXIO,
    errno.ENODEV,
    errno.EEXIST,
)
_DENIED = (errno.EACCES, errno.EPERM)
_MANY_OPEN = (errno.EMFILE, errno.ENFILE)


def store_error(path: str, error: OSError, *, is_folder: bool = False) -> StoreError:
    """Convert an `OSError` of a system call to an error of the store.

    Parameters
    ----------
    path : str
    error : OSError
    is_folder : bool, default False
        Whether the path is to be that of a folder, and not that of a regular file.

    Returns
    -------
    StoreError
        With the same `errno`. It is a `CorruptStoreError` only if a file is missing, or is
        not of the kind that is needed.

    Raises
    ------
    OSError
        `error` itself, if it has no `errno`.
    """
    number = error.errno
    if number is None:  # not from a system call: a signal handler may raise `TimeoutError`
        raise error
    made: StoreError
    if number == errno.ENOENT:
        made = MissingFileError(
            f"the file {path} is missing; restore it from a backup", file=path
        )
    elif number in _NOT_REGULAR or (number == errno.ENOTDIR and is_folder):
        kind = "folder" if is_folder else "regular file"
        made = CorruptStoreError(
            f"{path} is damaged: it is not a {kind}, and a store holds no links, pipes or "
            "devices; restore it from a backup, or obtain it from a source that you trust"
        )
    elif number in _DENIED:
        made = StorePermissionError(
            f"this user is not permitted to use {path} ({error.strerror}); change its "
            "permissions, or open the store with mode='r' to read it only"
        )
    elif number in _MANY_OPEN:
        made = StoreError(
            f"{path} cannot be opened: too many files are open; close some, or raise the limit "
            "(ulimit -n)"
        )
    elif number == errno.ENOMEM:
        made = StoreMemoryError(f"there is too little memory to map {path}; load fewer rows")
    else:
        made = StoreError(f"{path} cannot be used: {error.strerror or error}; try again")
    made.errno = number
    return made


def too_large_error(path: str, nbytes: int) -> StoreMemoryError:
    """Return the error for data that does not fit in memory."""
    return StoreMemoryError(
        f"{nbytes:,} bytes of {path} do not fit in memory; load it with lazy=True, or some of "
        "its rows with getitem or stream_load"
    )


def removed_error(path: str) -> NotAStoreError:
    """Return the error for a store whose folder was removed."""
    return NotAStoreError(f"the store {path} was removed; open another")
