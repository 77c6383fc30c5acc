"""Objects of an object store: read by ranges, listed and written conditionally.

The library that reaches the server is obstore or fsspec, imported when a store is opened.
Imports `errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import InvalidValueError, WrongTypeError
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
        filesystem of fsspec. ``"engine"`` is the library, ``"obstore"`` or ``"fsspec"``.

    Raises
    ------
    WrongTypeError
        `source` is none of these.
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
    if is_mapper(source) or _engine(source, given.pop("engine", None)) == "fsspec":
        from .fsspec_engine import open_filesystem  # noqa: PLC0415

        return open_filesystem(source, given)
    from .obstore_engine import open_store, open_url  # noqa: PLC0415

    return open_store(source, given) if is_obstore(source) else open_url(source, given)


def _engine(source: Any, asked: Any) -> str:
    """Return the library that opens a URL or a store of obstore."""
    if asked not in (None, "obstore", "fsspec"):
        raise InvalidValueError(f"engine={asked!r}; pass 'obstore' or 'fsspec'")
    if is_obstore(source):
        return "obstore"
    if not is_remote(source):
        raise WrongTypeError(
            f"{type(source).__name__} where an object store was expected; pass a URL such as "
            "'s3://bucket/features.npk', a store of obstore or an FSMap of fsspec"
        )
    return asked or ("obstore" if scheme_of(source) in _OBSTORE else "fsspec")
