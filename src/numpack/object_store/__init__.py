"""Objects of an object store: read by ranges, listed and written conditionally.

The library that reaches the server is obstore or fsspec, imported when a store is opened.
Imports `errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .objects import ObjectStore, Version
from .urls import is_mapper, is_obstore, is_remote, scheme_of

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ObjectStore", "Version", "is_remote", "open_object_store"]

_OBSTORE = frozenset(
    (
        "s3",
        "s3a",
        "gs",
        "az",
        "adl",
        "azure",
        "abfs",
        "abfss",
        "http",
        "https",
        "file",
        "memory",
    )
)


def open_object_store(source: Any, options: Mapping[str, Any] | None = None) -> ObjectStore:
    """Open the objects under a URL; no request is made.

    Parameters
    ----------
    source : str, store of obstore or FSMap of fsspec
        obstore opens URLs of s3, gs, az, abfs, http, https, file and memory (which is of this
        process); fsspec all others.
    options : mapping, optional
        For the library that reaches the store: the configuration of obstore's store, and
        `client_options`, `retry_config` and `credential_provider`; or the arguments of the
        filesystem of fsspec.

    Raises
    ------
    MissingDependencyError
        The library is not installed.
    InvalidValueError
        It does not take the URL or the options.

    Examples
    --------
    >>> objects = open_object_store("memory://examples")
    >>> version = objects.write("greeting", b"hello", create=True)
    >>> objects.read("greeting")[0], version.size
    (b'hello', 5)
    """
    given = dict(options or {})
    if is_mapper(source) or (isinstance(source, str) and scheme_of(source) not in _OBSTORE):
        from .fsspec_engine import open_filesystem  # noqa: PLC0415

        return open_filesystem(source, given)
    from .obstore_engine import open_store, open_url  # noqa: PLC0415

    return open_store(source, given) if is_obstore(source) else open_url(source, given)
