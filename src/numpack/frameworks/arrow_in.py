"""Arrow to NumPy: which types share their buffer, and what becomes of nulls and chunks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from .._memory import aligned_copy
from .._policy import Obstacle, Plan, refuse
from ..errors import InvalidValueError, NullError

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._dtypes import DType
    from .._memory import Array

NULLS = ("convert", "mask", "raise")
_EXACT_IN_FLOAT64 = 2**53
_MAX_NDIM = 64
_LISTS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)


def plan_array(source: pa.Array | pa.ChunkedArray, nulls: str) -> Plan[Array]:
    """Plan the way from an Arrow array or chunked array to an ndarray."""
    if nulls not in NULLS:
        msg = f"nulls must be one of {', '.join(map(repr, NULLS))}, not {nulls!r}"
        raise InvalidValueError(msg)
    chunks = _filled_chunks(source)
    if nulls == "raise":
        _raise_nulls(source, chunks)
    if nulls == "mask":
        return _plan_masked(source, chunks)
    return _plan(source, chunks)


def _plan(source: pa.Array | pa.ChunkedArray, chunks: list[pa.Array]) -> Plan[Array]:
    obstacle = next(filter(None, map(_obstacle, chunks)), None)
    if obstacle is None and len(chunks) == 1:
        return _plan_view(source, chunks[0])
    if obstacle is None:
        obstacle = Obstacle(
            f"it is in {len(chunks)} chunks", "convert chunk by chunk: array.chunk(i)"
        )
        convert, stand_in = _concatenation(chunks), _zeros_like(chunks)
    else:
        convert, stand_in = _conversion(chunks), None
    return Plan(
        direction="from Arrow",
        given=lambda: _describe(source),
        nbytes=source.nbytes,
        result=convert,
        independent=lambda: _writable(convert()),
        obstacle=obstacle,
        stand_in=stand_in,
    )


def _plan_view(source: pa.Array | pa.ChunkedArray, array: pa.Array) -> Plan[Array]:
    def share() -> Array:
        values = _view(array)
        values.flags.writeable = False  # Arrow memory is immutable
        return values

    return Plan(
        direction="from Arrow",
        given=lambda: _describe(source),
        nbytes=source.nbytes,
        result=share,
        independent=lambda: aligned_copy(share()),
    )


def _plan_masked(source: pa.Array | pa.ChunkedArray, chunks: list[pa.Array]) -> Plan[Array]:
    """Plan a masked array: its values as if there were no nulls, its mask from the bitmap."""
    encoded = next((chunk for chunk in chunks if _decoded(chunk) is not chunk), None)
    chunks = [_decoded(chunk) for chunk in chunks]
    values = _plan(source, [_without_nulls(chunk) for chunk in chunks])

    def masked(data: Array) -> Array:
        mask = np.concatenate([_mask(chunk) for chunk in chunks])
        if mask.ndim > data.ndim:  # objects, which hold what is inside for themselves
            mask = np.concatenate([_own_mask(chunk) for chunk in chunks])
        mask = mask.reshape(mask.shape + (1,) * (data.ndim - mask.ndim))
        full = np.broadcast_to(mask, data.shape).copy()
        return np.ma.MaskedArray(data, mask=full, copy=False)

    stand_in = values.stand_in
    return Plan(
        direction="from Arrow",
        given=values.given,
        nbytes=values.nbytes,
        result=lambda: masked(values.result()),
        independent=lambda: masked(values.independent()),
        obstacle=values.obstacle if encoded is None else _obstacle(encoded),
        stand_in=None if stand_in is None else lambda: masked(stand_in()),
    )


def _filled_chunks(source: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    """List the chunks that hold something; of an empty array one empty chunk."""
    chunks = [source] if isinstance(source, pa.Array) else source.chunks
    filled = [chunk for chunk in chunks if len(chunk)]
    if any(not getattr(chunk, "is_cpu", True) for chunk in filled):
        why, fix = (
            "its buffers are not the CPU's",
            "copy it to the CPU first: array.copy_to(...)",
        )
        refuse("from Arrow", _describe(source), why, fix)
    if _depth(source.type) > _MAX_NDIM:
        why, fix = (
            f"NumPy has at most {_MAX_NDIM} dimensions",
            "flatten it: array.flatten()",
        )
        refuse("from Arrow", _describe(source), why, fix)
    return filled or [pa.nulls(0, source.type)]


def _depth(kind: pa.DataType) -> int:
    """Count the dimensions that fixed-size lists and tensors become."""
    if isinstance(kind, pa.FixedShapeTensorType):
        return 1 + len(kind.shape)
    return 1 + _depth(kind.value_type) if pa.types.is_fixed_size_list(kind) else 1


def _raise_nulls(source: pa.Array | pa.ChunkedArray, chunks: list[pa.Array]) -> None:
    count = sum(map(_null_count, chunks))
    if count:
        msg = (
            f"Zero-copy conversion from Arrow failed: {_describe(source)}, {count:,} of its "
            "values are null; pass nulls='mask' for a masked array over the same memory, or "
            "nulls='convert' for NaN, NaT or None"
        )
        raise NullError(msg)


def _null_count(array: pa.Array) -> int:
    """Count the nulls, those inside fixed-size lists included."""
    return int(np.count_nonzero(_mask(array)))


def _describe(source: pa.Array | pa.ChunkedArray) -> str:
    kind = f"{source.type} array of {len(source):,} values"
    if isinstance(source, pa.ChunkedArray) and source.num_chunks != 1:
        kind += f" in {source.num_chunks} chunks"
    return kind


# What is shared


def _shareable(array: pa.Array) -> bool:
    """Tell whether the values lie in one buffer as NumPy's would, without nulls."""
    kind = array.type
    if array.null_count:
        return False
    if isinstance(kind, pa.BaseExtensionType):
        return _shareable(array.storage) and (kind != pa.bool8() or _only_zero_and_one(array))
    if pa.types.is_fixed_size_list(kind):
        return _shareable(_child(array))
    return _dtype(kind) is not None


