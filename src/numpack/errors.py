"""Every exception and warning that numpack raises.

Each exception is a :class:`NumpackError` and also the built-in exception that a user of
NumPy, PyTorch or Arrow would expect in its place, so that existing ``except`` clauses
keep working.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable


class NumpackError(Exception):
    """Base class of all exceptions of this package."""


class ZeroCopyError(NumpackError, BufferError, ValueError):
    """Memory cannot be shared and ``copy=False`` forbids the copy.

    A `BufferError`, as the DLPack protocol asks for, and a `ValueError`, as NumPy
    raises for ``copy=False``.
    """


class UnsupportedError(NumpackError, TypeError):
    """No faithful result exists under any copy policy.

    Attributes
    ----------
    reason : str
        Why the target cannot hold these values.
    fix : str
        The way out.
    direction : str
        ``"to torch"``, ``"from Arrow"``: on which way.
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
    """An argument has the right type and a value that makes no sense."""


class NullError(InvalidValueError):
    """``nulls="raise"`` was asked for and there are nulls."""


class NotFoundError(NumpackError, KeyError):
    """There is no array, column or tensor of that name.

    Parameters
    ----------
    message : str
    hint : callable, optional
        Returns what to add to the message when it is shown: similar names are searched for
        only then, so that a miss among many names costs little.
    """

    def __init__(self, message: str = "", hint: Callable[[], str] | None = None) -> None:
        super().__init__(message)
        self._hint = hint

    def __str__(self) -> str:
        """Return the message itself: `KeyError` would show its ``repr``."""
        return f"{self.args[0]}{self._hint() if self._hint is not None else ''}"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the whole message."""
        return type(self), (str(self),)


class IndexRangeError(NumpackError, IndexError):
    """A row or column number is out of range."""


class InvalidIndexError(NumpackError, TypeError, ValueError):
    """An index is neither an int, a list, an array nor a slice."""


class MissingDependencyError(NumpackError, ImportError):
    """An optional package is needed and cannot be imported."""


class NoMemoryError(NumpackError, MemoryError):
    """There is not enough memory for a copy that a conversion needs."""


class StoreError(NumpackError, OSError):
    """Base class of what can be wrong with a store on disk."""


class NotAStoreError(StoreError):
    """The path holds something that is not a store."""


class StoreNotFoundError(NotAStoreError, FileNotFoundError):
    """There is nothing at the path of a store that has to exist."""


class StoreExistsError(NotAStoreError, FileExistsError):
    """There is a store at a path where none may exist, as ``mode="x"`` asks for."""


class ConflictError(StoreError):
    """Arrays were changed in a batch, and by somebody else meanwhile.

    What was committed by others stands. Arrays without a conflict were written.

    Attributes
    ----------
    arrays : dict of str to ndarray
        The arrays that were not written, as the batch changed them.
    """

    def __init__(self, message: str = "", arrays: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self.arrays = {} if arrays is None else arrays


class MovedError(StoreError):
    """What was pickled by reference is not where it was.

    Attributes
    ----------
    reason : str
        ``"missing"`` (no such path), ``"dropped"``, ``"saved anew"``, ``"replaced in
        place"``, ``"permission"``, ``"another store"``, ``"another copy"`` (of the same store),
        or ``"other"``.
    """

    def __init__(self, message: str = "", reason: str = "other") -> None:
        super().__init__(message)
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the reason too."""
        return type(self), (str(self), self.reason)


class NewerFormatError(StoreError):
    """The store was written in a newer format than this version reads."""


class CorruptStoreError(StoreError):
    """A file of the store is damaged or missing."""


class LockError(StoreError):
    """The store's lock cannot be taken."""


class LockTimeoutError(LockError, TimeoutError):
    """Somebody else has held the store's lock for longer than ``lock_timeout``."""


class MissingFileError(CorruptStoreError, FileNotFoundError):
    """A file of the store is missing.

    Attributes
    ----------
    file : str
        Its path.
    """

    def __init__(self, message: str = "", *, file: str = "") -> None:
        super().__init__(message)
        self.file = file


class StorePermissionError(StoreError, PermissionError):
    """The operating system does not permit this user to read or to write the store."""


class StoreMemoryError(StoreError, MemoryError):
    """An array of the store does not fit in memory."""


class StoreClosedError(NumpackError, RuntimeError):
    """The store is not open."""


class CopyWarning(UserWarning):
    """Memory could not be shared, so the data was copied once."""


class ReadOnlyWarning(UserWarning):
    """Read-only memory was shared with a framework that cannot mark it read-only."""
