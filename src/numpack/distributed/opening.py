"""Stores that functions take as a path or open."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

from .._core.policy import wrong_type
from ..store import NumPack
from ..store.checks import is_remote

if TYPE_CHECKING:
    from collections.abc import Iterator

Store = str | os.PathLike[str] | NumPack


@contextlib.contextmanager
def opened(store: Store, function: str, *, mode: Any) -> Iterator[NumPack]:
    """Yield an open store; close it afterwards if it was not open before."""
    check_store(store, function)
    if isinstance(store, NumPack):
        yield store
    else:
        with NumPack(store, mode=mode) as npk:
            yield npk


def check_store(store: Store, function: str) -> None:
    """Raise an error if a value is neither a path, nor a store, nor one of an object store."""
    if isinstance(store, str | NumPack) or hasattr(store, "__fspath__"):
        return
    if not is_remote(store):
        wrong_type(function, "a path or a NumPack", store, "pass the path of the store")
