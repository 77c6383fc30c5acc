"""Descriptors and mappings that are kept for speed, and given up when there are no more."""

from __future__ import annotations

import errno
import weakref
from typing import TYPE_CHECKING, Protocol, TypeVar

from .._pages import close_descriptors
from ._files import call_when_full

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")


class Keeper(Protocol):
    """What keeps descriptors or mappings that it can do without."""

    def make_room(self) -> None:
        """Close them."""


_KEEPERS: set[weakref.ref[Keeper]] = set()


def keep(keeper: Keeper) -> None:
    """Call an object's `make_room` when there is no more room, as long as it lives."""
    _KEEPERS.add(weakref.ref(keeper, _KEEPERS.discard))


def make_room() -> None:
    """Close all descriptors and mappings of this process that are only kept for speed."""
    for reference in list(_KEEPERS):
        keeper = reference()
        if keeper is not None:
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
