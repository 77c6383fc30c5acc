"""The writers' lock."""

from __future__ import annotations

import fcntl
import os
from typing import TYPE_CHECKING

from ..errors import StoreError
from ._files import drop_lock, take_lock
from .files import removed
from .forks import remember

if TYPE_CHECKING:
    from .files import Folder

LOCK = "lock"


class Lock:
    """The lock of a store's folder; the operating system drops it when the holder dies.

    Each has a descriptor of its own, which makes the handles of one process queue as well;
    its holder may take it again. The threads of one handle have to queue elsewhere.
    A forked child closes its copies at once, or the lock would live as long as the child.

    Parameters
    ----------
    folder : Folder
    """

    __slots__ = ("__weakref__", "_depth", "_descriptor", "_folder")

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._descriptor = -1
        self._depth = 0

    def __del__(self) -> None:
        """Close the file."""
        self.forget()

    def __enter__(self) -> None:
        """Wait for the lock to write; raise `StoreError` where nothing can be written."""
        while not self._depth:
            if self._descriptor < 0:
                self._descriptor = self._open()
            if take_lock(self._descriptor):
                break
            self.forget()  # the file was removed: another may be locked by now
        self._depth += 1

    def take_at_once(self) -> bool:
        """Take the lock again if nobody has it; tell whether that was so."""
        if self._descriptor < 0 or self._depth:
            return False
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        self._depth = 1
        return True

    def __exit__(self, *exc_info: object) -> None:
        """Let the next writer in."""
        if self._depth:  # it is 0 in a child that was forked meanwhile
            self._depth -= 1
            if not self._depth:
                drop_lock(self._descriptor)

    def forget(self) -> None:
        """Close the file; it is opened again when it is needed."""
        self._depth = 0
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    after_fork = forget

    def _open(self) -> int:
        remember(self)
        try:
            return self._folder.open(LOCK, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            if self._folder.is_removed():
                raise removed(self._folder.path) from None
            msg = f"the store {self._folder.path} cannot be written: {error}"
            raise StoreError(msg) from error


class SharedLock:
    """The same lock for a reader that has to keep writers out; it needs no right to write.

    Where there is no file to lock there is no writer.

    Parameters
    ----------
    folder : Folder
    """

    __slots__ = ("_descriptor", "_folder")

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._descriptor = -1

    def __enter__(self) -> None:
        """Wait until nobody writes."""
        try:
            self._descriptor = self._folder.open(LOCK)
        except OSError:
            return
        fcntl.flock(self._descriptor, fcntl.LOCK_SH)

    def __exit__(self, *exc_info: object) -> None:
        """Let writers in again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
