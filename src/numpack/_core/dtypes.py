"""The dtype table: names of each dtype in NumPy, DLPack, PyTorch and Arrow.

All conversions look dtypes up here, and tests are generated from this table. DLPack type codes
are those of ``DLDataTypeCode`` in DLPack 1.1; Arrow names are `pyarrow` factory functions.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import MissingDependencyError

if TYPE_CHECKING:
    from collections.abc import Iterator

DType = np.dtype[Any]


class DTypeInfo(NamedTuple):
    """The names of one dtype; ``None`` where a framework lacks it.

    Attributes
    ----------
    numpy : str
        ``dtype.name`` in NumPy or ml_dtypes.
    code, bits : int
        DLPack type code and width. A sub-byte type (`bits` below 8) is padded: each value
        takes one byte.
    torch : str or None
        Attribute of `torch`.
    arrow : str or None
        Factory function of `pyarrow`.
    extension : bool
        Whether the dtype is defined by ml_dtypes.
    """

    numpy: str
    code: int
    bits: int
    torch: str | None = None
    arrow: str | None = None
    extension: bool = False

    @property
    def carrier(self) -> DType:
        """The unsigned integer dtype of the same width, which every framework has."""
        return np.dtype(f"u{max(self.bits, 8) // 8}")

    @property
    def dtype(self) -> DType:
        """The NumPy dtype; imports ml_dtypes for an extension dtype."""
        return np.dtype(_of_ml_dtypes(self.numpy) if self.extension else self.numpy)


def _of_ml_dtypes(name: str) -> Any:
    module = _ml_dtypes()
    if not hasattr(module, name):
        raise MissingDependencyError(
            f"{name} needs a newer ml_dtypes than {module.__version__}; upgrade it with: "
            "pip install --upgrade ml_dtypes"
        )
    return getattr(module, name)


def _ml_dtypes() -> Any:
    try:
        return importlib.import_module("ml_dtypes")
    except ImportError as error:
        raise MissingDependencyError(
            "bfloat16 and narrower types need ml_dtypes, which cannot be imported "
            f"({error}); install it with: pip install 'numpack[lowprec]'"
        ) from error


_INT, _UINT, _FLOAT, _BFLOAT, _COMPLEX, _BOOL = 0, 1, 2, 4, 5, 6

DTYPES: tuple[DTypeInfo, ...] = (
    DTypeInfo("bool", _BOOL, 8, "bool", "bool_"),
    DTypeInfo("int8", _INT, 8, "int8", "int8"),
    DTypeInfo("int16", _INT, 16, "int16", "int16"),
    DTypeInfo("int32", _INT, 32, "int32", "int32"),
    DTypeInfo("int64", _INT, 64, "int64", "int64"),
    DTypeInfo("uint8", _UINT, 8, "uint8", "uint8"),
    DTypeInfo("uint16", _UINT, 16, "uint16", "uint16"),
    DTypeInfo("uint32", _UINT, 32, "uint32", "uint32"),
    DTypeInfo("uint64", _UINT, 64, "uint64", "uint64"),
    DTypeInfo("float16", _FLOAT, 16, "float16", "float16"),
    DTypeInfo("float32", _FLOAT, 32, "float32", "float32"),
    DTypeInfo("float64", _FLOAT, 64, "float64", "float64"),
    DTypeInfo("complex64", _COMPLEX, 64, "complex64"),
    DTypeInfo("complex128", _COMPLEX, 128, "complex128"),
    DTypeInfo("bfloat16", _BFLOAT, 16, "bfloat16", extension=True),
    DTypeInfo("float8_e3m4", 7, 8, extension=True),
    DTypeInfo("float8_e4m3", 8, 8, extension=True),
    DTypeInfo("float8_e4m3b11fnuz", 9, 8, extension=True),
    DTypeInfo("float8_e4m3fn", 10, 8, "float8_e4m3fn", extension=True),
    DTypeInfo("float8_e4m3fnuz", 11, 8, "float8_e4m3fnuz", extension=True),
    DTypeInfo("float8_e5m2", 12, 8, "float8_e5m2", extension=True),
    DTypeInfo("float8_e5m2fnuz", 13, 8, "float8_e5m2fnuz", extension=True),
    DTypeInfo("float8_e8m0fnu", 14, 8, "float8_e8m0fnu", extension=True),
    DTypeInfo("float6_e2m3fn", 15, 6, extension=True),
    DTypeInfo("float6_e3m2fn", 16, 6, extension=True),
    DTypeInfo("float4_e2m1fn", 17, 4, extension=True),
    DTypeInfo("int4", _INT, 4, extension=True),
    DTypeInfo("uint4", _UINT, 4, extension=True),
    DTypeInfo("int2", _INT, 2, extension=True),
    DTypeInfo("uint2", _UINT, 2, extension=True),
    DTypeInfo("int1", _INT, 1, extension=True),
    DTypeInfo("uint1", _UINT, 1, extension=True),
)

# The dtypes a store can name. The last two are not exchanged: no framework has both.
STORED: tuple[DTypeInfo, ...] = (
    *DTYPES,
    DTypeInfo("complex32", _COMPLEX, 32, extension=True),
    DTypeInfo("bcomplex32", _COMPLEX, 32, extension=True),
)

_BY_NUMPY = {info.numpy: info for info in DTYPES}
_STORED = {info.numpy: info for info in STORED}
_BY_TORCH = {info.torch: info for info in DTYPES if info.torch}
_BY_DLPACK = {(info.code, info.bits): info for info in DTYPES}
_BY_DTYPE: dict[DType, DTypeInfo] = {}  # a cache: NumPy computes `dtype.name` on each access


def is_extension(dtype: DType) -> bool:
    """Check whether a dtype is defined by ml_dtypes, without importing it."""
    return dtype.type.__module__.partition(".")[0] == "ml_dtypes"


def of_numpy(dtype: DType) -> DTypeInfo | None:
    """Return the entry of a NumPy or ml_dtypes dtype in either byte order, or ``None``."""
    info = _BY_DTYPE.get(dtype)
    if info is None:
        info = _BY_NUMPY.get(dtype.name)
        if info is None or info.extension != is_extension(dtype):
            return None
        _BY_DTYPE[dtype] = info
    return info


def is_storable(dtype: DType) -> bool:
    """Check whether a dtype is an ml_dtypes dtype that a store can name."""
    info = _STORED.get(dtype.name)
    return info is not None and info.extension and is_extension(dtype)


def of_torch(name: str) -> DTypeInfo | None:
    """Return the entry of a torch dtype by its name without ``torch.``, or ``None``."""
    return _BY_TORCH.get(name)


def of_dlpack(code: int, bits: int) -> DTypeInfo | None:
    """Return the entry of a DLPack type code and width, or ``None``."""
    return _BY_DLPACK.get((code, bits))


def of_extension(name: str) -> DType | None:
    """Return the ml_dtypes dtype of a name; ``None`` if the table does not have it."""
    info = _STORED.get(name)
    return info.dtype if info is not None and info.extension else None


def wider(dtype: DType) -> str:
    """Return the name of the narrowest NumPy dtype that holds an ml_dtypes dtype's values."""
    kind = dtype.name.rstrip("0123456789")
    if kind.endswith("complex"):
        return "np.complex64"
    return f"np.{kind}8" if kind in ("int", "uint") else "np.float32"


def native(dtype: DType) -> DType:
    """Return the dtype in native byte order."""
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def leaves(dtype: DType) -> Iterator[DType]:
    """Iterate over the scalar dtypes inside a structured or subarray dtype."""
    if dtype.subdtype is not None:
        yield from leaves(dtype.subdtype[0])
    elif dtype.fields is not None:
        for field in dtype.fields.values():
            yield from leaves(field[0])
    else:
        yield dtype
