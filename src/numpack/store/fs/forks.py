"""Objects to reset in a forked child: locks that other threads of the parent may have held."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class ForkAware(Protocol):
    """An object that must be reset in a forked child."""

    def after_fork(self) -> None:
        """Reset the object."""


def register(owner: ForkAware) -> None:
    """Call an object's `after_fork` in each forked child; keep only a weak reference to it."""
    _OWNERS.add(weakref.ref(owner, _OWNERS.discard))


def registered() -> list[ForkAware]:
    """Return the registered objects that are still alive."""
    owners = (reference() for reference in list(_OWNERS))
    return [owner for owner in owners if owner is not None]


_OWNERS: set[weakref.ref[ForkAware]] = set()


def _after_fork_in_child() -> None:
    for owner in registered():
        owner.after_fork()


os.register_at_fork(after_in_child=_after_fork_in_child)
