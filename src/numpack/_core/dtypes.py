"""One table: what each dtype is called by NumPy, DLPack, PyTorch and Arrow.

Everything else in the package asks this table; the tests are generated from it.
DLPack's type codes are those of ``DLDataTypeCode`` in DLPack 1.1. Arrow names are the
attributes of `pyarrow` that make the type.
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
    """One dtype under all its names; ``None`` where a framework does not have it.

    Attributes
    ----------
    numpy : str
        ``dtype.name``, in NumPy or in ml_dtypes.
    code, bits : int
        DLPack's type code and width. `bits` below 8 means one value a byte (padded).
    torch : str or None
        The attribute of `torch`.
    arrow : str or None
        The function of `pyarrow` that makes the type.
    extension : bool
        Whether the dtype comes from ml_dtypes.
    """

    numpy: str
    code: int
    bits: int
    torch: str | None = None
    arrow: str | None = None
    extension: bool = False

    @property
    def carrier(self) -> DType:
        """The unsigned integer of the same width, which every framework knows."""
        return np.dtype(f"u{max(self.bits, 8) // 8}")

    @property
    def dtype(self) -> DType:
        """The NumPy dtype; imports ml_dtypes for an extension."""
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

# What a store names; the last two are exchanged with nobody, as no framework has both of them.
STORED: tuple[DTypeInfo, ...] = (
    *DTYPES,
    DTypeInfo("complex32", _COMPLEX, 32, extension=True),
    DTypeInfo("bcomplex32", _COMPLEX, 32, extension=True),
)

_BY_NUMPY = {row.numpy: row for row in DTYPES}
_STORED = {row.numpy: row for row in STORED}
_BY_TORCH = {row.torch: row for row in DTYPES if row.torch}
_BY_DLPACK = {(row.code, row.bits): row for row in DTYPES}
_BY_DTYPE: dict[
    DType, DTypeInfo
] = {}  # those asked for, because NumPy makes up a name each time


def is_extension(dtype: DType) -> bool:
    """Tell whether `dtype` comes from ml_dtypes, without importing it."""
    return dtype.type.__module__.partition(".")[0] == "ml_dtypes"


def of_numpy(dtype: DType) -> DTypeInfo | None:
    """Find the row of a NumPy or ml_dtypes dtype, in either byte order."""
    row = _BY_DTYPE.get(dtype)
    if row is None:
        row = _BY_NUMPY.get(dtype.name)
        if row is None or row.extension != is_extension(dtype):
            return None
        _BY_DTYPE[dtype] = row
    return row


def is_storable(dtype: DType) -> bool:
    """Check whether a dtype is one of ml_dtypes that a store can name."""
    row = _STORED.get(dtype.name)
    return row is not None and row.extension and is_extension(dtype)


def of_torch(name: str) -> DTypeInfo | None:
    """Find the row of a torch dtype by its name without ``torch.``."""
    return _BY_TORCH.get(name)


def of_dlpack(code: int, bits: int) -> DTypeInfo | None:
    """Find the row of a DLPack type code and width."""
    return _BY_DLPACK.get((code, bits))


def of_extension(name: str) -> DType | None:
    """Find an ml_dtypes dtype by its name; ``None`` if the table has no such name."""
    row = _STORED.get(name)
    return row.dtype if row is not None and row.extension else None


def wider(dtype: DType) -> str:
    """Name NumPy's narrowest dtype that holds the values of one of ml_dtypes."""
    kind = dtype.name.rstrip("0123456789")
    if kind.endswith("complex"):
        return "np.complex64"
    return f"np.{kind}8" if kind in ("int", "uint") else "np.float32"


def native(dtype: DType) -> DType:
    """Give the dtype in the machine's byte order."""
    return dtype if dtype.isnative else dtype.newbyteorder("=")


def leaves(dtype: DType) -> Iterator[DType]:
    """Walk the plain dtypes inside a structured or subarray dtype."""
    if dtype.subdtype is not None:
        yield from leaves(dtype.subdtype[0])
    elif dtype.fields is not None:
        for field in dtype.fields.values():
            yield from leaves(field[0])
    else:
        yield dtype
