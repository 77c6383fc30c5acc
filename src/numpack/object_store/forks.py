"""Which process uses a library whose threads a fork does not copy."""

from __future__ import annotations

import os

from ..errors import RemoteError

_users: dict[str, int] = {}


def claim(library: str, location: str) -> None:
    """Note that this process uses the library, or refuse if it is the fork of one that does.

    The threads of the library's event loop exist in the parent only, and the child would wait
    for them forever.
    """
    if _users.setdefault(library, os.getpid()) != os.getpid():
        raise RemoteError(
            f"cannot use {location}: this process was forked from one that had used {library}, "
            "whose threads are not in a fork; start processes with "
            'multiprocessing.get_context("spawn") or "forkserver", or use object stores only '
            "after the fork"
        )
