"""The dtypes that a store supports, and their encoding in the log."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core import dtypes
from ..._core.memory import hides_values
from ..._core.policy import describe
from ...errors import CorruptStoreError, UnsupportedError
from .dtype_codes import brief, itemsize

if TYPE_CHECKING:
    from ..._core.dtypes import DType

_PLAIN = frozenset("?bhilqBHILQefdFD")  # always storable
_KNOWN_DTYPES = 4096  # limit of the cache

DTYPES: dict[str, DType] = {}  # cache of codes that are strings, as nearly all are


def storable_dtype(array: np.ndarray[Any, Any]) -> DType:
    """Return the little-endian dtype in which an array is stored.

    Raises
    ------
    UnsupportedError
        Objects and variable-length strings are references, long doubles differ between
        machines, and a mask would be lost.
    """
    dtype = array.dtype
    if type(array) is np.ndarray and dtype.isbuiltin == 1 and dtype.char in _PLAIN:
        plain: DType = dtype.newbyteorder("<") if sys.byteorder == "big" else dtype
        return plain
    if hides_values(array):
        _refuse(array, "the mask would be lost", "save array.filled(value), or data and mask")
    for leaf in dtypes.leaves(array.dtype):
        if leaf.hasobject:
            why = "it holds references, not values"
            fix = "convert it to a fixed-size dtype, strings for example with astype('U')"
            _refuse(array, why, fix)
        if leaf.type in (np.longdouble, np.clongdouble):
            why = "long doubles differ between machines"
            _refuse(array, why, "round it yourself with astype(np.float64)")
        if leaf.isbuiltin == 2 and not dtypes.is_storable(leaf):
            _refuse(array, "the format has no code for its dtype", "store array.view('u1')")
    stored: DType = array.dtype.newbyteorder("<")
    try:
        itemsize(encode_dtype(stored))
    except (ValueError, RecursionError) as error:  # nested too deeply to be read again
        _refuse(array, f"readers reject its dtype: {error}", "store its fields one by one")
    return stored


def encode_dtype(dtype: DType) -> Any:
    """Encode a dtype in JSON: a string, a list for a subarray, or an object for a struct.

    Dtypes of ml_dtypes are encoded by name, all others by NumPy's type string.
    """
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [encode_dtype(base), list(shape)]
    if dtype.fields is not None and dtype.names is not None:
        fields = [dtype.fields[name] for name in dtype.names]
        code = {
            "names": list(dtype.names),
            "formats": [encode_dtype(field[0]) for field in fields],
            "offsets": [field[1] for field in fields],
            "itemsize": dtype.itemsize,
        }
        if any(len(field) > 2 for field in fields):
            code["titles"] = [field[2] if len(field) > 2 else None for field in fields]
        return code
    return dtype.name if dtypes.is_extension(dtype) else dtype.newbyteorder("<").str


def decode_dtype(code: Any) -> DType:
    """Decode a dtype encoded by `encode_dtype`.

    Raises
    ------
    CorruptStoreError
        NumPy rejects the code, although `dtype_codes.itemsize` accepted it.
    MissingDependencyError
        The dtype requires ml_dtypes, which is not installed.
    """
    size = itemsize(code)
    try:
        found = _decode(code)
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError) as error:
        raise _unreadable(code, str(error)) from error
    if found.itemsize != size:
        raise _unreadable(code, f"its size is {found.itemsize:,} bytes, not {size:,}")
    if type(code) is str:
        if len(DTYPES) > _KNOWN_DTYPES:
            DTYPES.clear()
        DTYPES[code] = found
    return found


def _decode(code: Any) -> DType:
    if isinstance(code, dict):
        fields: Any = {**code, "formats": [_decode(each) for each in code["formats"]]}
        struct: DType = np.dtype(fields)
        return struct
    if isinstance(code, list):
        return np.dtype((_decode(code[0]), tuple(code[1])))
    return dtypes.of_extension(code) or np.dtype(code)


def _unreadable(code: Any, why: str) -> CorruptStoreError:
    msg = (
        f"the log has a dtype, {brief(code)}, that NumPy rejects: {why}; restore the store "
        "from a backup"
    )
    return CorruptStoreError(msg)


def _refuse(array: np.ndarray[Any, Any], why: str, fix: str) -> None:
    msg = f"an array cannot be stored ({describe(array)}): {why}; {fix}"
    raise UnsupportedError(msg, reason=why, fix=fix)
