"""Arrow arrays to NumPy: views where the memory layouts agree, copies elsewhere.

Also the handling of nulls and of chunked arrays.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from ..._core.memory import aligned_copy, aligned_empty
from ..._core.owner import readonly_view
from ..._core.policy import MASK_OR_FILL, Obstacle, Plan, check_nulls, refuse
from ...errors import NullError
from .convert import conversion, decode, describe, empty_decoded, needs_decoding, object_fix
from .views import mask, nbytes, null_count, shareable, top_level_mask, view, without_nulls

if TYPE_CHECKING:
    from collections.abc import Callable

    from ..._core.dtypes import DType
    from ..._core.memory import Array

_MAX_NDIM = 64


def plan_array(source: pa.Array | pa.ChunkedArray, nulls: str) -> Plan[Array]:
    """Plan the conversion of an Arrow array or chunked array to an ndarray."""
    check_nulls(nulls)
    chunks = list(map(decode, _nonempty_chunks(source)))
    if nulls == "raise":
        _raise_nulls(source, chunks)
    if nulls == "mask":
        return _plan_masked(source, chunks)
    return _plan(source, chunks)


def _plan(source: pa.Array | pa.ChunkedArray, chunks: list[pa.Array]) -> Plan[Array]:
    """Plan the conversion of the decoded chunks of `source`."""
    obstacle = _decoding_obstacle(source.type)
    if obstacle is None:
        obstacle = next(filter(None, map(_obstacle, chunks)), None)
    if obstacle is None and len(chunks) == 1:
        return _plan_view(source, chunks[0])
    if obstacle is None:
        obstacle = Obstacle(
            f"it is in {len(chunks)} chunks", "convert chunk by chunk: array.chunk(i)"
        )
        convert, result_spec = _concatenation(chunks)
    else:
        convert, result_spec = conversion(chunks), None
    return Plan(
        direction="from Arrow",
        describe=lambda: describe(source),
        nbytes=nbytes(source),
        result=convert,
        independent=lambda: _writable(convert()),
        obstacle=obstacle,
        result_spec=result_spec,
        object_fix=lambda: object_fix(source),
    )


def _plan_view(source: pa.Array | pa.ChunkedArray, array: pa.Array) -> Plan[Array]:
    def share() -> Array:
        return readonly_view(view(array))  # Arrow memory is immutable

    return Plan(
        direction="from Arrow",
        describe=lambda: describe(source),
        nbytes=nbytes(source),
        result=share,
        independent=lambda: aligned_copy(share()),
    )


def _plan_masked(source: pa.Array | pa.ChunkedArray, chunks: list[pa.Array]) -> Plan[Array]:
    """Plan a masked array: the values without their nulls, and the validity bitmap as mask."""
    values = _plan(source, [without_nulls(chunk) for chunk in chunks])

    def masked(data: Array) -> Array:
        nulls_mask = np.concatenate([mask(chunk) for chunk in chunks])
        if nulls_mask.ndim > data.ndim:  # objects, which contain their own nulls
            nulls_mask = np.concatenate([top_level_mask(chunk) for chunk in chunks])
        inner = (1,) * (data.ndim - nulls_mask.ndim)
        nulls_mask = nulls_mask.reshape(nulls_mask.shape + inner)
        full_mask = np.broadcast_to(nulls_mask, data.shape).copy()
        return np.ma.MaskedArray(data, mask=full_mask, copy=False)

    return Plan(
        direction="from Arrow",
        describe=values.describe,
        nbytes=values.nbytes,
        result=lambda: masked(values.result()),
        independent=lambda: masked(values.independent()),
        obstacle=values.obstacle,
    )


def _nonempty_chunks(source: pa.Array | pa.ChunkedArray) -> list[pa.Array]:
    """Return the chunks that are not empty, or one empty chunk."""
    chunks = [source] if isinstance(source, pa.Array) else source.chunks
    filled = [chunk for chunk in chunks if len(chunk)]
    if any(not getattr(chunk, "is_cpu", True) for chunk in filled):
        why, fix = (
            "its buffers are not in CPU memory",
            "copy it to the CPU first: array.copy_to(...)",
        )
        refuse("from Arrow", describe(source), why, fix)
    if _depth(source.type) > _MAX_NDIM:
        why, fix = (
            f"NumPy has at most {_MAX_NDIM} dimensions",
            "flatten it: array.flatten()",
        )
        refuse("from Arrow", describe(source), why, fix)
    return filled or [empty_decoded(source.type)]


def _depth(type_: pa.DataType) -> int:
    """Return the number of dimensions of the result for fixed-size lists and tensors."""
    if isinstance(type_, pa.FixedShapeTensorType):
        return 1 + len(type_.shape)
    return 1 + _depth(type_.value_type) if pa.types.is_fixed_size_list(type_) else 1


def _raise_nulls(source: pa.Array | pa.ChunkedArray, chunks: list[pa.Array]) -> None:
    count = sum(map(null_count, chunks))
    if count:
        msg = (
            f"Zero-copy conversion from Arrow failed: {describe(source)}, {count:,} of its "
            "values are null; pass nulls='mask' for a masked array over the same memory, or "
            "nulls='convert' for NaN, NaT or None"
        )
        raise NullError(msg)


def _decoding_obstacle(type_: pa.DataType) -> Obstacle | None:
    """Return why encoded values have to be decoded, if they have to be."""
    if not needs_decoding(type_):
        return None
    if pa.types.is_dictionary(type_):
        return Obstacle("it is dictionary-encoded", "convert .indices and .dictionary")
    return _layout_obstacle(type_)


def _layout_obstacle(type_: pa.DataType) -> Obstacle:
    return Obstacle(
        f"NumPy has no dtype with the layout of {type_}", "keep numbers in fixed-width types"
    )


def _obstacle(array: pa.Array) -> Obstacle | None:
    """Return why the values cannot be viewed in place; ``None`` if they can."""
    if shareable(array):
        return None
    type_ = array.type
    nulls = null_count(array)
    if nulls and shareable(without_nulls(array)):
        return Obstacle(
            f"{nulls:,} of its values are null, which NumPy cannot represent",
            MASK_OR_FILL,
        )
    if pa.types.is_boolean(type_):
        return Obstacle("Arrow packs booleans as bits", "keep them as pa.bool8()")
    if type_ == pa.bool8():
        return Obstacle("some of its bytes are neither 0 nor 1", "store true as 1")
    if pa.types.is_date32(type_):
        return Obstacle("NumPy stores days in 64 bits", "keep the dates as pa.date64()")
    return _layout_obstacle(type_)


def _concatenation(
    chunks: list[pa.Array],
) -> tuple[Callable[[], Array], tuple[tuple[int, ...], DType]]:
    """Return a function that concatenates chunks, and the shape and dtype of its result."""
    views = [view(chunk) for chunk in chunks]
    shape, dtype = (sum(map(len, chunks)), *views[0].shape[1:]), views[0].dtype
    return lambda: np.concatenate(views, out=aligned_empty(shape, dtype)), (shape, dtype)


def _writable(array: Array) -> Array:
    return array if array.flags.writeable else aligned_copy(array)
