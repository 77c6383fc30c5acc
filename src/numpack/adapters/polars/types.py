"""What Polars makes of the types of NumPy and of Arrow, and which of its own leave it.

Of Arrow's types Polars itself is asked, with a column of no rows; those on which it panics,
and those that it would read as another value, are found before.
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
    """Find the Arrow type to cast to first: Polars has no seconds, and overflows silently."""
    if dtype.kind not in "mM":
        return None
    unit, _ = np.datetime_data(dtype)
    if dtype.kind == "M":
        return pa.timestamp("ms") if unit in _COARSE else None
    return pa.duration("ms") if unit in _COARSE | {"D", "W"} else None


def dtype_obstacle(dtype: DType) -> Obstacle | None:
    """Find why Polars keeps the values of a NumPy dtype in another form."""
    if dtype.kind == "b":
        return Obstacle("Polars packs booleans as bits", "pass the bytes: array.view('u1')")
    if dtype.kind in "mM" and np.datetime_data(dtype) not in _UNITS:
        name = "datetime64" if dtype.kind == "M" else "timedelta64"
        why = f"Polars keeps {dtype.name} in another unit or width"
        return Obstacle(why, f"keep it as {name}[ms], [us] or [ns]")
    if dtype.kind in "SV":
        why = "Polars keeps bytes as views with lengths"
        return Obstacle(why, "pass the bytes: array.view('u1').reshape(len(array), -1)")
    if dtype.kind in "UT":
        return Obstacle("Polars keeps strings as UTF-8 with views", "keep them in Polars")
    return None


def _taken(type_: pa.DataType, parents: tuple[pa.DataType, ...], /) -> pa.DataType | None:
    """Replace what Polars 2.1 has no type for, aborts on or reads as other values.

    It aborts on decimals of 32 and 64 bits inside other types, makes strings of the values of
    dictionaries in chunks, and reads what extension types hold inside others as it is.
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
    """Tell whether Polars reads a slice of fixed-size lists with the bitmap of the whole."""
    if pa.types.is_dictionary(array.type):
        return bool(array.dictionary.null_count)
    if not contains(array.type, pa.types.is_fixed_size_list) or not is_sliced(array):
        return False
    return any(pa.types.is_fixed_size_list(n.type) and n.null_count for n in nodes(array))


SUPPORTED = SupportedTypes("Polars", _taken, _misreads)


def columns_obstacle(columns: Columns) -> tuple[Obstacle | None, int]:
    """Find why Polars copies Arrow columns, and how many bytes; refuse what it cannot hold."""
    parts = columns.columns if hasattr(columns, "columns") else [columns]
    moved = [each for each in parts if not _keeps(each)]
    if not moved:
        return None, nbytes(columns)
    type_ = moved[0].type
    why = f"Polars keeps {type_} in another form"
    kept = _arrow_type(Rewriting(_taken).target(type_))
    fix = f"cast it to a type that Polars has in Arrow: {kept}"
    if kept == type_:
        why = f"Polars misreads slices of {type_} that hold nulls"
        fix = "copy the slice once: pa.concat_arrays([array])"
    elif contains(type_, pa.types.is_dictionary):
        fix = "pass .indices and .dictionary by themselves, or keep it in Polars"
    return Obstacle(why, fix), sum(map(nbytes, moved))


def _keeps(column: pa.Array | pa.ChunkedArray) -> bool:
    """Tell whether Polars shares the buffers of a column."""
    type_ = column.type
    taken = Rewriting(_taken).target(type_)
    if contains(taken, _lacks):
        _refuse_lacking(column, taken)
    try:
        kept = _arrow_type(taken)
    except UnsupportedError as error:
        _refuse(column, f"Polars has no such type ({error.reason})")
    rewritten = SUPPORTED.rewrites(column)
    renamed = kept == taken or _is_renamed(taken, kept)
    if contains(taken, _may_overflow) and not renamed:
        _refuse_changed(SUPPORTED.prepare(column), kept)
    if rewritten or contains(type_, pa.types.is_dictionary):  # whose codes Polars gives itself
        return False
    return renamed


def _arrow_type(type_: pa.DataType) -> pa.DataType:
    def asked() -> pa.DataType:
        return pa.chunked_array(pl.Series("", empty_array(type_))).type

    return translate_errors(asked, "to Polars", lambda: str(type_))()


def _is_renamed(type_: pa.DataType, kept: pa.DataType) -> bool:
    """Tell whether the same 64 bits have another name: that of a zone, or dates in ms."""
    return bool(pa.types.is_date64(type_) or (_is_zoned(type_) and type_.unit == kept.unit))


