"""Objects of an object store: read by ranges, listed and written conditionally.

The library that reaches the server is obstore or fsspec, imported when a store is opened.
Imports `errors` and `_core`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .objects import ObjectStore, Version
from .urls import is_remote

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ObjectStore", "Version", "is_remote", "open_object_store"]


def open_object_store(source: Any, options: Mapping[str, Any] | None = None) -> ObjectStore:
    """Open the objects under a URL; no request is made.

    Parameters
    ----------
    source : str, store of obstore or FSMap of fsspec
    options : mapping, optional
        For the library that reaches the store: the configuration of obstore's store, and
        `client_options`, `retry_config` and `credential_provider`; or the arguments of the
        filesystem of fsspec.

    Raises
    ------
    MissingDependencyError
        The library is not installed.
    """
    from .obstore_engine import open_obstore  # noqa: PLC0415

    return open_obstore(source, dict(options or {}))
