"""URLs of stores."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from ..errors import InvalidValueError
from .secrets import user_of

_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]*"
_URL = re.compile(rf"{_SCHEME}(::{_SCHEME})*://")
_PORTS = {"http": ":80", "https": ":443"}
_OTHER_NAMES = {"s3a": "s3", "gcs": "gs", "azure": "az", "adl": "az"}


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
        kind.__module__ in ("obstore.store", "obstore._store")
        and kind.__name__.endswith("Store")
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


def local_path(url: str) -> Path:
    """Return the path of a ``file://`` URL.

    Raises
    ------
    InvalidValueError
        It names a host, as a URL with a relative path seems to, or has no path.

    Examples
    --------
    >>> local_path("file:///data/features%20x.npk")
    PosixPath('/data/features x.npk')
    """
    parts = urlsplit(url)
    if parts.netloc.lower() not in ("", "localhost") or not parts.path.strip("/"):
        msg = (
            f"{url!r} is no URL of a local folder: its host is {parts.netloc!r} and its path "
            f"{parts.path!r}; pass an absolute path with three slashes, as "
            "file:///data/features.npk"
        )
        raise InvalidValueError(msg)
    return Path(unquote(parts.path))


def normalized(url: str) -> str:
    """Return a URL without what is secret, in one of its spellings.

    User information, query and fragment are removed, as are a default port and slashes at the
    end.

    Examples
    --------
    >>> normalized("HTTPS://me:secret@Example.org:443/data//features.npk/?signature=secret")
    'https://example.org/data/features.npk'
    """
    user = user_of(url)
    parts = urlsplit(url.replace(f"{user}@", "", 1) if user else url)
    scheme = _OTHER_NAMES.get(parts.scheme, parts.scheme)
    host = parts.netloc
    if scheme in ("http", "https"):
        host = host.lower().removesuffix(_PORTS[scheme])
    path = re.sub("/+", "/", parts.path).rstrip("/")
    return f"{scheme}://{host}{path}"
