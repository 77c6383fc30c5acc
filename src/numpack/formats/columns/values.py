"""Values of Arrow columns as NumPy arrays of a dtype that is known beforehand.

Nulls, lists and strings are converted, and checked, so that every part of a column has the same
dtype and the same shape of a row.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ...adapters.arrow.convert import decode
from ...adapters.arrow.trees import type_with_offsets
from ...adapters.arrow.views import (
    child_array,
    int_buffer,
    mask,
    null_count,
    tensor_shaped,
    view,
    without_nulls,
)
from ...errors import InvalidValueError, NullError, UnsupportedError
from .types import is_string

if TYPE_CHECKING:
    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from .columns import Column

_EXACT_IN_FLOAT64 = 2**53
_ASCII = 128


class Values(NamedTuple):
    """Rows of an array, and which of them are null; ``None`` if none is."""

    data: Array
    is_null: Array | None


def array_of(batch: pa.RecordBatch, column: Column) -> pa.Array:
    """Return a column of a batch without dictionaries and other encodings, validated.

    Raises
    ------
    InvalidValueError
        The column is damaged: offsets or indexes point outside of its buffers.
    """
    try:
        array = column.select(batch)
        array.validate(full=True)
    except (pa.ArrowException, ValueError) as error:
        msg = f"the column {column.name!r} is damaged: {error}; restore the file from a backup"
        raise InvalidValueError(msg) from error
    while isinstance(array.type, pa.BaseExtensionType) and not is_tensor(array):
        array = array.storage
    array = decode(array)
    if pa.types.is_string_view(array.type) or pa.types.is_binary_view(array.type):
        array = array.cast(type_with_offsets(array.type))
    return array


def is_tensor(array: pa.Array) -> bool:
    """Check whether each row of an array is a tensor."""
    return isinstance(array.type, pa.FixedShapeTensorType)


def is_variable_list(array: pa.Array) -> bool:
    """Check whether an array consists of lists whose lengths may differ."""
    return bool(pa.types.is_list(array.type) or pa.types.is_large_list(array.type))


def fixed_lists(array: pa.Array, cell: tuple[int, ...], column: Column) -> pa.Array:
    """Return an array whose variable-size lists are fixed-size ones.

    Parameters
    ----------
    array : pyarrow.Array
        As `array_of` returns it.
    cell : tuple of int
        The shape of a row.
    column : Column

    Raises
    ------
    UnsupportedError
        A list has another length.
    """
    type_ = array.type
    if is_variable_list(array):
        _check_lengths(array, cell[0], column)
        array = array.cast(pa.list_(type_.value_field, cell[0]))
    elif not pa.types.is_fixed_size_list(type_):
        return array
    child = child_array(array)
    inner = fixed_lists(child, cell[1:], column)
    if inner is child:
        return array
    lost = pc.is_null(array) if array.null_count else None
    return pa.FixedSizeListArray.from_arrays(inner, cell[0], mask=lost)


def _check_lengths(array: pa.Array, length: int, column: Column) -> None:
    found = pc.min_max(pc.list_value_length(array)).as_py()
    lengths = {found["min"], found["max"]} - {None}
    if lengths - {length}:
        raise ragged_error(column, min(lengths | {length}), max(lengths | {length}))


def ragged_error(column: Column, shortest: int, longest: int) -> UnsupportedError:
    """Return the error for lists of different lengths."""
    why = f"its lists have different lengths, {shortest:,} and {longest:,} among them"
    fix = "pass ragged='offsets' for their values end to end and an array of offsets"
    msg = f"the column {column.name!r} cannot be one array: {why}; {fix}"
    return UnsupportedError(msg, reason=why, fix=fix, direction="from Arrow")


def cell_of(array: pa.Array) -> tuple[int, ...] | None:
    """Return the shape of a row; ``None`` if there is no list from which to tell it.

    Of variable-size lists the first one that is not null counts.
    """
    type_ = array.type
    if isinstance(type_, pa.FixedShapeTensorType):
        axes = type_.permutation or range(len(type_.shape))
        return tuple(type_.shape[axis] for axis in axes)
    if pa.types.is_fixed_size_list(type_):
        inner = cell_of(child_array(array))
        return None if inner is None else (type_.list_size, *inner)
    if not is_variable_list(array):
        return ()
    valid = array.drop_null()
    if not len(valid):
        return None
    inner = cell_of(valid.flatten())
    length = len(valid.slice(0, 1).flatten())
    return (length, *inner) if inner is not None else None


def flat_values(array: pa.Array, column: Column) -> pa.Array:
    """Return the single values inside of all lists and tensors, cast as the user asked."""
    type_ = array.type
    if isinstance(type_, pa.BaseExtensionType):
        return flat_values(array.storage, column)
    if pa.types.is_fixed_size_list(type_):
        return flat_values(child_array(array), column)
    if is_variable_list(array):
        return flat_values(array.flatten(), column)
    return _cast(array, column)


def _cast(leaf: pa.Array, column: Column) -> pa.Array:
    if column.target is None or leaf.type == column.target:
        return leaf
    try:
        return leaf.cast(column.target)
    except (pa.ArrowException, ValueError) as error:
        msg = (
            f"the column {column.name!r} of {leaf.type} cannot be cast to {column.target}: "
            f"{error}; choose another type with types="
        )
        raise InvalidValueError(msg) from error


def count_nulls(array: pa.Array) -> int:
    """Return the number of nulls among rows, and among the values inside of them."""
    if is_variable_list(array):
        return int(array.null_count) + count_nulls(array.flatten())
    return null_count(array)


def values_of(
    array: pa.Array, column: Column, dtype: DType, cell: tuple[int, ...], nulls: str
) -> Values:
    """Convert the rows of a column.

    Parameters
    ----------
    array : pyarrow.Array
        Without variable-size lists.
    column : Column
    dtype : dtype
        Of the result.
    cell : tuple of int
        The shape of a row.
    nulls : {"convert", "mask", "raise"}
        With ``"mask"`` the data has zeros in place of nulls.

    Raises
    ------
    NullError
        There are nulls, and `nulls` is ``"raise"``.
    UnsupportedError
        The dtype cannot hold the nulls.
    """
    lost = mask(array) if null_count(array) else None
    data = _leaf_values(flat_values(array, column), column, dtype)
    if is_tensor(array):
        size = array.type.storage_type.list_size
        data = tensor_shaped(data.reshape(len(array), size), array.type)
    data = data.reshape(len(array), *cell)
    if lost is None:
        return Values(data, None)
    if nulls == "raise":
        raise null_error(column, int(np.count_nonzero(lost)))
    data = data.astype(dtype)  # memory of its own
    data[lost] = np.zeros((), dtype) if nulls == "mask" else missing_value(column, dtype)
    return Values(data, lost)


def null_error(column: Column, count: int) -> NullError:
    """Return the error for nulls that nobody expected."""
    msg = (
        f"{count:,} values of the column {column.name!r} are null; pass nulls='convert' for "
        "NaN and NaT, or nulls='mask' for an array of booleans beside it"
    )
    return NullError(msg)


def missing_value(column: Column, dtype: DType) -> Any:
    """Return the value that stands for a null.

    Raises
    ------
    UnsupportedError
        The dtype has none.
    """
    if dtype.kind == "f":
        return np.nan
    if dtype.kind in "mM":
        return np.array("NaT", dtype)
    why = f"some of its values are null, for which {dtype.name} has no value"
    fix = f"pass nulls='mask' for an array {column.name + '.mask'!r} that tells them"
    msg = f"the column {column.name!r} cannot be an array: {why}; {fix}"
    raise UnsupportedError(msg, reason=why, fix=fix, direction="from Arrow")


def _leaf_values(leaf: pa.Array, column: Column, dtype: DType) -> Array:
    if column.is_text:
        return _text_values(leaf, column, dtype)
    if pa.types.is_integer(leaf.type) and dtype.kind == "f":
        _check_exact(leaf, column)
    if pa.types.is_null(leaf.type):
        return np.zeros(len(leaf), dtype)
    bare = without_nulls(leaf)
    if pa.types.is_boolean(leaf.type):
        booleans: Array = bare.to_numpy(zero_copy_only=False)
        return booleans
    if pa.types.is_date32(leaf.type):
        return view(bare.view(pa.int32())).astype("i8").view("M8[D]")
    found = view(bare)
    if found.dtype.kind in "mM" and found.dtype != dtype:
        return _in_unit(found, column, dtype)
    return found.view(dtype) if dtype.kind == "V" else found.astype(dtype, copy=False)


def _in_unit(times: Array, column: Column, dtype: DType) -> Array:
    converted = times.astype(dtype)
    if not np.array_equal(converted.astype(times.dtype), times, equal_nan=True):
        msg = (
            f"the column {column.name!r} is noted as {dtype.name}, and has times between its "
            "ticks; write the file again without the note 'numpack' of that column"
        )
        raise InvalidValueError(msg)
    return converted


def _check_exact(leaf: pa.Array, column: Column) -> None:
    bounds = pc.min_max(leaf).as_py()
    if bounds["min"] is None or max(-bounds["min"], bounds["max"]) <= _EXACT_IN_FLOAT64:
        return
    why = "it has nulls, and float64 with NaN would round its integers above 2**53"
    fix = "pass nulls='mask'"
    msg = f"the column {column.name!r} cannot be an array: {why}; {fix}"
    raise UnsupportedError(msg, reason=why, fix=fix, direction="from Arrow")


def _text_values(leaf: pa.Array, column: Column, dtype: DType) -> Array:
    """Convert strings or bytes of different lengths to a dtype of one width."""
    width = dtype.itemsize // np.dtype(f"{dtype.kind}1").itemsize
    used, lengths = text_bytes(leaf)
    _check_last(used, lengths, column)
    if is_string(leaf.type) and used.size and used.max() >= _ASCII:
        if longest(leaf) > width:
            raise InvalidValueError(_changed(column))
        return np.array(leaf.fill_null("").to_pylist(), dtype)
    if lengths.max(initial=0) > width:
        raise InvalidValueError(_changed(column))
    filled = np.zeros((len(leaf), width), np.uint8)
    filled[np.arange(width) < lengths[:, None]] = used
    if dtype.kind == "S":
        return filled.view(dtype).reshape(-1)
    return filled.astype(np.uint32).view(dtype).reshape(-1)


def longest(leaf: pa.Array) -> int:
    """Return the length of the longest string in characters, or of other values in bytes."""
    lengths = pc.utf8_length(leaf) if is_string(leaf.type) else pc.binary_length(leaf)
    return int(pc.max(lengths).as_py() or 0)


def text_bytes(leaf: pa.Array) -> tuple[Array, Array]:
    """Return the bytes of strings end to end, and the length of each; a null has none."""
    raw = leaf.cast(pa.large_binary())
    if raw.null_count:
        raw = raw.fill_null(b"")
    offsets = int_buffer(raw, 1, "i8", 1)
    text = np.frombuffer(raw.buffers()[2] or b"", np.uint8)
    return text[offsets[0] : offsets[-1]], np.diff(offsets)


def _check_last(used: Array, lengths: Array, column: Column) -> None:
    """Refuse values that end in a NUL, which NumPy would cut off."""
    last = np.cumsum(lengths)[lengths > 0] - 1
    if not used[last].all():
        why = "some of its values end in a NUL, which NumPy's strings leave out"
        fix = "leave it out with columns=, or pass strings='offsets' for bytes and offsets"
        msg = f"the column {column.name!r} cannot be an array: {why}; {fix}"
        raise UnsupportedError(msg, reason=why, fix=fix, direction="from Arrow")


def _changed(column: Column) -> str:
    return (
        f"the column {column.name!r} has a longer value than when it was measured; the file "
        "was changed meanwhile, convert it again"
    )
