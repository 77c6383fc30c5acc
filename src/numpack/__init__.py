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
    "convert",
    "explain",
    "frameworks",
    "get_backend_info",
    "get_package_info",
    "pack",
    "package_info",
    "share",
    "share_memory",
    "unpack",
    "use_aligned_allocation",
]

if TYPE_CHECKING:
    # Deprecated aliases: these names live in `numpack.errors`.
    from .data import Loader
    from .doctor import get_backend_info
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
    from .formats import convert, get_package_info, pack, package_info, unpack
    from .formats.named import from_csv as from_csv
    from .formats.named import from_dataframe as from_dataframe
    from .formats.named import from_feather as from_feather
    from .formats.named import from_hdf5 as from_hdf5
    from .formats.named import from_npy as from_npy
    from .formats.named import from_parquet as from_parquet
    from .formats.named import from_parquet_table as from_parquet_table
    from .formats.named import from_pt as from_pt
    from .formats.named import from_safetensors_file as from_safetensors_file
    from .formats.named import from_table as from_table
    from .formats.named import from_tensor as from_tensor
    from .formats.named import from_tensor_dict as from_tensor_dict
    from .formats.named import from_txt as from_txt
    from .formats.named import from_zarr as from_zarr
    from .formats.named import to_csv as to_csv
    from .formats.named import to_dataframe as to_dataframe
    from .formats.named import to_feather as to_feather
    from .formats.named import to_hdf5 as to_hdf5
    from .formats.named import to_npy as to_npy
    from .formats.named import to_parquet as to_parquet
    from .formats.named import to_parquet_table as to_parquet_table
    from .formats.named import to_pt as to_pt
    from .formats.named import to_safetensors_file as to_safetensors_file
    from .formats.named import to_table as to_table
    from .formats.named import to_tensor as to_tensor
    from .formats.named import to_tensor_dict as to_tensor_dict
    from .formats.named import to_txt as to_txt
    from .formats.named import to_zarr as to_zarr
    from .shared_memory import SharedArray, share_memory
    from .store import LazyArray, NumPack, ParallelWrite
else:

    def __getattr__(name):
        """Import store, loader and the like on first use: they take as long as the rest.

        The other exceptions of `numpack.errors` are found here too, for one release.
        """
        if name in ("LazyArray", "NumPack", "ParallelWrite"):
            from . import store  # noqa: PLC0415

            globals()[name] = found = getattr(store, name)
            return found
        if name == "get_backend_info":
            from .doctor import get_backend_info  # noqa: PLC0415

            globals()[name] = get_backend_info
            return get_backend_info
        if name == "Loader":
            from .data import Loader  # noqa: PLC0415

            globals()[name] = Loader
            return Loader
        if name in ("convert", "get_package_info", "pack", "package_info", "unpack"):
            from . import formats  # noqa: PLC0415

            globals()[name] = found = getattr(formats, name)
            return found
        if name.startswith(("from_", "to_")):
            from .formats import named  # noqa: PLC0415

            if name in named.__all__:
                globals()[name] = found = getattr(named, name)
                return found
        if name in ("SharedArray", "share_memory"):
            from . import shared_memory  # noqa: PLC0415

            globals()[name] = found = getattr(shared_memory, name)
            return found
        found = getattr(errors, name, None)
        if isinstance(found, type) and issubclass(found, (errors.NumpackError, Warning)):
            return found
        msg = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(msg)
