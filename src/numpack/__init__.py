"""Arrays between frameworks without copying, and a memory-mapped store to keep them in."""

from ._policy import Route
from .errors import (
    CopyWarning,
    CorruptStoreError,
    IndexRangeError,
    InvalidIndexError,
    InvalidValueError,
    MissingDependencyError,
    NewerFormatError,
    NotAStoreError,
    NotFoundError,
    NullError,
    NumpackError,
    ReadOnlyWarning,
    StoreClosedError,
    StoreError,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
)
from .io import ZeroCopyArray, explain, share
from .store import LazyArray, NumPack

__version__ = "0.1.0"

__all__ = [
    "CopyWarning",
    "CorruptStoreError",
    "IndexRangeError",
    "InvalidIndexError",
    "InvalidValueError",
    "LazyArray",
    "MissingDependencyError",
    "NewerFormatError",
    "NotAStoreError",
    "NotFoundError",
    "NullError",
    "NumPack",
    "NumpackError",
    "ReadOnlyWarning",
    "Route",
    "StoreClosedError",
    "StoreError",
    "UnsupportedError",
    "WrongTypeError",
    "ZeroCopyArray",
    "ZeroCopyError",
    "__version__",
    "explain",
    "share",
]
