"""Exceptions and warnings.

Each exception derives from :class:`NumpackError` and from the built-in exception that NumPy,
PyTorch or Arrow raises in the same situation, so that existing ``except`` clauses keep working.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = [
    "CommitNotFoundError",
    "CommitWarning",
    "ConflictError",
    "CopyWarning",
    "CorruptStoreError",
    "IncompleteWriteError",
    "IndexRangeError",
    "InvalidIndexError",
    "InvalidValueError",
    "LockError",
    "LockTimeoutError",
    "MissingDependencyError",
    "MissingFileError",
    "MovedError",
    "NewerFormatError",
    "NoMemoryError",
    "NotAStoreError",
    "NotFoundError",
    "NullError",
    "NumpackError",
    "ObjectChangedError",
    "PublishedStoreError",
    "ReadOnlyWarning",
    "RemoteError",
    "SharedMemoryError",
    "StoreClosedError",
    "StoreError",
    "StoreExistsError",
    "StoreMemoryError",
    "StoreNotFoundError",
    "StorePermissionError",
    "UnsupportedError",
    "WriteEndedError",
    "WrongTypeError",
    "ZeroCopyError",
]


class NumpackError(Exception):
    """Base class of all exceptions of this package."""


class ZeroCopyError(NumpackError, BufferError, ValueError):
    """Memory cannot be shared and ``copy=False`` forbids a copy.

    A `BufferError`, as the DLPack protocol requires, and a `ValueError`, as NumPy raises
    for ``copy=False``.
    """


class UnsupportedError(NumpackError, TypeError):
    """A lossless conversion does not exist under any copy policy.

    Attributes
    ----------
    reason : str
        Why the target cannot hold the values.
    fix : str
        How to obtain a result.
    direction : str
        The conversion, for example ``"to torch"`` or ``"from Arrow"``.
    """

    def __init__(
        self, message: str, *, reason: str = "", fix: str = "", direction: str = ""
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.fix = fix
        self.direction = direction


class WrongTypeError(NumpackError, TypeError):
    """An argument has the wrong type."""


class InvalidValueError(NumpackError, ValueError):
    """An argument has the right type and an invalid value."""


class NullError(InvalidValueError):
    """There are nulls, and ``nulls="raise"`` was passed."""


class NotFoundError(NumpackError, KeyError):
    """No array, column or tensor has the requested name.

    Parameters
    ----------
    message : str
    hint : callable, optional
        Returns text to append when the message is shown. The search for similar names is
        deferred until then, which keeps a failed lookup cheap.
    """

    def __init__(self, message: str = "", hint: Callable[[], str] | None = None) -> None:
        super().__init__(message)
        self._hint = hint

    def __str__(self) -> str:
        """Return the message, not its ``repr`` as `KeyError` does."""
        return f"{self.args[0]}{self._hint() if self._hint is not None else ''}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the message with the hint evaluated."""
        return type(self), (str(self),)


class IndexRangeError(NumpackError, IndexError):
    """A row or column index is out of range."""


class InvalidIndexError(NumpackError, TypeError, ValueError):
    """An index is not an int, a list, an array or a slice."""


class MissingDependencyError(NumpackError, ImportError):
    """A required optional package cannot be imported."""


class NoMemoryError(NumpackError, MemoryError):
    """There is not enough memory for the copy that a conversion makes."""


class SharedMemoryError(NumpackError, OSError):
    """The operating system refuses memory that processes share."""


class StoreError(NumpackError, OSError):
    """Base class of the errors of a store on disk."""


class NotAStoreError(StoreError):
    """The path is not a store."""


class StoreNotFoundError(NotAStoreError, FileNotFoundError):
    """The store does not exist."""


class StoreExistsError(NotAStoreError, FileExistsError):
    """The store already exists, and ``mode="x"`` was passed."""


