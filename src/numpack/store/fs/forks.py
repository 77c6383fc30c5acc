"""What a forked child makes anew: locks, which other threads of its parent may have held."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Forked(Protocol):
    """What has something to do in a forked child."""

    def after_fork(self) -> None:
        """Do it."""


def remember(owner: Forked) -> None:
    """Call an object's `after_fork` in each forked child, as long as it lives."""
    _OWNERS.add(weakref.ref(owner, _OWNERS.discard))


def remembered() -> list[Forked]:
    """List what is remembered and lives."""
    owners = (reference() for reference in list(_OWNERS))
    return [owner for owner in owners if owner is not None]


_OWNERS: set[weakref.ref[Forked]] = set()


def _tell_all() -> None:
    for owner in remembered():
        owner.after_fork()


os.register_at_fork(after_in_child=_tell_all)
