"""Conversion of Arrow values whose memory NumPy cannot share.

The results are those of pyarrow's ``to_numpy``, except that values which pyarrow would change
are converted correctly or refused.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..._core.policy import refuse
from .rewrite import Rewriting
from .trees import (
    contains,
    decoded_type,
    empty_array,
    repeats_field_name,
    storage_type,
    type_with_offsets,
)
from .views import child_array, mask, null_count, tensor_shaped, top_level_mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..._core.memory import Array

_EXACT_IN_FLOAT64 = 2**53
_LISTS = (pa.types.is_list, pa.types.is_large_list)
_ROW_TYPES = (pa.BaseExtensionType, pa.FixedSizeListType)  # their values become an array too
_INT_TIMES = "its times as numbers: cast them to pa.int64(), or pa.int32() for 32 bits"


def decode(array: pa.Array) -> pa.Array:
    """Decode dictionaries, run-end encoding and list views at any depth.

    Extension types inside lists, structs, maps and unions, whose values become Python objects
    or arrays of one dtype, are replaced by their storage. Other arrays are returned unchanged.
    """
    return array if _DECODING.target(array.type) is array.type else _DECODING.column(array)


def empty_decoded(type_: pa.DataType) -> pa.Array:
    """Return an empty array of the type that `decode` returns."""
    return empty_array(_DECODING.target(type_))


def needs_decoding(type_: pa.DataType) -> bool:
    """Check whether `decode` rewrites columns of a type."""
    return _DECODING.target(type_) is not type_


def _decoded_type(
    type_: pa.DataType, parents: tuple[pa.DataType, ...], /
) -> pa.DataType | None:
    if parents or pa.types.is_list_view(type_) or pa.types.is_large_list_view(type_):
        other = type_with_offsets(type_)
        if other is not None:
            return other
    if all(isinstance(each, _ROW_TYPES) for each in parents):
        return decoded_type(type_)
    return decoded_type(type_) or storage_type(type_)


_DECODING = Rewriting(_decoded_type)


def conversion(chunks: list[pa.Array]) -> Callable[[], Array]:
    """Return a function that converts chunks which cannot be shared, or refuse them.

    The chunks are already decoded. Whether pyarrow can convert a type is found by converting
    one value and one null. Only for times that become Python objects does it depend on all
    values, because Python's times have no nanoseconds and only the years 1 to 9999.
    """
    _refuse_rounded_integers(chunks)
    type_ = chunks[0].type
    if _hides_nanoseconds(type_):
        why = "Python objects in structs, maps and unions have no nanoseconds"
        refuse("from Arrow", describe(chunks[0]), why, "cast them to microseconds first")
    if contains(type_, repeats_field_name):
        why = "several fields of a struct have the same name, and the keys of a dict are unique"
        fix = "rename them: pa.StructArray.from_arrays(array.flatten(), names=[...])"
        refuse("from Arrow", describe(chunks[0]), why, fix)
    if _holds_python_times(type_):
        for chunk in chunks:
            _refuse_distant_times(chunk)
        result = _converted(chunks)
        return lambda: result
    for chunk in chunks:
        _converted(_samples(chunk))
    return lambda: _converted(chunks)


def _converted(chunks: list[pa.Array]) -> Array:
    type_ = chunks[0].type
    try:
        return _to_numpy(_concatenated(chunks))
    except (pa.ArrowException, ValueError, OverflowError) as error:
        why = f"pyarrow cannot convert it ({error})"
        fix = f"convert {_INT_TIMES}" if contains(type_, pa.types.is_temporal) else _CAST
        refuse("from Arrow", describe(chunks[0]), why, fix)


_CAST = "cast it first: array.cast(...)"


def _samples(array: pa.Array) -> list[pa.Array]:
    """Return the first value and the first null, if there are any."""
    if not len(array):
        return [array]
    nulls = np.flatnonzero(mask(array).reshape(len(array), -1).any(axis=1)).tolist()
    return [array.slice(row, 1) for row in sorted({0, *nulls[:1]})]


def _concatenated(chunks: list[pa.Array]) -> pa.Array:
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)


def _to_numpy(array: pa.Array) -> Array:
    type_ = array.type
    if contains(type_, _is_misread):
        return _objects(array)
    if _is_tensor(type_):
        return _rows(array.storage, type_.storage_type.list_size, type_)
    if type_ == pa.bool8():
        return _to_numpy(pc.not_equal(array.storage, 0))
    if isinstance(type_, pa.BaseExtensionType):
        return _to_numpy(array.storage)
    if pa.types.is_fixed_size_list(type_) and (
        not null_count(array) or contains(type_, _is_tensor)
    ):
        return _rows(array, type_.list_size)
    converted: Array = array.to_numpy(zero_copy_only=False)
    return converted


def _rows(array: pa.Array, size: int, tensor: pa.DataType | None = None) -> Array:
    """Convert fixed-size lists to one array, or to an array of objects if any list is null."""
    cells = _to_numpy(child_array(array))
    rows = cells.reshape(len(array), size, *cells.shape[1:])
    if tensor is not None:
        rows = tensor_shaped(rows, tensor)
    is_null = top_level_mask(array)
    if not is_null.any():
        return rows
    values = np.empty(len(array), object)
    for row in np.flatnonzero(~is_null):
        values[row] = rows[row]
    return values


def _is_tensor(type_: pa.DataType) -> bool:
    return isinstance(type_, pa.FixedShapeTensorType)


def _is_misread(type_: pa.DataType) -> bool:
    """Check whether pyarrow 26 crashes on a type or cannot convert it to NumPy."""
    return bool(pa.types.is_interval(type_) or pa.types.is_union(type_))


def _is_object(type_: pa.DataType) -> bool:
    """Check whether the values inside a type become Python objects."""
    return bool(pa.types.is_struct(type_) or pa.types.is_map(type_) or pa.types.is_union(type_))


def _hides_nanoseconds(type_: pa.DataType) -> bool:
    """Check whether times in nanoseconds become Python objects, which lack that unit."""
    if contains(type_, _is_misread):
        return contains(type_, _is_in_nanoseconds)
    return contains(type_, lambda k: _is_object(k) and contains(k, _is_in_nanoseconds))


def _holds_python_times(type_: pa.DataType) -> bool:
    """Check whether times become Python objects, whose range is smaller than Arrow's."""
    if contains(type_, _is_misread):
        return contains(type_, pa.types.is_temporal)
    of_objects = contains(type_, lambda k: _is_object(k) and contains(k, pa.types.is_temporal))
    return of_objects or contains(type_, pa.types.is_time)


