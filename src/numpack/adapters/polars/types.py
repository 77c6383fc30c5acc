"""The NumPy and Arrow types that Polars supports, and the Polars types that can be exported.

For Arrow types, an empty column is converted to see what Polars does; types on which it panics,
and types that it misreads, are found beforehand.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
import pyarrow as pa

from ..._core.policy import Obstacle, refuse
from ...errors import UnsupportedError
from ..arrow.direct import describe_columns
from ..arrow.errors import translate_errors
from ..arrow.rewrite import Rewriting
from ..arrow.supported_types import SupportedTypes
from ..arrow.trees import (
    as_decimal128,
    contains,
    decoded_type,
    empty_array,
    is_sliced,
    nodes,
    repeats_field_name,
    storage_type,
    type_with_offsets,
)
from ..arrow.views import nbytes

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from ..._core.dtypes import DType
    from ..arrow.direct import Columns

_UNITS = (("ms", 1), ("us", 1), ("ns", 1))
_COARSE = frozenset({"s", "m", "h"})


def intermediate_type(dtype: DType) -> pa.DataType | None:
    """Return the Arrow type to cast to first, or ``None``.

    Polars has no unit of seconds, and its own conversion overflows silently.
    """
    if dtype.kind not in "mM":
        return None
    unit, _ = np.datetime_data(dtype)
    if dtype.kind == "M":
        return pa.timestamp("ms") if unit in _COARSE else None
    return pa.duration("ms") if unit in _COARSE | {"D", "W"} else None


def dtype_obstacle(dtype: DType) -> Obstacle | None:
    """Return why Polars cannot share the values of a NumPy dtype; ``None`` if it can."""
    if dtype.kind == "b":
        return Obstacle("Polars packs booleans as bits", "pass the bytes: array.view('u1')")
    if dtype.kind in "mM" and np.datetime_data(dtype) not in _UNITS:
        name = "datetime64" if dtype.kind == "M" else "timedelta64"
        why = f"Polars stores {dtype.name} in another unit or width"
        return Obstacle(why, f"keep it as {name}[ms], [us] or [ns]")
    if dtype.kind in "SV":
        why = "Polars stores bytes as views with lengths"
        return Obstacle(why, "pass the bytes: array.view('u1').reshape(len(array), -1)")
    if dtype.kind in "UT":
        return Obstacle("Polars stores strings as UTF-8 with views", "keep them in Polars")
    return None


def _supported_type(
    type_: pa.DataType, parents: tuple[pa.DataType, ...], /
) -> pa.DataType | None:
    """Replace the types that Polars 2.1 lacks, aborts on or misreads.

    It aborts on decimals of 32 and 64 bits inside other types, converts the values of chunked
    dictionaries to strings, and reads extension types inside others as their storage.
    """
    if pa.types.is_list_view(type_) or pa.types.is_large_list_view(type_):
        return type_with_offsets(type_)
    if pa.types.is_dictionary(type_) and not parents and _is_text(type_.value_type):
        return None
    inside = storage_type(type_) if parents else None
    return inside or decoded_type(type_) or as_decimal128(type_)


def _is_text(type_: pa.DataType) -> bool:
    return bool(pa.types.is_string(type_) or pa.types.is_large_string(type_))


def _misreads(array: pa.Array) -> bool:
    """Check whether Polars misreads an array because of nulls.

    It applies the bitmap of the whole to slices of fixed-size lists, and misreads dictionaries
    with null entries.
    """
    if pa.types.is_dictionary(array.type):
        return bool(array.dictionary.null_count)
    if not contains(array.type, pa.types.is_fixed_size_list) or not is_sliced(array):
        return False
    return any(pa.types.is_fixed_size_list(n.type) and n.null_count for n in nodes(array))


SUPPORTED = SupportedTypes("Polars", _supported_type, _misreads)


def columns_obstacle(columns: Columns) -> tuple[Obstacle | None, int]:
    """Return why Polars copies Arrow columns, if it does, and the number of bytes.

    Types that Polars cannot represent are refused.
    """
    parts = columns.columns if hasattr(columns, "columns") else [columns]
    copied = [each for each in parts if not _is_shared(each)]
    if not copied:
        return None, nbytes(columns)
    type_ = copied[0].type
    why = f"Polars stores {type_} in another form"
    polars_type = _type_in_polars(Rewriting(_supported_type).target(type_))
    fix = f"cast it to the Arrow type that Polars uses: {polars_type}"
    if polars_type == type_:
        why = f"Polars misreads slices of {type_} with nulls"
        fix = "copy the slice once: pa.concat_arrays([array])"
    elif contains(type_, pa.types.is_dictionary):
        fix = "pass .indices and .dictionary separately, or keep it in Polars"
    return Obstacle(why, fix), sum(map(nbytes, copied))


def _is_shared(column: pa.Array | pa.ChunkedArray) -> bool:
    """Check whether Polars shares the buffers of a column, or refuse its type."""
    type_ = column.type
    supported = Rewriting(_supported_type).target(type_)
    if contains(supported, _is_unsupported):
        _refuse_unsupported(column, supported)
    try:
        polars_type = _type_in_polars(supported)
    except UnsupportedError as error:
        _refuse(column, f"Polars has no such type ({error.reason})")
    rewritten = SUPPORTED.rewrites(column)
    renamed = polars_type == supported or _is_renamed(supported, polars_type)
    if contains(supported, _may_overflow) and not renamed:
        _refuse_changed(SUPPORTED.prepare(column), polars_type)
    if rewritten or contains(type_, pa.types.is_dictionary):  # Polars assigns its own codes
        return False
    return renamed


def _type_in_polars(type_: pa.DataType) -> pa.DataType:
    def type_of_empty() -> pa.DataType:
        return pa.chunked_array(pl.Series("", empty_array(type_))).type

    return translate_errors(type_of_empty, "to Polars", lambda: str(type_))()


def _is_renamed(type_: pa.DataType, polars_type: pa.DataType) -> bool:
    """Check whether only the name of a 64-bit type changes: that of its zone, or ``date64``."""
    return bool(
        pa.types.is_date64(type_) or (_is_zoned(type_) and type_.unit == polars_type.unit)
    )


def _is_zoned(type_: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(type_) and type_.tz is not None)


def _is_unsupported(type_: pa.DataType) -> bool:
    """Check whether Polars 2.1 panics on a type, or fails to refuse it inside others."""
    if pa.types.is_fixed_size_list(type_):
        return bool(type_.list_size == 0)
    if pa.types.is_fixed_size_binary(type_):
        return bool(type_.byte_width == 0)
    return repeats_field_name(type_) or any(test(type_) for test in _UNSUPPORTED_FIXES)


_UNSUPPORTED_FIXES = {
    pa.types.is_decimal256: "cast it, if 38 digits are enough: pa.decimal128(38, scale)",
    pa.types.is_interval: "pass lists: pa.array([v and list(v) for v in array.to_pylist()])",
    pa.types.is_union: "pass one kind of its values: array.field(0)",
}


def _refuse_unsupported(column: pa.Array | pa.ChunkedArray, type_: pa.DataType) -> NoReturn:
    fix = "pass only their number: len(array)"
    if contains(type_, repeats_field_name):
        fix = "rename the fields: pa.StructArray.from_arrays(array.flatten(), names=[...])"
    fix = next((fix for test, fix in _UNSUPPORTED_FIXES.items() if contains(type_, test)), fix)
    refuse("to Polars", describe_columns(column), "Polars has no such type", fix)


def _may_overflow(type_: pa.DataType) -> bool:
    """Check whether Polars converts a type to a finer unit, with silent overflow or nulls."""
    if pa.types.is_timestamp(type_) or pa.types.is_duration(type_):
        return bool(type_.unit == "s")
    return bool(pa.types.is_time(type_))


def _refuse_changed(column: pa.Array | pa.ChunkedArray, polars_type: pa.DataType) -> None:
    whole = pa.chunked_array([column]) if isinstance(column, pa.Array) else column
    try:
        same = pa.chunked_array(pl.Series("", column)).cast(column.type).equals(whole)
    except pa.ArrowException:
        same = False
    if not same:
        _refuse(
            column, f"Polars would convert it to {polars_type}, which cannot hold its values"
        )


def _refuse(column: pa.Array | pa.ChunkedArray, why: str) -> NoReturn:
    refuse("to Polars", describe_columns(column), why, "cast it first: array.cast(...)")


def zone_inside(dtype: Any) -> str | None:
    """Return the time zone of a dtype, or of a dtype inside it; ``None`` for none."""
    own: str | None = getattr(dtype, "time_zone", None)
    fields = [field.dtype for field in getattr(dtype, "fields", None) or ()]
    inner = [getattr(dtype, "inner", None), *fields]
    return own or next(filter(None, (zone_inside(each) for each in inner if each)), None)


def refuse_opaque(name: str, dtype: pl.DataType) -> None:
    """Refuse dtypes that Polars exports as others: objects are exported as addresses."""
    inner = getattr(dtype, "inner", None)
    fields = getattr(dtype, "fields", None) or ()
    for each in (inner, *(field.dtype for field in fields)):
        if each is not None:
            refuse_opaque(name, each)
    if dtype == pl.Object:
        why = "Polars exports objects as their addresses"
        fix = "pass np.array(series.to_list(), object)"
    elif dtype in (pl.Int128, pl.UInt128):
        why, fix = "Arrow has no integers of 128 bits", "cast it: series.cast(pl.Int64)"
    else:
        return
    refuse("from Polars", f"{dtype} series {name!r}", why, fix)


def polars_obstacle(series: pl.Series) -> Callable[[Obstacle], Obstacle]:
    """Return a function that replaces pyarrow's fixes by those for a series."""
    dtype = series.dtype
    if dtype == pl.Boolean:
        return lambda _: Obstacle("Polars packs booleans as bits", "cast it to pl.UInt8")
    if dtype == pl.Date:
        return lambda o: Obstacle(o.reason, "keep it as pl.Datetime('ms')")
    if dtype in (pl.Categorical, pl.Enum):
        return lambda o: Obstacle(o.reason, "convert series.to_physical(), the codes")
    if series.n_chunks() > 1 and not series.null_count():
        return lambda o: Obstacle(o.reason, "copy it into one chunk: series.rechunk()")
    return lambda o: o


def object_fix(series: pl.Series) -> str:
    """Return the fix that keeps lists of one length as rows of numbers, or an empty string."""
    present = series.drop_nulls() if series.null_count() else series
    name = "series.drop_nulls()" if series.null_count() else "series"
    if isinstance(series.dtype, pl.Array) and present is not series:
        return f"drop its null rows first: {name}"
    if not isinstance(series.dtype, pl.List) or present.list.len().n_unique() != 1:
        return ""
    return f"keep its rows as an Array: {name}.list.to_array({present.list.len()[0]})"
