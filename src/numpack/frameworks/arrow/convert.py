"""Arrow values that NumPy holds in another form: converted as pyarrow does, but right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..._policy import refuse
from .rewrite import Rewriting, contains, decoded, storage, unviewed
from .views import child, mask, null_count, tensor_shaped

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..._memory import Array

_EXACT_IN_FLOAT64 = 2**53
_LISTS = (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)
_AS_ROWS = (pa.BaseExtensionType, pa.FixedSizeListType)  # what is inside becomes an array too
_INT_TIMES = "its times as numbers: cast them to pa.int64(), or pa.int32() for 32 bits"


def written_out(array: pa.Array) -> pa.Array:
    """Write out dictionaries, run ends and list views, at any depth; others are as they were.

    Extension types inside lists, structs, maps and unions, where Python objects or arrays of
    one dtype hold the values, become their storage.
    """
    return array if _PLAIN.target(array.type) is array.type else _PLAIN.column(array)


def is_written_out(kind: pa.DataType) -> bool:
    """Tell whether `written_out` rewrites columns of a type."""
    return _PLAIN.target(kind) is not kind


def _plain_type(kind: pa.DataType, parents: tuple[pa.DataType, ...], /) -> pa.DataType | None:
    if parents or pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        other = unviewed(kind)
        if other is not None:
            return other
    if all(isinstance(each, _AS_ROWS) for each in parents):
        return decoded(kind)
    return decoded(kind) or storage(kind)


_PLAIN = Rewriting(_plain_type)


def conversion(chunks: list[pa.Array]) -> Callable[[], Array]:
    """Choose how to convert what cannot be shared, as pyarrow does; refuse what it cannot.

    The chunks are written out already. A type is tried on a value and a null: pyarrow says
    for itself what it cannot convert. Only with times in Python objects does that depend on
    all values, because Python has no nanoseconds and years from 1 to 9999 alone.
    """
    _refuse_rounded_integers(chunks)
    kind = chunks[0].type
    if _hides_nanoseconds(kind):
        why = "Python objects in structs, maps and unions have no nanoseconds"
        refuse("from Arrow", describe(chunks[0]), why, "cast them to microseconds first")
    if contains(kind, _repeats_a_name):
        why = "several fields of a struct have one name, which a dict has once"
        fix = "rename them: pa.StructArray.from_arrays(array.flatten(), names=[...])"
        refuse("from Arrow", describe(chunks[0]), why, fix)
    if _holds_python_times(kind):
        done = _converted(chunks)
        return lambda: done
    for chunk in chunks:
        _converted(_samples(chunk))
    return lambda: _converted(chunks)


def _converted(chunks: list[pa.Array]) -> Array:
    kind = chunks[0].type
    try:
        return _as_pyarrow_does(_joined(chunks))
    except (pa.ArrowException, ValueError, OverflowError) as error:
        why = f"pyarrow cannot convert it ({error})"
        fix = f"convert {_INT_TIMES}" if contains(kind, pa.types.is_temporal) else _CAST
        refuse("from Arrow", describe(chunks[0]), why, fix)


_CAST = "cast it first: array.cast(...)"


def _samples(array: pa.Array) -> list[pa.Array]:
    """Pick the first value and the first null, if there are any."""
    if not len(array):
        return [array]
    nulls = np.flatnonzero(mask(array).reshape(len(array), -1).any(axis=1)).tolist()
    return [array.slice(row, 1) for row in sorted({0, *nulls[:1]})]


def _joined(chunks: list[pa.Array]) -> pa.Array:
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(chunks)


def _as_pyarrow_does(array: pa.Array) -> Array:
    kind = array.type
    if contains(kind, _is_misread):
        return _objects(array)
    if isinstance(kind, pa.FixedShapeTensorType) and not null_count(array):
        return tensor_shaped(_as_pyarrow_does(array.storage), kind)
    if kind == pa.bool8():
        return _as_pyarrow_does(pc.not_equal(array.storage, 0))
    if isinstance(kind, pa.BaseExtensionType):
        return _as_pyarrow_does(array.storage)
    if pa.types.is_fixed_size_list(kind) and not null_count(array):
        cells = _as_pyarrow_does(child(array))
        return cells.reshape(len(array), kind.list_size, *cells.shape[1:])
    converted: Array = array.to_numpy(zero_copy_only=False)
    return converted


def _is_misread(kind: pa.DataType) -> bool:
    """Tell whether pyarrow 26 crashes on a type, or has no conversion of it to NumPy."""
    return bool(pa.types.is_interval(kind) or pa.types.is_union(kind))


def _is_object(kind: pa.DataType) -> bool:
    """Tell whether what is inside of a type becomes Python objects."""
    return bool(pa.types.is_struct(kind) or pa.types.is_map(kind) or pa.types.is_union(kind))


def _repeats_a_name(kind: pa.DataType) -> bool:
    if not pa.types.is_struct(kind):
        return False
    names = [kind.field(i).name for i in range(kind.num_fields)]
    return len(set(names)) != len(names)


def _hides_nanoseconds(kind: pa.DataType) -> bool:
    """Tell whether times become Python objects that are of a unit which these do not have."""
    if contains(kind, _is_misread):
        return contains(kind, _is_in_nanoseconds)
    return contains(kind, lambda k: _is_object(k) and contains(k, _is_in_nanoseconds))


def _holds_python_times(kind: pa.DataType) -> bool:
    """Tell whether times become Python objects, which reach less far than Arrow's."""
    if contains(kind, _is_misread):
        return contains(kind, pa.types.is_temporal)
    of_objects = contains(kind, lambda k: _is_object(k) and contains(k, pa.types.is_temporal))
    return of_objects or contains(kind, pa.types.is_time)


def _is_in_nanoseconds(kind: pa.DataType) -> bool:
    return bool(
        (pa.types.is_timestamp(kind) or pa.types.is_duration(kind)) and kind.unit == "ns"
    )


def _objects(array: pa.Array) -> Array:
    values = np.empty(len(array), object)
    for row, value in enumerate(array.to_pylist()):
        values[row] = value
    return values


def _refuse_rounded_integers(chunks: list[pa.Array]) -> None:
    """Refuse integers beside nulls that float64, which NumPy would get, cannot hold."""
    for parts in zip(*map(_parts, chunks), strict=True):
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


def _parts(array: pa.Array) -> list[pa.Array]:
    """List an array and everything inside it."""
    kind = array.type
    inner: list[pa.Array] = []
    if isinstance(kind, pa.BaseExtensionType):
        inner = [array.storage]
    elif pa.types.is_map(kind):
        inner = [array.keys, array.items]
    elif pa.types.is_struct(kind):
        inner = array.flatten()
    elif any(is_kind(kind) for is_kind in _LISTS):
        inner = [array.flatten()]
    return [array, *(part for each in inner for part in _parts(each))]


def describe(source: pa.Array | pa.ChunkedArray) -> str:
    """Say what came: ``int64 array of 3 values in 2 chunks``."""
    kind = f"{source.type} array of {len(source):,} values"
    if isinstance(source, pa.ChunkedArray) and source.num_chunks != 1:
        kind += f" in {source.num_chunks} chunks"
    return kind
