"""Every exception and warning that numpack raises.

Each exception is a :class:`NumpackError` and also the built-in exception that a user of
NumPy, PyTorch or Arrow would expect in its place, so that existing ``except`` clauses
keep working.
"""


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
    """There is no array, column or tensor of that name."""

    def __str__(self) -> str:
        """Give the message as it is: `KeyError` would show its ``repr``."""
        return str(self.args[0]) if self.args else ""


class IndexRangeError(NumpackError, IndexError):
    """A row or column number is out of range."""


class InvalidIndexError(NumpackError, TypeError, ValueError):
    """An index is neither an int, a list, an array nor a slice."""


class MissingDependencyError(NumpackError, ImportError):
    """An optional package is needed and cannot be imported."""


class StoreError(NumpackError, OSError):
    """Base class of what can be wrong with a store on disk."""


class NotAStoreError(StoreError):
    """The path holds something that is not a store."""


class NewerFormatError(StoreError):
    """The store was written in a newer format than this version reads."""


class CorruptStoreError(StoreError):
    """A file of the store is damaged or missing."""


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
