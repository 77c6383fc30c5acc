"""Arrow values that NumPy holds in another form: converted as pyarrow does, but right."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from ..._policy import refuse
from .views import child, mask, null_count, tensor_shaped

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..._memory import Array

_EXACT_IN_FLOAT64 = 2**53
_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)


def conversion(chunks: list[pa.Array]) -> Callable[[], Array]:
    """Choose how to convert what cannot be shared, as pyarrow does; refuse what it cannot.

    A type is tried on a value and a null: pyarrow says for itself what it cannot convert.
    Only with times does that depend on all values, because Python has no nanoseconds.
    """
    _refuse_rounded_integers(chunks)
    kind = chunks[0].type
    if _hides_nanoseconds(kind):
        why = "Python objects in structs and maps have no nanoseconds"
        refuse("from Arrow", describe(chunks[0]), why, "cast them to microseconds first")
    for chunk in chunks:
        _converted([chunk] if contains(kind, pa.types.is_time64) else _samples(chunk))
    return lambda: _converted(chunks)


def _converted(chunks: list[pa.Array]) -> Array:
    try:
        return _as_pyarrow_does(_joined(chunks))
    except (pa.ArrowException, ValueError, OverflowError) as error:
        why = f"pyarrow cannot convert it ({error})"
        refuse("from Arrow", describe(chunks[0]), why, "cast it first: array.cast(...)")


def _samples(array: pa.Array) -> list[pa.Array]:
    """Pick the first value and the first null, if there are any."""
    if not len(array):
        return [array]
    nulls = np.flatnonzero(mask(array).reshape(len(array), -1).any(axis=1)).tolist()
    return [array.slice(row, 1) for row in sorted({0, *nulls[:1]})]


def _joined(chunks: list[pa.Array]) -> pa.Array:
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(list(map(decoded, chunks)))


def _as_pyarrow_does(array: pa.Array) -> Array:
    array = decoded(array)
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
    try:
        converted: Array = array.to_numpy(zero_copy_only=False)
    except pa.ArrowNotImplementedError:  # unions, lists of views: Python objects hold them
        return _objects(array)
    return converted


def _is_misread(kind: pa.DataType) -> bool:
    """Tell whether pyarrow 26 crashes on a type, or forgets the offset of its bitmap."""
    tests = (pa.types.is_interval, pa.types.is_list_view, pa.types.is_large_list_view)
    return any(test(kind) for test in tests)


def _hides_nanoseconds(kind: pa.DataType) -> bool:
    """Tell whether a struct or map holds times of a unit that become plain integers there."""
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        return contains(kind, _is_in_nanoseconds)
    inner = (kind.field(i).type for i in range(kind.num_fields))
    return any(map(_hides_nanoseconds, inner))


def _is_in_nanoseconds(kind: pa.DataType) -> bool:
    return bool(
        (pa.types.is_timestamp(kind) or pa.types.is_duration(kind)) and kind.unit == "ns"
    )


def decoded(array: pa.Array) -> pa.Array:
    """Write out a dictionary or the runs of a run-end encoding, in an extension type too."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        storage = array.storage
        inner = decoded(storage)
        return array if inner is storage else inner
    if pa.types.is_run_end_encoded(kind):
        return pc.run_end_decode(array)
    if not pa.types.is_dictionary(kind):
        return array
    try:
        return array.dictionary_decode()
    except pa.ArrowNotImplementedError:  # views of strings
        return pa.array(array.to_pylist(), kind.value_type)


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
    array = decoded(array)
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


def contains(kind: pa.DataType, is_wanted: Callable[[pa.DataType], bool]) -> bool:
    """Tell whether a type is, or holds inside it, one that is wanted."""
    if isinstance(kind, pa.BaseExtensionType):
        return is_wanted(kind) or contains(kind.storage_type, is_wanted)
    if pa.types.is_dictionary(kind):
        return is_wanted(kind) or contains(kind.value_type, is_wanted)
    inner = (kind.field(i).type for i in range(kind.num_fields))
    return is_wanted(kind) or any(contains(each, is_wanted) for each in inner)


def describe(source: pa.Array | pa.ChunkedArray) -> str:
    """Say what came: ``int64 array of 3 values in 2 chunks``."""
    kind = f"{source.type} array of {len(source):,} values"
    if isinstance(source, pa.ChunkedArray) and source.num_chunks != 1:
        kind += f" in {source.num_chunks} chunks"
    return kind
