"""Descriptors and mappings that are kept for speed, and given up when there are no more."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from ..._core.file_mapping import close_descriptors
from .forks import remembered
from .syscalls import call_when_full

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


@runtime_checkable
class Keeper(Protocol):
    """What keeps descriptors or mappings that it can do without."""

    def make_room(self) -> None:
        """Close them."""


def make_room() -> None:
    """Close all descriptors and mappings of this process that are only kept for speed."""
    for keeper in remembered():
        if isinstance(keeper, Keeper):
            keeper.make_room()
    close_descriptors()


def with_room(use: Callable[[], T]) -> T:
    """Call a function that maps a file; once more if there are too many mappings."""
    try:
        return use()
    except OSError as error:
        if error.errno != errno.ENOMEM:
            raise
    make_room()
    return use()


call_when_full(make_room)
