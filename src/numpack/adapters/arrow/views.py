"""Arrow memory as NumPy sees it: values viewed in place, validity bitmaps as masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

if TYPE_CHECKING:
    from ..._core.dtypes import DType
    from ..._core.memory import Array

# Not by `DataType.to_pandas_dtype`, which wants pandas before pyarrow 22.
_NUMBERS = {
    pa.from_numpy_dtype(name): np.dtype(name)
    for name in ("i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
}


def shareable(array: pa.Array) -> bool:
    """Tell whether the values lie in one buffer as NumPy's would, without nulls."""
    kind = array.type
    if array.null_count:
        return False
    if isinstance(kind, pa.BaseExtensionType):
        return shareable(array.storage) and (kind != pa.bool8() or _only_zero_and_one(array))
    if pa.types.is_fixed_size_list(kind):
        return shareable(child(array))
    return _dtype(kind) is not None


def view(array: pa.Array) -> Array:
    """View the values of a `_shareable` array in place."""
    kind = array.type
    if isinstance(kind, pa.FixedShapeTensorType):
        return tensor_shaped(view(array.storage), kind)
    if isinstance(kind, pa.BaseExtensionType):
        values = view(array.storage)
        return values.view(np.bool_) if kind == pa.bool8() else values
    if pa.types.is_fixed_size_list(kind):
        cells = view(child(array))
        return cells.reshape(len(array), kind.list_size, *cells.shape[1:])
    dtype = _dtype(kind)
    data = array.buffers()[1]
    if len(array) == 0 or dtype is None or dtype.itemsize == 0 or data is None:
        return np.empty(len(array), dtype)
    start = array.offset * dtype.itemsize
    return np.frombuffer(data, np.uint8, len(array) * dtype.itemsize, start).view(dtype)


def tensor_shaped(lists: Array, kind: Any) -> Array:
    """Bring the elements of a tensor array's lists, one list a row, to the tensor's shape."""
    values = lists.reshape(len(lists), *kind.shape, *lists.shape[2:])
    if kind.permutation is None:
        return values
    inner = range(1 + len(kind.shape), values.ndim)
    return values.transpose(0, *(1 + axis for axis in kind.permutation), *inner)


def child(array: pa.Array) -> pa.Array:
    """Give the elements of fixed-size lists: the part that an offset leaves of them."""
    size = array.type.list_size
    return array.values.slice(array.offset * size, len(array) * size)


def _dtype(kind: pa.DataType) -> DType | None:
    """Find the NumPy dtype whose elements lie as Arrow's do."""
    if pa.types.is_timestamp(kind):
        return np.dtype(f"M8[{kind.unit}]")
    if pa.types.is_duration(kind):
        return np.dtype(f"m8[{kind.unit}]")
    if pa.types.is_date64(kind):
        return np.dtype("M8[ms]")
    if pa.types.is_fixed_size_binary(kind):
        return np.dtype(f"V{kind.byte_width}")
    return _NUMBERS.get(kind)


def _only_zero_and_one(array: pa.Array) -> bool:
    """Tell whether bool8 values are NumPy's: Arrow calls every other byte true as well."""
    return bool(np.all(view(array.storage).view(np.uint8) <= 1))


def nbytes(columns: pa.Array | pa.ChunkedArray | pa.RecordBatch | pa.Table) -> int:
    """Count the bytes of columns; of views, such as ``string_view``, with all their buffers."""
    try:
        used: int = columns.nbytes
    except pa.ArrowTypeError:  # an older pyarrow does not know what views use
        used = columns.get_total_buffer_size()
    return used


def addresses(columns: pa.Array | pa.ChunkedArray | pa.RecordBatch | pa.Table) -> list[int]:
    """List where the buffers lie that hold something."""
    if isinstance(columns, pa.Table | pa.RecordBatch):
        return [place for column in columns.columns for place in addresses(column)]
    chunks = columns.chunks if isinstance(columns, pa.ChunkedArray) else [columns]
    return [
        buffer.address
        for chunk in chunks
        for buffer in chunk.buffers()
        if buffer and buffer.size
    ]


