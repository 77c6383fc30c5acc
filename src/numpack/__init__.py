"""Arrays between frameworks without copying, and a memory-mapped store to keep them in."""

from typing import TYPE_CHECKING, Any

from ._core.policy import Route
from .errors import (
    ConflictError,
    CopyWarning,
    CorruptStoreError,
    IndexRangeError,
    InvalidIndexError,
    InvalidValueError,
    LockError,
    LockTimeoutError,
    MissingDependencyError,
    MovedError,
    NewerFormatError,
    NoMemoryError,
    NotAStoreError,
    NotFoundError,
    NullError,
    NumpackError,
    ReadOnlyWarning,
    StoreClosedError,
    StoreError,
    StoreExistsError,
    StoreNotFoundError,
    StorePermissionError,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
)
from .io import FrameworkInfo, ZeroCopyArray, explain, frameworks, share

if TYPE_CHECKING:
    from .store import LazyArray, NumPack

__version__ = "0.1.0"

__all__ = [
    "ConflictError",
    "CopyWarning",
    "CorruptStoreError",
    "FrameworkInfo",
    "IndexRangeError",
    "InvalidIndexError",
    "InvalidValueError",
    "LazyArray",
    "LockError",
    "LockTimeoutError",
    "MissingDependencyError",
    "MovedError",
    "NewerFormatError",
    "NoMemoryError",
    "NotAStoreError",
    "NotFoundError",
    "NullError",
    "NumPack",
    "NumpackError",
    "ReadOnlyWarning",
    "Route",
    "StoreClosedError",
    "StoreError",
    "StoreExistsError",
    "StoreNotFoundError",
    "StorePermissionError",
    "UnsupportedError",
    "WrongTypeError",
    "ZeroCopyArray",
    "ZeroCopyError",
    "__version__",
    "explain",
    "frameworks",
    "share",
]


def __getattr__(name: str) -> Any:
    """Load the store when it is first asked for: it takes as long as all the rest."""
    if name in ("LazyArray", "NumPack"):
        from . import store  # noqa: PLC0415

        globals()[name] = found = getattr(store, name)
        return found
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
