"""Zero-copy exchange of arrays between frameworks, and a memory-mapped array store."""

from typing import TYPE_CHECKING

from . import errors
from ._core.policy import Route
from .allocation import aligned_allocation, use_aligned_allocation
from .errors import (
    CopyWarning,
    NumpackError,
    ReadOnlyWarning,
    StoreError,
    UnsupportedError,
    ZeroCopyError,
)
from .io import FrameworkInfo, ZeroCopyArray, explain, frameworks, share

__version__ = "0.1.0"

__all__ = [
    "CopyWarning",
    "FrameworkInfo",
    "LazyArray",
    "Loader",
    "NumPack",
    "NumpackError",
    "ParallelWrite",
    "ReadOnlyWarning",
    "Route",
    "SharedArray",
    "StoreError",
    "UnsupportedError",
    "ZeroCopyArray",
    "ZeroCopyError",
    "__version__",
    "aligned_allocation",
    "explain",
    "frameworks",
    "share",
    "share_memory",
    "use_aligned_allocation",
]

if TYPE_CHECKING:
    # Deprecated aliases: these names live in `numpack.errors`.
    from .data import Loader
    from .errors import CommitNotFoundError as CommitNotFoundError
    from .errors import CommitWarning as CommitWarning
    from .errors import ConflictError as ConflictError
    from .errors import CorruptStoreError as CorruptStoreError
    from .errors import IncompleteWriteError as IncompleteWriteError
    from .errors import IndexRangeError as IndexRangeError
    from .errors import InvalidIndexError as InvalidIndexError
    from .errors import InvalidValueError as InvalidValueError
    from .errors import LockError as LockError
    from .errors import LockTimeoutError as LockTimeoutError
    from .errors import MissingDependencyError as MissingDependencyError
    from .errors import MovedError as MovedError
    from .errors import NewerFormatError as NewerFormatError
    from .errors import NoMemoryError as NoMemoryError
    from .errors import NotAStoreError as NotAStoreError
    from .errors import NotFoundError as NotFoundError
    from .errors import NullError as NullError
    from .errors import SharedMemoryError as SharedMemoryError
    from .errors import StoreClosedError as StoreClosedError
    from .errors import StoreExistsError as StoreExistsError
    from .errors import StoreNotFoundError as StoreNotFoundError
    from .errors import StorePermissionError as StorePermissionError
    from .errors import WriteEndedError as WriteEndedError
    from .errors import WrongTypeError as WrongTypeError
    from .shared_memory import SharedArray, share_memory
    from .store import LazyArray, NumPack, ParallelWrite
else:

    def __getattr__(name):
        """Import store, loader and shared memory on first use: they take as long as the rest.

        The other exceptions of `numpack.errors` are found here too, for one release.
        """
        if name in ("LazyArray", "NumPack", "ParallelWrite"):
            from . import store  # noqa: PLC0415

            globals()[name] = found = getattr(store, name)
            return found
        if name == "Loader":
            from .data import Loader  # noqa: PLC0415

            globals()[name] = Loader
            return Loader
        if name in ("SharedArray", "share_memory"):
            from . import shared_memory  # noqa: PLC0415

            globals()[name] = found = getattr(shared_memory, name)
            return found
        found = getattr(errors, name, None)
        if isinstance(found, type) and issubclass(found, (errors.NumpackError, Warning)):
            return found
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
