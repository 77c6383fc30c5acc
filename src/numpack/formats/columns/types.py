"""Types of Arrow: the values inside of them, their axes, and the dtypes of NumPy."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ...adapters.arrow.trees import decoded_type, storage_type
from ...errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._core.dtypes import DType


def bare(type_: pa.DataType) -> pa.DataType:
    """Return the type of values without an encoding, and of the storage of extension types."""
    if isinstance(type_, pa.FixedShapeTensorType):
        return type_
    inner = decoded_type(type_) or storage_type(type_)
    return type_ if inner is None else bare(inner)


def leaf_type(type_: pa.DataType) -> pa.DataType:
    """Return the type of a single value: decoded, inside all lists and tensors."""
    inner = _inner(type_)
    return type_ if inner is None else leaf_type(inner)


def _inner(type_: pa.DataType) -> pa.DataType | None:
    if pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_):
        return type_.value_type
    if isinstance(type_, pa.FixedShapeTensorType):
        return type_.value_type if not type_.permutation else type_.storage_type
    if isinstance(type_, pa.BaseExtensionType):
        return storage_type(type_)
    return type_.value_type if is_list(type_) or pa.types.is_fixed_size_list(type_) else None


def is_list(type_: pa.DataType) -> bool:
    """Return whether a type is a list of any kind."""
    kinds = (
        pa.types.is_list,
        pa.types.is_large_list,
        pa.types.is_list_view,
        pa.types.is_large_list_view,
    )
    return any(kind(type_) for kind in kinds)


def axes(type_: pa.DataType, *, inside: bool = False) -> tuple[int | None, ...]:
    """Return the shape of a row; ``None`` for the lengths of variable-size lists.

    A tensor with permuted axes inside of a list is taken as the list that stores it.
    """
    if isinstance(type_, pa.FixedShapeTensorType) and not (inside and type_.permutation):
        order = type_.permutation or range(len(type_.shape))
        return tuple(type_.shape[axis] for axis in order)
    inner = _inner(type_)
    if inner is None:
        return ()
    if is_list(type_):
        return (None, *axes(inner, inside=True))
    if pa.types.is_fixed_size_list(type_):
        return (type_.list_size, *axes(inner, inside=True))
    return axes(inner, inside=inside)


def is_text(leaf: pa.DataType) -> bool:
    """Check whether values are strings or bytes of different lengths."""
    return is_string(leaf) or bool(
        pa.types.is_binary(leaf)
        or pa.types.is_large_binary(leaf)
        or pa.types.is_binary_view(leaf)
    )


def is_string(leaf: pa.DataType) -> bool:
    """Check whether values are strings."""
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    return any(kind(leaf) for kind in kinds)


def is_integer_like(leaf: pa.DataType) -> bool:
    """Check whether nulls change the dtype of the array: NaN needs a float."""
    return bool(pa.types.is_integer(leaf))


def plain_dtype(leaf: pa.DataType) -> DType | None:
    """Return the dtype of values that need no conversion, or ``None``."""
    if pa.types.is_null(leaf):
        return np.dtype(np.float64)  # all of them are NaN
    if pa.types.is_boolean(leaf):
        return np.dtype(np.bool_)
    if pa.types.is_date32(leaf):
        return np.dtype("M8[D]")
    if pa.types.is_date64(leaf):
        return np.dtype("M8[ms]")
    if pa.types.is_timestamp(leaf) or pa.types.is_duration(leaf):
        return np.dtype(f"{'M' if pa.types.is_timestamp(leaf) else 'm'}8[{leaf.unit}]")
    if pa.types.is_fixed_size_binary(leaf) and leaf.byte_width:
        return np.dtype(f"V{leaf.byte_width}")
    return _NUMBERS.get(leaf)


_NUMBERS = {
    pa.from_numpy_dtype(code): np.dtype(code)
    for code in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
}


def as_types(types: Mapping[str, Any] | None) -> dict[str, pa.DataType]:
    """Return the Arrow types that a user names: as such, by their names, or as dtypes of NumPy.

    Raises
    ------
    InvalidValueError
        There is no such type.
    """
    return {name: _as_type(name, given) for name, given in (types or {}).items()}


def _as_type(name: str, given: Any) -> pa.DataType:
    if isinstance(given, pa.DataType):
        return given
    try:
        if isinstance(given, str):
            return pa.type_for_alias(given)
        return pa.from_numpy_dtype(np.dtype(given))
    except (ValueError, TypeError, pa.ArrowException):
        pass
    try:
        return pa.from_numpy_dtype(np.dtype(given))
    except (ValueError, TypeError, pa.ArrowException) as error:
        msg = (
            f"types= has {given!r} for {name!r}, which is no type; pass a pyarrow.DataType, or "
            "a name such as 'float64', 'int32', 'string', 'timestamp[ms]'"
        )
        raise InvalidValueError(msg) from error
