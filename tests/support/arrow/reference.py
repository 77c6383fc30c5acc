"""A reader of Arrow columns by their buffers, without pyarrow's conversions.

Its Python values can be compared.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

_NANOSECONDS = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}


def reference(column: pa.Array | pa.ChunkedArray) -> list[Any]:
    """Read a column into lists, pairs of names and values, and plain Python values.

    Times are nanoseconds since their epoch, so that units can be compared.
    """
    if isinstance(column, pa.ChunkedArray):
        return [value for chunk in column.chunks for value in reference(chunk)]
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType):
        values = reference(column.storage)
        return [v if v is None else v != 0 for v in values] if kind == pa.bool8() else values
    for test, read in _READ:
        if test(kind):
            return read(column)
    values = _plain(column)
    return [v if ok else None for v, ok in zip(values, _valid(column), strict=True)]


def _valid(array: pa.Array) -> list[bool]:
    bitmap = array.buffers()[0]
    if bitmap is None:
        return [True] * len(array)
    bits = np.unpackbits(np.frombuffer(bitmap, np.uint8), bitorder="little")
    return bits[array.offset : array.offset + len(array)].astype(bool).tolist()


def _numbers(array: pa.Array, place: int, dtype: str, extra: int = 0) -> list[int]:
    buffer = array.buffers()[place]
    if buffer is None:
        return [0] * (len(array) + extra)
    values = np.frombuffer(buffer, dtype)[array.offset : array.offset + len(array) + extra]
    return values.tolist()


def _plain(array: pa.Array) -> list[Any]:
    kind = array.type
    if pa.types.is_date32(kind):
        return [v * 86400 * 10**9 for v in _numbers(array, 1, "i4")]
    if pa.types.is_date64(kind):
        return [v * 10**6 for v in _numbers(array, 1, "i8")]
    if hasattr(kind, "unit") and not pa.types.is_interval(kind):
        factor = _NANOSECONDS[kind.unit]
        return [v * factor for v in _numbers(array, 1, f"i{kind.bit_width // 8}")]
    if pa.types.is_floating(kind):
        return ["nan" if v != v else v for v in _numbers(array, 1, f"f{kind.bit_width // 8}")]
    if pa.types.is_interval(kind):
        return [None if v is None else tuple(v) for v in array.to_pylist()]
    return array.to_pylist()


def _read_null(array: pa.Array) -> list[Any]:
    return [None] * len(array)


def _read_dictionary(array: pa.Array) -> list[Any]:
    values = reference(array.dictionary)
    return [None if code is None else values[code] for code in reference(array.indices)]


def _read_runs(array: pa.Array) -> list[Any]:
    ends, values = array.run_ends.to_pylist(), reference(array.values)
    runs = np.searchsorted(ends, np.arange(len(array)) + array.offset, side="right")
    return [values[run] for run in runs.tolist()]


def _read_union(array: pa.Array) -> list[Any]:
    kind = array.type
    codes = _numbers(array, 1, "i1")
    dense = kind.mode == "dense"
    places = _numbers(array, 2, "i4") if dense else range(len(array))
    children = [reference(array.field(i)) for i in range(kind.num_fields)]
    by_code = dict(zip(kind.type_codes, children, strict=True))
    return [by_code[code][at] for code, at in zip(codes, places, strict=True)]


def _read_struct(array: pa.Array) -> list[Any]:
    kind = array.type
    children = [reference(array.field(i)) for i in range(kind.num_fields)]
    names = [kind.field(i).name for i in range(kind.num_fields)]
    return [
        tuple((n, c[i]) for n, c in zip(names, children, strict=True)) if ok else None
        for i, ok in enumerate(_valid(array))
    ]


def _read_list(array: pa.Array, width: str) -> list[Any]:
    if pa.types.is_map(array.type):
        keys, items = reference(array.keys), reference(array.items)
        values = [(("key", k), ("value", v)) for k, v in zip(keys, items, strict=True)]
    else:
        values = reference(array.values)
    ends = _numbers(array, 1, width, extra=1)
    return [values[ends[i] : ends[i + 1]] if ok else None for i, ok in enumerate(_valid(array))]


def _read_list_view(array: pa.Array, width: str) -> list[Any]:
    values = reference(array.values)
    starts, sizes = _numbers(array, 1, width), _numbers(array, 2, width)
    return [
        values[starts[i] : starts[i] + sizes[i]] if ok else None
        for i, ok in enumerate(_valid(array))
    ]


def _read_fixed(array: pa.Array) -> list[Any]:
    size, at = array.type.list_size, array.offset
    values = reference(array.values)
    return [
        values[(at + i) * size : (at + i + 1) * size] if ok else None
        for i, ok in enumerate(_valid(array))
    ]


_READ: tuple[tuple[Any, Any], ...] = (
    (pa.types.is_null, _read_null),
    (pa.types.is_dictionary, _read_dictionary),
    (pa.types.is_run_end_encoded, _read_runs),
    (pa.types.is_union, _read_union),
    (pa.types.is_struct, _read_struct),
    (pa.types.is_map, lambda a: _read_list(a, "i4")),
    (pa.types.is_list, lambda a: _read_list(a, "i4")),
    (pa.types.is_large_list, lambda a: _read_list(a, "i8")),
    (pa.types.is_list_view, lambda a: _read_list_view(a, "i4")),
    (pa.types.is_large_list_view, lambda a: _read_list_view(a, "i8")),
    (pa.types.is_fixed_size_list, _read_fixed),
)
