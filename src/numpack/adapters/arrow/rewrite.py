"""Rewriting of Arrow columns into types that a framework reads correctly.

A `Rule` replaces the types that a framework does not support or misreads. `Rewriting` applies a
rule to a whole tree of types: dictionaries and run-end encoding are decoded, extension types
become their storage, views become offsets. The result is a compact copy, which shares no memory
with its source and has offset 0.

Source: the Arrow columnar format, physical memory layouts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .trees import TYPES_WITH_OFFSETS, contains, decoded_type, is_gathered, type_with_offsets
from .views import child_array, int_buffer, top_level_mask, top_level_validity

if TYPE_CHECKING:
    from typing import TypeAlias

    Column: TypeAlias = pa.Array | pa.ChunkedArray
    Parents: TypeAlias = tuple[pa.DataType, ...]

_LISTS = {
    pa.types.is_list: pa.list_,
    pa.types.is_large_list: pa.large_list,
    pa.types.is_list_view: pa.list_view,
    pa.types.is_large_list_view: pa.large_list_view,
}


class Rule(Protocol):
    """A function that returns the replacement of one node of a type tree, or ``None``.

    `parents` are the types around the node, the outermost first.
    """

    def __call__(self, type_: pa.DataType, parents: Parents, /) -> pa.DataType | None:
        """Return the replacement of `type_`; ``None`` to keep it."""
        ...


@dataclass(frozen=True, slots=True)
class Rewriting:
    """A rule applied to type trees and to columns of these types."""

    rule: Rule

    def target(self, type_: pa.DataType, parents: Parents = ()) -> pa.DataType:
        """Return the type that columns of `type_` are rewritten into; `type_` if unchanged."""
        other = self.rule(type_, parents)
        if other is not None:
            rest = Rewriting(_extend_for_take(self.rule)) if is_gathered(type_) else self
            return rest.target(other, parents)
        within = (*parents, type_)
        if isinstance(type_, pa.BaseExtensionType):
            inner = self.target(type_.storage_type, within)
            return type_ if inner == type_.storage_type else self.target(inner, parents)
        if pa.types.is_dictionary(type_):
            values = self.target(type_.value_type, within)
            if values == type_.value_type:
                return type_
            return pa.dictionary(type_.index_type, values, type_.ordered)
        if not type_.num_fields:
            return type_
        fields = [type_.field(i) for i in range(type_.num_fields)]
        inner_types = [self.target(field.type, within) for field in fields]
        if all(new == old.type for new, old in zip(inner_types, fields, strict=True)):
            return type_
        return _with_fields(
            type_, [f.with_type(t) for f, t in zip(fields, inner_types, strict=True)]
        )

    def column(self, column: Column) -> Column:
        """Rewrite an array, or each chunk of a chunked array, into new memory."""
        if isinstance(column, pa.Array):
            return self._array(column, ())
        chunks = [self._array(chunk, ()) for chunk in column.chunks]
        return pa.chunked_array(chunks, self.target(column.type))

    def _array(self, array: pa.Array, parents: Parents) -> pa.Array:
        type_ = array.type
        other = self.rule(type_, parents)
        if other is None:
            return self._rebuilt(array, parents)
        if is_gathered(type_):
            return self._gathered(array, other, parents)
        if type_ == pa.bool8() and other == pa.bool_():
            return pc.not_equal(array.storage, 0)
        if isinstance(type_, pa.BaseExtensionType):
            return self._array(array.storage, parents)
        return self._array(array.cast(other), parents)

    def _gathered(self, array: pa.Array, other: pa.DataType, parents: Parents) -> pa.Array:
        """Gather the values of a dictionary, a run-end encoded array or a list view."""
        type_ = array.type
        for_take = Rewriting(_extend_for_take(self.rule))
        if pa.types.is_dictionary(type_):
            return for_take._array(array.dictionary, parents).take(array.indices)
        if pa.types.is_run_end_encoded(type_):
            return for_take._array(array.values, parents).take(_run_indices(array))
        rows, ends = _list_view_indices(array)
        values = for_take._array(array.values, (*parents, other)).take(rows)
        new_type = _with_fields(other, [other.value_field.with_type(values.type)])
        return pa.Array.from_buffers(
            new_type, len(array), [bitmap(array), ends], children=[values]
        )

    def _rebuilt(self, array: pa.Array, parents: Parents) -> pa.Array:
        """Copy an array whose outermost type is kept, and rewrite the arrays inside it."""
        type_ = array.type
        within = (*parents, type_)
        if isinstance(type_, pa.BaseExtensionType):
            inner = self._array(array.storage, within)
            if inner.type != type_.storage_type:
                return self._array(inner, parents)
            return pa.ExtensionArray.from_storage(type_, inner)
        if pa.types.is_dictionary(type_):
            values, indices = _without_null_entries(array)
            values, indices = self._array(values, within), self._array(indices, within)
            return pa.DictionaryArray.from_arrays(indices, values, ordered=type_.ordered)
        if pa.types.is_run_end_encoded(type_):
            return self._runs_rebuilt(array, within)
        if not type_.num_fields and not pa.types.is_struct(type_):
            return _compact(array)
        buffers, children = _buffers_and_children(array)
        children = [self._array(each, within) for each in children]
        fields = [type_.field(i).with_type(each.type) for i, each in enumerate(children)]
        if pa.types.is_map(type_):
            fields = list(children[0].type)
        new_type = _with_fields(type_, fields)
        return pa.Array.from_buffers(new_type, len(array), buffers, children=children)

    def _runs_rebuilt(self, array: pa.Array, within: Parents) -> pa.Array:
        first, count = array.find_physical_offset(), array.find_physical_length()
        values = self._array(array.values.slice(first, count), within)
        ends = np.asarray(array.run_ends)[first : first + count] - array.offset
        ends = np.minimum(ends, len(array))
        return pa.RunEndEncodedArray.from_arrays(
            pa.array(ends, array.type.run_end_type), values
        )


def _is_not_taken(type_: pa.DataType) -> bool:
    return decoded_type(type_) is not None or type_with_offsets(type_) is not None


def _extend_for_take(rule: Rule) -> Rule:
    """Extend a rule to the types that pyarrow's ``take`` does not support.

    These are the encoded types and the views.
    """

    def replaced(type_: pa.DataType, parents: Parents, /) -> pa.DataType | None:
        return rule(type_, parents) or decoded_type(type_) or type_with_offsets(type_)

    return replaced


def _with_fields(type_: pa.DataType, fields: list[pa.Field]) -> pa.DataType:
    """Return a nested type of the same layout with the given fields."""
    for is_list, make in _LISTS.items():
        if is_list(type_):
            return make(fields[0])
    if pa.types.is_fixed_size_list(type_):
        return pa.list_(fields[0], type_.list_size)
    if pa.types.is_map(type_):
        if len(fields) == 1:
            fields = list(fields[0].type)
        return pa.map_(*fields, keys_sorted=type_.keys_sorted)
    if pa.types.is_run_end_encoded(type_):
        return pa.run_end_encoded(fields[0].type, fields[1].type)
    if pa.types.is_union(type_):
        return pa.union(fields, type_.mode, type_.type_codes)
    return pa.struct(fields)


def _buffers_and_children(array: pa.Array) -> tuple[list[pa.Buffer | None], list[pa.Array]]:
    """Return the buffers of a nested array, shifted to offset 0, and its child arrays."""
    type_ = array.type
    if pa.types.is_union(type_):
        return _union_buffers_and_children(array)
    validity = bitmap(array)
    if pa.types.is_struct(type_):
        return [validity], [array.field(i) for i in range(type_.num_fields)]
    if pa.types.is_fixed_size_list(type_):
        return [validity], [child_array(array)]
    width = f"i{offset_width(type_)}"
    if pa.types.is_list_view(type_) or pa.types.is_large_list_view(type_):
        offsets, sizes = (pa.py_buffer(int_buffer(array, i, width).copy()) for i in (1, 2))
        return [validity, offsets, sizes], [array.values]
    ends = int_buffer(array, 1, width, extra=1)
    start, stop = int(ends[0]), int(ends[-1])
    inner = _entries(array) if pa.types.is_map(type_) else array.values
    return [validity, pa.py_buffer(ends - ends[0])], [inner.slice(start, stop - start)]


def _entries(array: pa.Array) -> pa.Array:
    """Return all entries of a map, to which its offsets refer."""
    type_ = array.type
    fields = [type_.key_field, type_.item_field]
    return pa.StructArray.from_arrays([array.keys, array.items], fields=fields)


def _union_buffers_and_children(
    array: pa.Array,
) -> tuple[list[pa.Buffer | None], list[pa.Array]]:
    type_ = array.type
    children = [array.field(i) for i in range(type_.num_fields)]
    codes = pa.py_buffer(int_buffer(array, 1, "i1").copy())
    if type_.mode == "sparse":
        return [None, codes], children
    return [None, codes, pa.py_buffer(int_buffer(array, 2, "i4").copy())], children


def offset_width(type_: pa.DataType) -> int:
    """Return the size in bytes of the offsets of a list type."""
    return 8 if pa.types.is_large_list(type_) or pa.types.is_large_list_view(type_) else 4


def bitmap(array: pa.Array) -> pa.Buffer | None:
    """Copy the validity bitmap of an array, shifted to offset 0; ``None`` without nulls."""
    valid = top_level_validity(array)
    return None if valid is None else pa.py_buffer(np.packbits(valid, bitorder="little"))


def _without_null_entries(array: pa.Array) -> tuple[pa.Array, pa.Array]:
    """Return the entries of a dictionary without the nulls, and the adjusted indices."""
    entries = array.dictionary
    type_ = entries.type
    if not entries.null_count or pa.types.is_null(type_) or contains(type_, _is_not_taken):
        return entries, array.indices
    valid = ~top_level_mask(entries)
    positions = pa.array(np.cumsum(valid) - 1, mask=~valid).cast(array.indices.type)
    return entries.take(pa.array(np.flatnonzero(valid))), positions.take(array.indices)


def _run_indices(array: pa.Array) -> pa.Array:
    """Return the index of the run of each value of a run-end encoded array."""
    ends = np.asarray(array.run_ends)
    indices = np.arange(array.offset, array.offset + len(array))
    return pa.array(np.searchsorted(ends, indices, side="right"))


def _list_view_indices(array: pa.Array) -> tuple[pa.Array, pa.Buffer]:
    """Return the indices of a list view's values in list order, and the list offsets."""
    width = f"i{offset_width(array.type)}"
    starts, sizes = int_buffer(array, 1, width), int_buffer(array, 2, width).astype(np.int64)
    valid = top_level_validity(array)
    if valid is not None:
        sizes = np.where(valid, sizes, 0)
    ends = np.concatenate([[0], np.cumsum(sizes)])
    rows = np.repeat(starts - ends[:-1], sizes) + np.arange(ends[-1])
    return pa.array(rows), pa.py_buffer(ends.astype(width))


def _compact(array: pa.Array) -> pa.Array:
    """Copy the part of its buffers to which an array without children refers."""
    for is_view, other in TYPES_WITH_OFFSETS:
        if is_view(array.type):  # the casts share the bitmap, so it has to be copied
            return pa.concat_arrays([array.cast(other)]).cast(array.type)
    return pa.concat_arrays([array])