def _is_in_nanoseconds(type_: pa.DataType) -> bool:
    return bool(
        (pa.types.is_timestamp(type_) or pa.types.is_duration(type_)) and type_.unit == "ns"
    )


def _objects(array: pa.Array) -> Array:
    values = np.empty(len(array), object)
    for row, value in enumerate(array.to_pylist()):
        values[row] = value
    return values


_YEARS = (dt.datetime(1, 1, 1), dt.datetime(9999, 12, 31, 23, 59, 59))
_EPOCH = dt.datetime(1970, 1, 1)
_SECOND = dt.timedelta(seconds=1)
_PER_SECOND = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def _refuse_distant_times(array: pa.Array) -> None:
    """Refuse times that no Python object represents; pyarrow returns some as numbers."""
    for part in _nested_arrays(array):
        type_ = part.type
        if not pa.types.is_temporal(type_) or pa.types.is_interval(type_):
            continue
        low, high = _python_range(type_)
        width = pa.int32() if type_.bit_width == 32 else pa.int64()
        bounds = pc.min_max(part.cast(width)).as_py()
        _refuse_lost_nanoseconds(array, part)
        if bounds["min"] is not None and not low <= bounds["min"] <= bounds["max"] <= high:
            why = f"no Python object represents some of its times of {type_}"
            refuse("from Arrow", describe(array), why, f"convert {_INT_TIMES}")


def _refuse_lost_nanoseconds(array: pa.Array, part: pa.Array) -> None:
    if not pa.types.is_time64(part.type) or part.type.unit != "ns":
        return
    counts = np.asarray(part.cast(pa.int64()).drop_null())
    if np.any(counts % 1000):
        why = "Python's times have no nanoseconds"
        refuse("from Arrow", describe(array), why, f"convert {_INT_TIMES}")