def _view(array: pa.Array) -> Array:
    """View the values of a `_shareable` array in place."""
    kind = array.type
    if isinstance(kind, pa.FixedShapeTensorType):
        return _tensor_shaped(_view(array.storage), kind)
    if isinstance(kind, pa.BaseExtensionType):
        values = _view(array.storage)
        return values.view(np.bool_) if kind == pa.bool8() else values
    if pa.types.is_fixed_size_list(kind):
        cells = _view(_child(array))
        return cells.reshape(len(array), kind.list_size, *cells.shape[1:])
    dtype = _dtype(kind)
    data = array.buffers()[1]
    if len(array) == 0 or dtype is None or dtype.itemsize == 0 or data is None:
        return np.empty(len(array), dtype)
    start = array.offset * dtype.itemsize
    return np.frombuffer(data, np.uint8, len(array) * dtype.itemsize, start).view(dtype)


def _tensor_shaped(lists: Array, kind: Any) -> Array:
    """Bring the elements of a tensor array's lists, one list a row, to the tensor's shape."""
    values = lists.reshape(len(lists), *kind.shape, *lists.shape[2:])
    if kind.permutation is None:
        return values
    inner = range(1 + len(kind.shape), values.ndim)
    return values.transpose(0, *(1 + axis for axis in kind.permutation), *inner)


def _child(array: pa.Array) -> pa.Array:
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
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        dtype: DType = np.dtype(kind.to_pandas_dtype())
        return dtype
    return None


def _only_zero_and_one(array: pa.Array) -> bool:
    """Tell whether bool8 values are NumPy's: Arrow calls every other byte true as well."""
    return bool(np.all(_view(array.storage).view(np.uint8) <= 1))


# What is copied


def _obstacle(array: pa.Array) -> Obstacle | None:
    """Say why the values cannot be viewed in place."""
    if _shareable(array):
        return None
    kind = array.type
    nulls = _null_count(array)
    if nulls and _shareable(_without_nulls(array)):
        return Obstacle(
            f"{nulls:,} of its values are null, which NumPy has no place for",
            "pass nulls='mask' for a masked array over the same memory",
        )
    if pa.types.is_boolean(kind):
        return Obstacle("Arrow packs booleans as bits", "keep them as pa.bool8()")
    if kind == pa.bool8():
        return Obstacle("some of its bytes are neither 0 nor 1", "store true as 1")
    if pa.types.is_dictionary(kind):
        return Obstacle("its values are in a dictionary", "convert .indices and .dictionary")
    if pa.types.is_date32(kind):
        return Obstacle("NumPy keeps days in 64 bits", "keep the dates as pa.date64()")
    return Obstacle(
        f"NumPy has no array of {kind} in Arrow's layout", "keep numbers in fixed-width types"
    )


def _concatenation(chunks: list[pa.Array]) -> Callable[[], Array]:
    return lambda: np.concatenate([_view(chunk) for chunk in chunks])


def _zeros_like(chunks: list[pa.Array]) -> Callable[[], Array]:
    shown = _view(chunks[0])
    return lambda: np.zeros((sum(map(len, chunks)), *shown.shape[1:]), shown.dtype)


def _conversion(chunks: list[pa.Array]) -> Callable[[], Array]:
    """Choose how to convert what cannot be shared, as pyarrow does; refuse what it cannot.

    A type is tried on a value and a null: pyarrow says for itself what it cannot convert.
    Only with times does that depend on all values, because Python has no nanoseconds.
    """
    _refuse_rounded_integers(chunks)
    kind = chunks[0].type
    if _hides_nanoseconds(kind):
        why = "Python objects in structs and maps have no nanoseconds"
        refuse("from Arrow", _describe(chunks[0]), why, "cast them to microseconds first")
    for chunk in chunks:
        _converted([chunk] if _contains(kind, pa.types.is_time64) else _samples(chunk))
    return lambda: _converted(chunks)