def _is_zoned(type_: pa.DataType) -> bool:
    return bool(pa.types.is_timestamp(type_) and type_.tz is not None)


def _lacks(type_: pa.DataType) -> bool:
    """Tell of types on which Polars 2.1 panics, or which it forgets to refuse inside others."""
    if pa.types.is_fixed_size_list(type_):
        return bool(type_.list_size == 0)
    if pa.types.is_fixed_size_binary(type_):
        return bool(type_.byte_width == 0)
    return repeats_field_name(type_) or any(test(type_) for test in _LACKING)


_LACKING = {  # and what to do about it
    pa.types.is_decimal256: "cast it, if 38 digits are enough: pa.decimal128(38, scale)",
    pa.types.is_interval: "pass lists: pa.array([v and list(v) for v in array.to_pylist()])",
    pa.types.is_union: "pass one kind of its values: array.field(0)",
}


def _refuse_lacking(column: pa.Array | pa.ChunkedArray, type_: pa.DataType) -> NoReturn:
    fix = "pass their number alone: len(array)"
    if contains(type_, repeats_field_name):
        fix = "rename the fields: pa.StructArray.from_arrays(array.flatten(), names=[...])"
    fix = next((way for test, way in _LACKING.items() if contains(type_, test)), fix)
    refuse("to Polars", describe_columns(column), "Polars has no such type", fix)


def _may_overflow(type_: pa.DataType) -> bool:
    """Tell of types that become wider units, where Polars wraps around or makes nulls."""
    if pa.types.is_timestamp(type_) or pa.types.is_duration(type_):
        return bool(type_.unit == "s")
    return bool(pa.types.is_time(type_))


def _refuse_changed(column: pa.Array | pa.ChunkedArray, kept: pa.DataType) -> None:
    whole = pa.chunked_array([column]) if isinstance(column, pa.Array) else column
    try:
        same = pa.chunked_array(pl.Series("", column)).cast(column.type).equals(whole)
    except pa.ArrowException:
        same = False
    if not same:
        _refuse(column, f"Polars would make {kept} of it, which cannot hold its values")


def _refuse(column: pa.Array | pa.ChunkedArray, why: str) -> NoReturn:
    refuse("to Polars", describe_columns(column), why, "cast it first: array.cast(...)")


def zone_inside(dtype: Any) -> str | None:
    """Return the time zone of a dtype, or of one inside of it."""
    own: str | None = getattr(dtype, "time_zone", None)
    fields = [field.dtype for field in getattr(dtype, "fields", None) or ()]
    inner = [getattr(dtype, "inner", None), *fields]
    return own or next(filter(None, (zone_inside(each) for each in inner if each)), None)


def refuse_opaque(name: str, dtype: pl.DataType) -> None:
    """Refuse what leaves Polars as something else: objects go as their addresses."""
    inner = getattr(dtype, "inner", None)
    fields = getattr(dtype, "fields", None) or ()
    for each in (inner, *(field.dtype for field in fields)):
        if each is not None:
            refuse_opaque(name, each)
    if dtype == pl.Object:
        why, fix = "Arrow gets addresses of objects", "pass np.array(series.to_list(), object)"
    elif dtype in (pl.Int128, pl.UInt128):
        why, fix = "nobody else has such wide integers", "cast it: series.cast(pl.Int64)"
    else:
        return
    refuse("from Polars", f"{dtype} series {name!r}", why, fix)


def polars_obstacle(series: pl.Series) -> Callable[[Obstacle], Obstacle]:
    """Say what to change in a series, where pyarrow's words would not help."""
    dtype = series.dtype
    if dtype == pl.Boolean:
        return lambda _: Obstacle("Polars packs booleans as bits", "cast it to pl.UInt8")
    if dtype == pl.Date:
        return lambda found: Obstacle(found.reason, "keep it as pl.Datetime('ms')")
    if dtype in (pl.Categorical, pl.Enum):
        return lambda found: Obstacle(found.reason, "convert series.to_physical(), the codes")
    if series.n_chunks() > 1 and not series.null_count():
        return lambda found: Obstacle(found.reason, "make one of them: series.rechunk()")
    return lambda found: found


def regular(series: pl.Series) -> str:
    """Return how to keep a column of lists as rows of numbers, if they are of one length."""
    present = series.drop_nulls() if series.null_count() else series
    name = "series.drop_nulls()" if series.null_count() else "series"
    if isinstance(series.dtype, pl.Array) and present is not series:
        return f"drop its null rows first: {name}"
    if not isinstance(series.dtype, pl.List) or present.list.len().n_unique() != 1:
        return ""
    return f"keep its rows as an Array: {name}.list.to_array({present.list.len()[0]})"