def _python_range(type_: pa.DataType) -> tuple[int, ...]:
    """Return the lowest and the highest count that Python objects represent."""
    if pa.types.is_time(type_):
        return 0, 86400 * _PER_SECOND[type_.unit] - 1
    per_second = (
        10**3 if pa.types.is_date64(type_) else _PER_SECOND[getattr(type_, "unit", "s")]
    )
    if pa.types.is_duration(type_):
        return tuple(
            int(d // _SECOND) * per_second for d in (dt.timedelta.min, dt.timedelta.max)
        )
    low, high = ((limit - _EPOCH) // _SECOND for limit in _YEARS)
    if pa.types.is_date32(type_):
        return low // 86400, high // 86400
    return low * per_second, (high + 1) * per_second - 1


def _refuse_rounded_integers(chunks: list[pa.Array]) -> None:
    """Refuse integers beside nulls that float64, the dtype of the result, cannot represent."""
    for parts in zip(*map(_nested_arrays, chunks), strict=True):
        if not pa.types.is_integer(parts[0].type) or not any(p.null_count for p in parts):
            continue
        bounds = [pc.min_max(part).as_py() for part in parts if part.null_count < len(part)]
        if any(max(-b["min"], b["max"]) > _EXACT_IN_FLOAT64 for b in bounds):
            refuse(
                "from Arrow",
                describe(chunks[0]),
                "it has nulls, and float64 with NaN would round its integers above 2**53",
                "pass nulls='mask', or fill_null(...) first",
            )


def _nested_arrays(array: pa.Array) -> list[pa.Array]:
    """Return an array and the arrays inside it, at any depth."""
    type_ = array.type
    inner: list[pa.Array] = []
    if isinstance(type_, pa.BaseExtensionType):
        inner = [array.storage]
    elif pa.types.is_map(type_):
        inner = [array.keys, array.items]
    elif pa.types.is_struct(type_):  # `flatten` adds a bitmap to unions, and aborts
        inner = _valid_fields(array)
    elif pa.types.is_union(type_):
        inner = [array.field(i) for i in range(type_.num_fields)]
    elif pa.types.is_fixed_size_list(type_):  # `flatten` cannot build extension types
        inner = [_valid_elements(array)]
    elif any(is_kind(type_) for is_kind in _LISTS):
        inner = [array.flatten()]
    return [array, *(part for each in inner for part in _nested_arrays(each))]


def _valid_fields(array: pa.Array) -> list[pa.Array]:
    """Return the fields of the structs that are not null."""
    fields = [array.field(i) for i in range(array.type.num_fields)]
    is_null = top_level_mask(array)
    if not is_null.any():
        return fields
    rows = pa.array(np.flatnonzero(~is_null))
    return [field.take(rows) for field in fields]


def object_fix(source: pa.Array | pa.ChunkedArray) -> str:
    """Return the fix that keeps lists of one length as rows of numbers, or an empty string."""
    type_ = source.type
    name = "array.drop_null()" if source.null_count else "array"
    if pa.types.is_fixed_size_list(type_):
        return f"drop its null rows first: {name}" if source.null_count else ""
    if not pa.types.is_list(type_) and not pa.types.is_large_list(type_):
        return ""
    found = pc.min_max(pc.list_value_length(source)).as_py()
    if found["min"] is None or found["min"] != found["max"]:
        return ""
    fixed_size = f"pyarrow.list_(array.type.value_type, {found['min']})"
    return f"keep its rows as fixed-size lists: {name}.cast({fixed_size})"


def _valid_elements(array: pa.Array) -> pa.Array:
    """Return the elements of the fixed-size lists that are not null."""
    is_null = top_level_mask(array)
    if not is_null.any():
        return child_array(array)
    valid = np.repeat(~is_null, array.type.list_size)
    return child_array(array).take(pa.array(np.flatnonzero(valid)))


def describe(source: pa.Array | pa.ChunkedArray) -> str:
    """Describe an array: ``int64 array of 3 values in 2 chunks``."""
    text = f"{source.type} array of {len(source):,} values"
    if isinstance(source, pa.ChunkedArray) and source.num_chunks != 1:
        text += f" in {source.num_chunks} chunks"
    return text
