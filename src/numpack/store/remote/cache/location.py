"""Where the cache is, and how much it may hold."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from ...._core.policy import wrong_type
from ....errors import InvalidValueError

FOLDER, BYTES = "NUMPACK_CACHE", "NUMPACK_CACHE_BYTES"


def cache_folder(cache: Any) -> str:
    """Return the absolute path of the cache: as given, of the environment, or the default."""
    if cache is not None and not isinstance(cache, str | os.PathLike):
        wrong_type("NumPack", "a str or os.PathLike as cache", cache, "pass a folder's path")
    chosen = cache if cache is not None else os.environ.get(FOLDER)
    if chosen is not None and not os.fspath(chosen):
        what = "cache" if cache is not None else FOLDER
        raise InvalidValueError(f"{what} is an empty path; pass that of a folder")
    return str(Path(chosen or _default_folder()).absolute())


def checked_limit(cache_bytes: Any) -> int | None:
    """Return the limit that was passed or is in the environment; ``None`` for the default."""
    if cache_bytes is not None:
        if isinstance(cache_bytes, bool) or not isinstance(cache_bytes, int | np.integer):
            fix = "pass a number of bytes"
            wrong_type("NumPack", "an int as cache_bytes", cache_bytes, fix)
        return _not_negative("cache_bytes", int(cache_bytes))
    text = os.environ.get(BYTES)
    if text is None:
        return None
    try:
        return _not_negative(BYTES, int(text))
    except ValueError:
        msg = f"{BYTES} must be a number of bytes, not {text[:60]!r}"
        raise InvalidValueError(msg) from None


def default_limit(folder: str, cached: int) -> int:
    """Return half of the space that is free or taken by the cache.

    Parameters
    ----------
    folder : str
    cached : int
        Bytes of the files in it.
    """
    status = os.statvfs(folder)
    return (status.f_bavail * status.f_frsize + cached) // 2


def _default_folder() -> Path:
    base = os.environ.get("XDG_CACHE_HOME", "")
    if Path(base).is_absolute():  # a relative one is to be ignored
        return Path(base, "numpack")
    try:
        return Path("~/.cache/numpack").expanduser()
    except RuntimeError:  # this user has no home
        return Path(tempfile.gettempdir(), f"numpack-cache-{os.getuid()}")


def _not_negative(what: str, limit: int) -> int:
    if limit < 0:
        raise InvalidValueError(f"{what} must not be negative, and is {limit}; pass 0 for none")
    return limit
