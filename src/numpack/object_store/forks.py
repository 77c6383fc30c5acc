"""Which process uses a library whose threads a fork does not copy."""

from __future__ import annotations

import os

from ..errors import RemoteError


class Threads:
    """The threads of a library, which the first process that uses it has.

    Parameters
    ----------
    library : str
    """

    def __init__(self, library: str) -> None:
        self._library = library
        self._process = 0

    def claim(self, location: str) -> None:
        """Note that this process uses them, or refuse if it is a fork of one that does.

        The fork would wait for them forever.
        """
        self._process = self._process or os.getpid()
        if self._process != os.getpid():
            raise RemoteError(
                f"cannot use {location}: this process was forked from one that had used "
                f"{self._library}, whose threads are not in a fork; start processes with "
                'multiprocessing.get_context("spawn") or "forkserver", or use object stores '
                "only after the fork"
            )