class ConflictError(StoreError):
    """What a batch changed, or `NumPack.publish` replaces, was changed by another writer.

    The other writer's commits are kept. A batch's arrays without a conflict were written; of a
    store that was not published nothing was.

    Attributes
    ----------
    arrays : dict of str to ndarray
        The arrays that were not written, with the batch's changes.
    """

    def __init__(self, message: str = "", arrays: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.arrays = {} if arrays is None else arrays


class CommitNotFoundError(StoreError, LookupError):
    """The store's log does not have the commit that ``at=`` asks for.

    Attributes
    ----------
    available : range
        The commits that it has.
    """

    def __init__(self, message: str = "", available: range = range(0)) -> None:
        super().__init__(message)
        self.available = available

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the message and the commits."""
        return type(self), (str(self), self.available)


class MovedError(StoreError):
    """An array that was pickled by reference, or is read as of a commit, is no longer there.

    Attributes
    ----------
    reason : str
        ``"missing"`` (no such path), ``"dropped"``, ``"saved anew"``, ``"replaced in
        place"``, ``"permission"``, ``"another store"``, ``"another copy"`` (of the same store),
        ``"ended"`` (a parallel write that was committed or aborted); of a store that is read as
        of a commit also ``"open for writing"``; of a `SharedArray`
        ``"process ended"``, ``"released"`` (the process runs, and has the
        memory no longer), ``"another boot"`` (or another machine), ``"another namespace"`` (of
        process ids, a container) or ``"permission"``; or ``"other"``.
    """

    def __init__(self, message: str = "", reason: str = "other") -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the message and the reason."""
        return type(self), (str(self), self.reason)


class WriteEndedError(MovedError):
    """A parallel write was committed or aborted, so that nothing can be written to it."""

    def __init__(self, message: str = "", reason: str = "ended") -> None:
        super().__init__(message, reason)


class IncompleteWriteError(StoreError):
    """Rows of a parallel write have not been written, and nothing was committed.

    Attributes
    ----------
    missing : list of (int, int)
        Ranges of these rows: the first one, and the one after the last.
    """

    def __init__(self, message: str = "", missing: list[tuple[int, int]] | None = None) -> None:
        super().__init__(message)
        self.missing = [] if missing is None else missing

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the message and the ranges."""
        return type(self), (str(self), self.missing)


class NewerFormatError(StoreError):
    """The store's format is newer than this version of the package reads."""


class PublishedStoreError(StoreError):
    """The folder is a copy of a published store, which is opened by its URL."""


class CorruptStoreError(StoreError):
    """A file of the store is damaged or missing."""


class LockError(StoreError):
    """The store's lock cannot be acquired."""


class LockTimeoutError(LockError, TimeoutError):
    """The store's lock was not released within ``lock_timeout``."""


class MissingFileError(CorruptStoreError, FileNotFoundError):
    """A file of the store is missing.

    Attributes
    ----------
    file : str
        The path of the file.
    """

    def __init__(self, message: str = "", *, file: str = "") -> None:
        super().__init__(message)
        self.file = file


class StorePermissionError(StoreError, PermissionError):
    """The operating system, or the server of an object store, denies access to the store."""


class RemoteError(StoreError):
    """An object store cannot be reached, or does not answer as it should.

    The network fails, the server does, or does not support what is needed of it; or the process
    is the fork of one that used the object store.
    """


class ObjectChangedError(RemoteError):
    """An object is no longer, or not, the version of it that was expected.

    It was written again, or removed, since its version was read.
    """


class StoreMemoryError(StoreError, MemoryError):
    """An array of the store does not fit in memory."""


class StoreClosedError(NumpackError, RuntimeError):
    """The store is not open."""


class CopyWarning(UserWarning):
    """Memory could not be shared, so the data were copied once."""


class CommitWarning(UserWarning):
    """A store that was unpickled is read as of another commit than the pickled one."""


class AttributesWarning(UserWarning):
    """Attributes were left out of a file, whose format has no place for them."""


class ReadOnlyWarning(UserWarning):
    """Read-only memory was shared with a framework that cannot mark it read-only."""
