"""Trees of nested Arrow types and arrays: queries, and replacements of types.

Source: the Arrow columnar format, physical memory layouts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

TYPES_WITH_OFFSETS: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (pa.types.is_string_view, pa.large_string()),
    (pa.types.is_binary_view, pa.large_binary()),
)


def type_with_offsets(type_: pa.DataType) -> pa.DataType | None:
    """Return the type with offsets that replaces a view; ``None`` for other types."""
    for is_view, other in TYPES_WITH_OFFSETS:
        if is_view(type_):
            return other
    if pa.types.is_list_view(type_):
        return pa.list_(type_.value_field)
    return pa.large_list(type_.value_field) if pa.types.is_large_list_view(type_) else None


def decoded_type(type_: pa.DataType) -> pa.DataType | None:
    """Return the value type of a dictionary or run-end encoded type; else ``None``."""
    encoded = pa.types.is_dictionary(type_) or pa.types.is_run_end_encoded(type_)
    return type_.value_type if encoded else None


def storage_type(type_: pa.DataType) -> pa.DataType | None:
    """Return the storage type of an extension type, ``bool`` for ``bool8``; else ``None``."""
    if type_ == pa.bool8():
        return pa.bool_()
    return type_.storage_type if isinstance(type_, pa.BaseExtensionType) else None


def as_decimal128(type_: pa.DataType) -> pa.DataType | None:
    """Return the 128-bit decimal that replaces one of 32 or 64 bits; else ``None``."""
    if pa.types.is_decimal(type_) and type_.bit_width < 128:
        return pa.decimal128(type_.precision, type_.scale)
    return None


def is_gathered(type_: pa.DataType) -> bool:
    """Check whether a type refers to its values by index: encoded types and list views."""
    views = pa.types.is_list_view(type_) or pa.types.is_large_list_view(type_)
    return views or decoded_type(type_) is not None


def empty_array(type_: pa.DataType) -> pa.Array:
    """Return an empty array; pyarrow's own functions do not support some nested types."""
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, empty_array(type_.storage_type))
    if pa.types.is_dictionary(type_):
        codes = pa.nulls(0, type_.index_type)
        return pa.DictionaryArray.from_arrays(
            codes, empty_array(type_.value_type), ordered=type_.ordered
        )
    if pa.types.is_run_end_encoded(type_):
        ends = pa.nulls(0, type_.run_end_type)
        return pa.RunEndEncodedArray.from_arrays(ends, empty_array(type_.value_type))
    if not type_.num_fields:
        return pa.nulls(0, type_)
    inner = [type_.field(i).type for i in range(type_.num_fields)]
    count = 1  # number of buffers: the bitmap, then those of the layout
    if pa.types.is_union(type_):
        count = 2 if type_.mode == "sparse" else 3
    elif not pa.types.is_struct(type_) and not pa.types.is_fixed_size_list(type_):
        count = 3 if is_gathered(type_) else 2
    buffer = pa.py_buffer(bytes(8))  # a single offset, of 32 or 64 bits
    buffers = [None, *[buffer] * (count - 1)]
    return pa.Array.from_buffers(type_, 0, buffers, children=list(map(empty_array, inner)))


def repeats_field_name(type_: pa.DataType) -> bool:
    """Check whether a struct has several fields of the same name."""
    if not pa.types.is_struct(type_):
        return False
    names = [type_.field(i).name for i in range(type_.num_fields)]
    return len(set(names)) != len(names)


def contains(type_: pa.DataType, matches: Callable[[pa.DataType], Any]) -> bool:
    """Check whether a type, or a type nested in it, satisfies a predicate."""
    if matches(type_):
        return True
    if isinstance(type_, pa.BaseExtensionType):
        return contains(type_.storage_type, matches)
    if pa.types.is_dictionary(type_):
        return contains(type_.value_type, matches)
    return any(contains(type_.field(i).type, matches) for i in range(type_.num_fields))


def nodes(array: pa.Array) -> Iterator[pa.Array]:
    """Iterate over an array and all arrays inside it, without slicing them."""
    yield array
    type_ = array.type
    if isinstance(type_, pa.BaseExtensionType):
        inner = [array.storage]
    elif pa.types.is_dictionary(type_):
        inner = [array.indices, array.dictionary]
    elif pa.types.is_run_end_encoded(type_):
        inner = [array.run_ends, array.values]
    elif pa.types.is_struct(type_) or pa.types.is_union(type_):
        inner = [array.field(i) for i in range(type_.num_fields)]
    elif pa.types.is_map(type_):
        inner = [array.keys, array.items]
    else:
        inner = [array.values] if type_.num_fields else []
    for each in inner:
        yield from nodes(each)


def is_sliced(array: pa.Array) -> bool:
    """Check whether an array, or one inside it, refers to only a part of its buffers."""
    return any(map(_is_part, nodes(array)))


def _is_part(array: pa.Array) -> bool:
    type_ = array.type
    if array.offset or not pa.types.is_fixed_size_list(type_):
        return bool(array.offset)
    return bool(len(array.values) != len(array) * type_.list_size)
