"""URLs of stores."""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import urlsplit

_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*(::[A-Za-z][A-Za-z0-9+.\-]*)*://")


def is_remote(source: Any) -> bool:
    """Return whether a store is in an object store rather than in a local folder.

    It is if `source` is a URL, a store of obstore or an `FSMap` of fsspec. Neither library
    is imported.

    Examples
    --------
    >>> is_remote("s3://bucket/features.npk"), is_remote("features.npk")
    (True, False)
    """
    if isinstance(source, str):
        return _URL.match(source) is not None
    return is_obstore(source) or is_mapper(source)


def is_obstore(source: Any) -> bool:
    """Return whether `source` is a store of obstore."""
    return any(
        kind.__module__.startswith("obstore.") and kind.__name__.endswith("Store")
        for kind in type(source).__mro__
    )


def is_mapper(source: Any) -> bool:
    """Return whether `source` is a mapping of fsspec, a folder of one of its filesystems."""
    return any(
        kind.__module__ == "fsspec.mapping" and kind.__name__ == "FSMap"
        for kind in type(source).__mro__
    )


def scheme_of(url: str) -> str:
    """Return the scheme of a URL in lower case."""
    return url.partition("://")[0].lower()


def without_secrets(url: str) -> str:
    """Return a URL without user information, query and fragment."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"
