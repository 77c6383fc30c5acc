"""NumPy views of Arrow buffers, and validity bitmaps as NumPy masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from ..._core.dtypes import DType
    from ..._core.memory import Array

# `DataType.to_pandas_dtype` requires pandas before pyarrow 22.
_NUMBERS = {
    pa.from_numpy_dtype(name): np.dtype(name)
    for name in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
}


def shareable(array: pa.Array) -> bool:
    """Check whether the values have NumPy's memory layout and contain no nulls."""
    type_ = array.type
    if array.null_count:
        return False
    if isinstance(type_, pa.BaseExtensionType):
        return shareable(array.storage) and (type_ != pa.bool8() or _only_zero_and_one(array))
    if pa.types.is_fixed_size_list(type_):
        return shareable(child_array(array))
    return _dtype(type_) is not None


def view(array: pa.Array) -> Array:
    """Return a view of the values of an array that is `shareable`."""
    type_ = array.type
    if isinstance(type_, pa.FixedShapeTensorType):
        return tensor_shaped(view(array.storage), type_)
    if isinstance(type_, pa.BaseExtensionType):
        values = view(array.storage)
        return values.view(np.bool_) if type_ == pa.bool8() else values
    if pa.types.is_fixed_size_list(type_):
        cells = view(child_array(array))
        return cells.reshape(len(array), type_.list_size, *cells.shape[1:])
    dtype = _dtype(type_)
    data = array.buffers()[1]
    if len(array) == 0 or dtype is None or dtype.itemsize == 0 or data is None:
        return np.empty(len(array), dtype)
    start = array.offset * dtype.itemsize
    return np.frombuffer(data, np.uint8, len(array) * dtype.itemsize, start).view(dtype)


def tensor_shaped(lists: Array, type_: Any) -> Array:
    """Reshape the values of a tensor array's storage, one row a tensor, to its tensor shape."""
    values = lists.reshape(len(lists), *type_.shape, *lists.shape[2:])
    if type_.permutation is None:
        return values
    inner = range(1 + len(type_.shape), values.ndim)
    return values.transpose(0, *(1 + axis for axis in type_.permutation), *inner)


def child_array(array: pa.Array) -> pa.Array:
    """Return the child array of fixed-size lists, limited to the lists of a slice."""
    size = array.type.list_size
    return array.values.slice(array.offset * size, len(array) * size)


def _dtype(type_: pa.DataType) -> DType | None:
    """Return the NumPy dtype with the memory layout of an Arrow type; ``None`` if none has."""
    if pa.types.is_timestamp(type_):
        return np.dtype(f"M8[{type_.unit}]")
    if pa.types.is_duration(type_):
        return np.dtype(f"m8[{type_.unit}]")
    if pa.types.is_date64(type_):
        return np.dtype("M8[ms]")
    if pa.types.is_fixed_size_binary(type_):
        return np.dtype(f"V{type_.byte_width}")
    return _NUMBERS.get(type_)


def _only_zero_and_one(array: pa.Array) -> bool:
    """Check whether bool8 values are valid in NumPy; in Arrow any nonzero byte is true."""
    return bool(np.all(view(array.storage).view(np.uint8) <= 1))


def nbytes(columns: pa.Array | pa.ChunkedArray | pa.RecordBatch | pa.Table) -> int:
    """Return the size of columns in bytes; for views (``string_view``), of all buffers."""
    try:
        used: int = columns.nbytes
    except pa.ArrowTypeError:  # older versions of pyarrow do not support views here
        used = columns.get_total_buffer_size()
    return used


def addresses(columns: pa.Array | pa.ChunkedArray | pa.RecordBatch | pa.Table) -> list[int]:
    """Return the addresses of the buffers that are not empty."""
    if isinstance(columns, pa.Table | pa.RecordBatch):
        return [address for column in columns.columns for address in addresses(column)]
    chunks = columns.chunks if isinstance(columns, pa.ChunkedArray) else [columns]
    return [
        buffer.address
        for chunk in chunks
        for buffer in chunk.buffers()
        if buffer and buffer.size
    ]