def _converted(chunks: list[pa.Array]) -> Array:
    try:
        return _as_pyarrow_does(_joined(chunks))
    except (pa.ArrowException, ValueError, OverflowError) as error:
        why = f"pyarrow cannot convert it ({error})"
        refuse("from Arrow", _describe(chunks[0]), why, "cast it first: array.cast(...)")


def _samples(array: pa.Array) -> list[pa.Array]:
    """Pick the first value and the first null, if there are any."""
    nulls = np.flatnonzero(_mask(array).reshape(len(array), -1).any(axis=1)).tolist()
    return [array.slice(row, 1) for row in sorted({0, *nulls[:1]})]


def _joined(chunks: list[pa.Array]) -> pa.Array:
    return chunks[0] if len(chunks) == 1 else pa.concat_arrays(list(map(_decoded, chunks)))


def _as_pyarrow_does(array: pa.Array) -> Array:
    array = _decoded(array)
    kind = array.type
    if _contains(kind, _is_misread):
        return _objects(array)
    if isinstance(kind, pa.FixedShapeTensorType) and not _null_count(array):
        return _tensor_shaped(_as_pyarrow_does(array.storage), kind)
    if kind == pa.bool8():
        return _as_pyarrow_does(pc.not_equal(array.storage, 0))
    if isinstance(kind, pa.BaseExtensionType):
        return _as_pyarrow_does(array.storage)
    if pa.types.is_fixed_size_list(kind) and not _null_count(array):
        cells = _as_pyarrow_does(_child(array))
        return cells.reshape(len(array), kind.list_size, *cells.shape[1:])
    try:
        converted: Array = array.to_numpy(zero_copy_only=False)
    except pa.ArrowNotImplementedError:
        return _objects(array)
    return converted


def _is_misread(kind: pa.DataType) -> bool:
    """Tell whether pyarrow 26 crashes on a type, or forgets the offset of its bitmap."""
    tests = (pa.types.is_interval, pa.types.is_list_view, pa.types.is_large_list_view)
    return any(test(kind) for test in tests)


def _hides_nanoseconds(kind: pa.DataType) -> bool:
    """Tell whether a struct or map holds times of a unit that become plain integers there."""
    if pa.types.is_struct(kind) or pa.types.is_map(kind):
        return _contains(kind, _is_in_nanoseconds)
    inner = (kind.field(i).type for i in range(kind.num_fields))
    return any(map(_hides_nanoseconds, inner))


def _is_in_nanoseconds(kind: pa.DataType) -> bool:
    return bool(
        (pa.types.is_timestamp(kind) or pa.types.is_duration(kind)) and kind.unit == "ns"
    )


def _decoded(array: pa.Array) -> pa.Array:
    """Write out a dictionary or the runs of a run-end encoding, in an extension type too."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        storage = array.storage
        inner = _decoded(storage)
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
                _describe(chunks[0]),
                "it has nulls, and float64 with NaN would round its integers above 2**53",
                "pass nulls='mask', or fill_null(...) first",
            )


def _parts(array: pa.Array) -> list[pa.Array]:
    """List an array and everything inside it."""
    array = _decoded(array)
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


def _contains(kind: pa.DataType, is_wanted: Callable[[pa.DataType], bool]) -> bool:
    if isinstance(kind, pa.BaseExtensionType):
        return _contains(kind.storage_type, is_wanted)
    inner = (kind.field(i).type for i in range(kind.num_fields))
    return is_wanted(kind) or any(_contains(each, is_wanted) for each in inner)


def _writable(array: Array) -> Array:
    return array if array.flags.writeable else aligned_copy(array)


# Nulls


def _mask(array: pa.Array) -> Array:
    """Unpack the validity bitmaps: true where a value, or the list around it, is null."""
    kind = array.type
    if isinstance(kind, pa.FixedShapeTensorType):
        return _tensor_shaped(_mask(array.storage), kind)
    if isinstance(kind, pa.BaseExtensionType):
        return _mask(array.storage)
    own = _own_mask(array)
    if not pa.types.is_fixed_size_list(kind):
        return own
    cells = _mask(_child(array))
    cells = cells.reshape(len(array), kind.list_size, *cells.shape[1:])
    return cells | own.reshape(len(array), *(1,) * (cells.ndim - 1))


def _own_mask(array: pa.Array) -> Array:
    """Unpack the outermost validity bitmap."""
    if isinstance(array.type, pa.BaseExtensionType):
        return _own_mask(array.storage)
    mask: Array = array.is_null().to_numpy(zero_copy_only=False)
    return mask


def _without_nulls(array: pa.Array) -> pa.Array:
    """Give the same buffers without the validity bitmaps."""
    kind = array.type
    if isinstance(kind, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(kind, _without_nulls(array.storage))
    if pa.types.is_fixed_size_list(kind):
        return pa.Array.from_buffers(
            kind, len(array), [None], children=[_without_nulls(_child(array))]
        )
    if _dtype(kind) is None and not pa.types.is_boolean(kind):
        return array
    return pa.Array.from_buffers(
        kind, len(array), [None, *array.buffers()[1:]], null_count=0, offset=array.offset
    )
