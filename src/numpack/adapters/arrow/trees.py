"""Trees of Arrow types, and of arrays: what is in them, and what stands for a type elsewhere.

Source: the Arrow columnar format, physical memory layouts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNVIEWED: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
    (pa.types.is_string_view, pa.large_string()),
    (pa.types.is_binary_view, pa.large_binary()),
)


def unviewed(kind: pa.DataType) -> pa.DataType | None:
    """Return the type with offsets in place of a view of strings, bytes or lists."""
    for is_view, other in UNVIEWED:
        if is_view(kind):
            return other
    if pa.types.is_list_view(kind):
        return pa.list_(kind.value_field)
    return pa.large_list(kind.value_field) if pa.types.is_large_list_view(kind) else None


def decoded(kind: pa.DataType) -> pa.DataType | None:
    """Return the type of the values of a dictionary or of run ends."""
    encoded = pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind)
    return kind.value_type if encoded else None


def storage(kind: pa.DataType) -> pa.DataType | None:
    """Return the type that holds the values of an extension type, bool for bool8."""
    if kind == pa.bool8():
        return pa.bool_()
    return kind.storage_type if isinstance(kind, pa.BaseExtensionType) else None


def wide_decimal(kind: pa.DataType) -> pa.DataType | None:
    """Return the decimal of 128 bits in place of one of 32 or 64."""
    if pa.types.is_decimal(kind) and kind.bit_width < 128:
        return pa.decimal128(kind.precision, kind.scale)
    return None


def is_gathered(kind: pa.DataType) -> bool:
    """Tell whether the values of a type lie elsewhere, and are found by their positions."""
    views = pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind)
    return views or decoded(kind) is not None


def empty(kind: pa.DataType) -> pa.Array:
    """Return an array without values; pyarrow itself makes none of some nested types."""
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, empty(kind.storage_type))
    if pa.types.is_dictionary(kind):
        codes = pa.nulls(0, kind.index_type)
        return pa.DictionaryArray.from_arrays(
            codes, empty(kind.value_type), ordered=kind.ordered
        )
    if pa.types.is_run_end_encoded(kind):
        ends = pa.nulls(0, kind.run_end_type)
        return pa.RunEndEncodedArray.from_arrays(ends, empty(kind.value_type))
    if not kind.num_fields:
        return pa.nulls(0, kind)
    inner = [kind.field(i).type for i in range(kind.num_fields)]
    count = 1  # of buffers: a bitmap, and what else the layout has
    if pa.types.is_union(kind):
        count = 2 if kind.mode == "sparse" else 3
    elif not pa.types.is_struct(kind) and not pa.types.is_fixed_size_list(kind):
        count = 3 if is_gathered(kind) else 2
    nothing = pa.py_buffer(bytes(8))  # one offset of any width
    buffers = [None, *[nothing] * (count - 1)]
    return pa.Array.from_buffers(kind, 0, buffers, children=list(map(empty, inner)))


def repeats_a_name(kind: pa.DataType) -> bool:
    """Tell whether several fields of a struct have one name."""
    if not pa.types.is_struct(kind):
        return False
    names = [kind.field(i).name for i in range(kind.num_fields)]
    return len(set(names)) != len(names)


def contains(kind: pa.DataType, is_wanted: Callable[[pa.DataType], Any]) -> bool:
    """Tell whether a type is, or holds inside it, one that is wanted."""
    if is_wanted(kind):
        return True
    if isinstance(kind, pa.BaseExtensionType):
        return contains(kind.storage_type, is_wanted)
    if pa.types.is_dictionary(kind):
        return contains(kind.value_type, is_wanted)
    return any(contains(kind.field(i).type, is_wanted) for i in range(kind.num_fields))


def nodes(array: pa.Array) -> Iterator[pa.Array]:
    """Iterate over an array and everything inside it, where it lies."""
    yield array
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        inner = [array.storage]
    elif pa.types.is_dictionary(kind):
        inner = [array.indices, array.dictionary]
    elif pa.types.is_run_end_encoded(kind):
        inner = [array.run_ends, array.values]
    elif pa.types.is_struct(kind) or pa.types.is_union(kind):
        inner = [array.field(i) for i in range(kind.num_fields)]
    elif pa.types.is_map(kind):
        inner = [array.keys, array.items]
    else:
        inner = [array.values] if kind.num_fields else []
    for each in inner:
        yield from nodes(each)


def is_sliced(array: pa.Array) -> bool:
    """Tell whether an array, or one inside of it, begins or ends elsewhere than its buffers."""
    return any(map(_is_part, nodes(array)))


def _is_part(array: pa.Array) -> bool:
    kind = array.type
    if array.offset or not pa.types.is_fixed_size_list(kind):
        return bool(array.offset)
    return bool(len(array.values) != len(array) * kind.list_size)