def mask(array: pa.Array) -> Array:
    """Return the mask of an array: true where a value, or the list around it, is null."""
    type_ = array.type
    if isinstance(type_, pa.FixedShapeTensorType):
        return tensor_shaped(mask(array.storage), type_)
    if isinstance(type_, pa.BaseExtensionType):
        return mask(array.storage)
    own = top_level_mask(array)
    if not pa.types.is_fixed_size_list(type_):
        return own
    cells = mask(child_array(array))
    cells = cells.reshape(len(array), type_.list_size, *cells.shape[1:])
    return cells | own.reshape(len(array), *(1,) * (cells.ndim - 1))


def top_level_mask(array: pa.Array) -> Array:
    """Return the mask of the outermost type alone; for a union, that of its children.

    pyarrow's ``is_null`` crashes on dictionaries whose values have the null type.
    """
    type_ = array.type
    if isinstance(type_, pa.BaseExtensionType):
        return top_level_mask(array.storage)
    if pa.types.is_null(type_):
        return np.ones(len(array), np.bool_)
    if pa.types.is_union(type_):
        return _union_mask(array)
    valid = top_level_validity(array)
    return np.zeros(len(array), np.bool_) if valid is None else ~valid


def _union_mask(array: pa.Array) -> Array:
    type_ = array.type
    codes = int_buffer(array, 1, "i1")
    dense = type_.mode == "dense"
    positions = int_buffer(array, 2, "i4") if dense else np.arange(len(array))
    is_null = np.zeros(len(array), np.bool_)
    for i, code in enumerate(type_.type_codes):
        here = codes == code
        is_null[here] = top_level_mask(array.field(i))[positions[here]]
    return is_null


def top_level_validity(array: pa.Array) -> Array | None:
    """Return the outermost validity bitmap as booleans; ``None`` if all values are valid."""
    buffer = array.buffers()[0]
    if buffer is None or not buffer.size:
        return None
    start, stop = array.offset, array.offset + len(array)
    raw = np.frombuffer(buffer, np.uint8)[start // 8 : -(-stop // 8)]
    bits = np.unpackbits(raw, bitorder="little")[start % 8 :][: len(array)]
    found: Array = bits.view(np.bool_)
    return None if found.all() else found


def int_buffer(array: pa.Array, index: int, dtype: str, extra: int = 0) -> Array:
    """Return a view of the part of an integer buffer to which an array refers.

    The buffer holds offsets, sizes or type codes; `extra` is the number of its values beyond
    the array's length. For unions, pyarrow's `type_codes` and `offsets` ignore the offset of
    the array.
    """
    buffer = array.buffers()[index]
    if buffer is None or not buffer.size:
        return np.zeros(len(array) + extra, dtype)
    found = np.frombuffer(buffer, dtype, offset=array.offset * np.dtype(dtype).itemsize)
    return found[: len(array) + extra]


def without_nulls(array: pa.Array) -> pa.Array:
    """Return an array over the same buffers, without the validity bitmaps."""
    type_ = array.type
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, without_nulls(array.storage))
    if pa.types.is_fixed_size_list(type_):
        return pa.Array.from_buffers(
            type_, len(array), [None], children=[without_nulls(child_array(array))]
        )
    if _dtype(type_) is None and not pa.types.is_boolean(type_):
        return array
    return pa.Array.from_buffers(
        type_, len(array), [None, *array.buffers()[1:]], null_count=0, offset=array.offset
    )


def null_count(array: pa.Array) -> int:
    """Return the number of nulls, including those in fixed-size lists; cheap without nulls."""
    type_ = array.type
    if isinstance(type_, pa.BaseExtensionType):
        return null_count(array.storage)
    if pa.types.is_primitive(type_):
        return int(array.null_count)
    if (
        pa.types.is_fixed_size_list(type_)
        and not array.null_count
        and not null_count(child_array(array))
    ):
        return 0
    if pa.types.is_fixed_size_list(type_) and type_.list_size == 0:
        return int(np.count_nonzero(top_level_mask(array)))
    return int(np.count_nonzero(mask(array)))
