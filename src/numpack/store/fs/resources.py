"""Descriptors and mappings that are kept for speed, and given up when there are no more."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from ..._core.pages import close_descriptors
from .forks import registered
from .syscalls import set_release_hook

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@runtime_checkable
class HasCache(Protocol):
    """What keeps descriptors or mappings that it can do without."""

    def release_cached(self) -> None:
        """Close them."""


def release_cached() -> None:
    """Close all descriptors and mappings of this process that are only kept for speed."""
    for owner in registered():
        if isinstance(owner, HasCache):
            owner.release_cached()
    close_descriptors()


def map_with_retry(use: Callable[[], T]) -> T:
    """Call a function that maps a file; once more if there are too many mappings."""
    try:
        return use()
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
    release_cached()
    return use()


set_release_hook(release_cached)