def mask(array: pa.Array) -> Array:
    """Unpack the validity bitmaps: true where a value, or the list around it, is null."""
    kind = array.type
    if isinstance(kind, pa.FixedShapeTensorType):
        return tensor_shaped(mask(array.storage), kind)
    if isinstance(kind, pa.BaseExtensionType):
        return mask(array.storage)
    own = own_mask(array)
    if not pa.types.is_fixed_size_list(kind):
        return own
    cells = mask(child(array))
    cells = cells.reshape(len(array), kind.list_size, *cells.shape[1:])
    return cells | own.reshape(len(array), *(1,) * (cells.ndim - 1))


def own_mask(array: pa.Array) -> Array:
    """Return where values are null by the outermost type; of a union, where its children are.

    pyarrow's ``is_null`` crashes on a dictionary whose values are of the null type.
    """
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return own_mask(array.storage)
    if pa.types.is_null(kind):
        return np.ones(len(array), np.bool_)
    if pa.types.is_union(kind):
        return _union_mask(array)
    valid = own_validity(array)
    return np.zeros(len(array), np.bool_) if valid is None else ~valid


def _union_mask(array: pa.Array) -> Array:
    kind = array.type
    codes = numbers(array, 1, "i1")
    dense = kind.mode == "dense"
    places = numbers(array, 2, "i4") if dense else np.arange(len(array))
    hidden = np.zeros(len(array), np.bool_)
    for i, code in enumerate(kind.type_codes):
        here = codes == code
        hidden[here] = own_mask(array.field(i))[places[here]]
    return hidden


def own_validity(array: pa.Array) -> Array | None:
    """Unpack the validity bitmap that an array has itself; ``None`` if all are valid."""
    buffer = array.buffers()[0]
    if buffer is None or not buffer.size:
        return None
    start, stop = array.offset, array.offset + len(array)
    raw = np.frombuffer(buffer, np.uint8)[start // 8 : -(-stop // 8)]
    bits = np.unpackbits(raw, bitorder="little")[start % 8 :][: len(array)]
    found: Array = bits.view(np.bool_)
    return None if found.all() else found


def numbers(array: pa.Array, place: int, dtype: str, extra: int = 0) -> Array:
    """View the part of a buffer of offsets, sizes or type codes that an array refers to.

    pyarrow's own `type_codes` and `offsets` of unions ignore the array's offset.
    """
    buffer = array.buffers()[place]
    if buffer is None or not buffer.size:
        return np.zeros(len(array) + extra, dtype)
    found = np.frombuffer(buffer, dtype, offset=array.offset * np.dtype(dtype).itemsize)
    return found[: len(array) + extra]


def without_nulls(array: pa.Array) -> pa.Array:
    """Give the same buffers without the validity bitmaps."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, without_nulls(array.storage))
    if pa.types.is_fixed_size_list(kind):
        return pa.Array.from_buffers(
            kind, len(array), [None], children=[without_nulls(child(array))]
        )
    if _dtype(kind) is None and not pa.types.is_boolean(kind):
        return array
    return pa.Array.from_buffers(
        kind, len(array), [None, *array.buffers()[1:]], null_count=0, offset=array.offset
    )


def null_count(array: pa.Array) -> int:
    """Count the nulls, those inside fixed-size lists included; cheap where there are none."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return null_count(array.storage)
    if pa.types.is_primitive(kind):
        return int(array.null_count)
    if (
        pa.types.is_fixed_size_list(kind)
        and not array.null_count
        and not null_count(child(array))
    ):
        return 0
    if pa.types.is_fixed_size_list(kind) and kind.list_size == 0:
        return int(np.count_nonzero(own_mask(array)))
    return int(np.count_nonzero(mask(array)))
