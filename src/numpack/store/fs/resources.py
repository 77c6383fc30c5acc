"""Release of cached descriptors and mappings when the process reaches its limits."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, ParamSpec, Protocol, TypeVar, runtime_checkable

from ..._core.file_mapping import close_descriptors
from .forks import registered
from .syscalls import set_release_hook

if TYPE_CHECKING:
    from collections.abc import Callable

P = ParamSpec("P")
T = TypeVar("T")


@runtime_checkable
class HasCache(Protocol):
    """An object that caches descriptors or mappings."""

    def release_cached(self) -> None:
        """Close the cached descriptors and mappings."""


def release_cached() -> None:
    """Close all descriptors and mappings of this process that are cached for speed."""
    for owner in registered():
        if isinstance(owner, HasCache):
            owner.release_cached()
    close_descriptors()


def map_with_retry(use: Callable[P, T], *args: P.args, **options: P.kwargs) -> T:
    """Call a function that maps a file; retry once after `ENOMEM`, with caches released."""
    try:
        return use(*args, **options)
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
    release_cached()
    return use(*args, **options)


set_release_hook(release_cached)
