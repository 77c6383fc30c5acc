"""NumPy arrays to Arrow: shared buffers, conversions, and the layouts of N-D arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..._core import dtypes
from ..._core.memory import (
    aligned_copy,
    is_masked_array,
    normalize_strides,
    order_obstacle,
    representation_obstacle,
)
from ..._core.policy import Obstacle, Plan, describe, refuse
from ...errors import InvalidValueError, UnsupportedError
from ..numpy import base_array
from .object_kinds import ObjectsError
from .objects import Builder, strings_to_arrow
from .requested_type import cast, convert_to_type

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..._core.memory import Array

_MAX_LIST = 2**31 - 1
LAYOUTS = ("flat", "tensor", "list")
_TIME_UNITS = ("s", "ms", "us", "ns")
_CONVERSION_ERRORS = (pa.ArrowException, OverflowError, TypeError, ValueError)


def plan_arrow(array: Array, layout: str, requested: pa.DataType | None) -> Plan[pa.Array]:
    """Plan the conversion of an ndarray to a `pyarrow.Array`."""
    array = base_array(array, "Arrow", masks=True)
    _check_options(array, layout, requested)
    values, mask = _values_and_mask(array)
    shared_type = _shared_type(values.dtype, requested)
    if shared_type is None:
        return _plan_conversion(array, values, mask, layout, requested)
    obstacle = order_obstacle(values) or representation_obstacle(values)
    _check_nulls(array, mask, layout)

    def build(memory: Array) -> pa.Array:
        flat = _from_memory(memory.reshape(-1), _invalid(memory, mask), shared_type)
        return _with_layout(flat, array.shape, layout)

    return Plan(
        direction="to Arrow",
        describe=lambda: describe(array),
        nbytes=array.nbytes,
        result=lambda: build(values if obstacle is None else aligned_copy(values)),
        independent=lambda: build(aligned_copy(values)),
        obstacle=obstacle,
    )


def _plan_conversion(
    array: Array, values: Array, mask: Array | None, layout: str, requested: pa.DataType | None
) -> Plan[pa.Array]:
    """Plan a conversion to another representation, which always copies.

    Whether Arrow can represent the values depends on the values, so they are converted while
    planning: otherwise the plan could be wrong.
    """
    if values.dtype.kind == "b" and requested is None:
        return _plan_packing(array, values, mask, layout)
    obstacle = _conversion_obstacle(values.dtype, requested)
    flat = _converted(array, values, mask, requested)
    if layout == "tensor" and flat.null_count:
        _refuse_null_tensor(array)
    result = _with_layout(flat, array.shape, layout)
    return Plan(
        direction="to Arrow",
        describe=lambda: describe(array),
        nbytes=array.nbytes,
        result=lambda: result,
        independent=lambda: result,
        obstacle=obstacle,
    )


def _plan_packing(
    array: Array, values: Array, mask: Array | None, layout: str
) -> Plan[pa.Array]:
    """Plan to pack booleans as bits, which Arrow can represent whatever their values."""
    _check_nulls(array, mask, layout)

    def pack() -> pa.Array:
        return _with_layout(_converted(array, values, mask, None), array.shape, layout)

    return Plan(
        direction="to Arrow",
        describe=lambda: describe(array),
        nbytes=array.nbytes,
        result=pack,
        independent=pack,
        obstacle=_conversion_obstacle(values.dtype, None),
    )


def _check_options(array: Array, layout: str, requested: object) -> None:
    if layout not in LAYOUTS:
        msg = f"layout must be one of {', '.join(map(repr, LAYOUTS))}, not {layout!r}"
        raise InvalidValueError(msg)
    if array.ndim == 0 and layout != "flat":
        msg = f"layout={layout!r} needs rows, and a 0-d array has none; pass array.reshape(1)"
        raise InvalidValueError(msg)
    if (layout != "flat" and max(array.shape[1:], default=0) > _MAX_LIST) or (
        layout == "tensor" and np.prod(array.shape[1:], dtype=float) > _MAX_LIST
    ):
        msg = f"a fixed-size list has at most {_MAX_LIST:,} values; pass layout='flat'"
        raise InvalidValueError(msg)
    if requested is not None and not isinstance(requested, pa.DataType):
        msg = f"type must be a pyarrow.DataType such as pyarrow.bool8(), not {requested!r}"
        raise InvalidValueError(msg)


def _values_and_mask(array: Array) -> tuple[Array, Array | None]:
    """Return the values of an array and its mask; ``None`` for no mask."""
    mask = np.ma.getmask(array) if is_masked_array(array) else np.ma.nomask
    if mask is np.ma.nomask or array.dtype.names:
        return normalize_strides(array), None
    return normalize_strides(array), np.ascontiguousarray(mask).reshape(-1)


def _shared_type(dtype: dtypes.DType, requested: pa.DataType | None) -> pa.DataType | None:
    """Return the Arrow type with the memory layout of `dtype`; ``None`` if there is none."""
    natural = pa.int8() if dtype.kind == "b" else _natural_type(dtype)
    if requested is None:
        return None if dtype.kind == "b" else natural
    if natural is None or requested == natural:
        return natural if dtype.kind != "b" else None
    if isinstance(requested, pa.BaseExtensionType) and requested.storage_type == natural:
        return requested if dtype.kind != "b" or requested == pa.bool8() else None
    is_zoned = pa.types.is_timestamp(requested) and dtype.kind == "M"
    return requested if is_zoned and requested.unit == natural.unit else None


def _natural_type(dtype: dtypes.DType) -> pa.DataType | None:
    row = dtypes.of_numpy(dtype)
    if row is not None:
        return getattr(pa, row.arrow)() if row.arrow and dtype.kind != "b" else None
    if dtype.kind in "mM":
        unit, count = np.datetime_data(dtype)
        if unit in _TIME_UNITS and count == 1:
            return pa.timestamp(unit) if dtype.kind == "M" else pa.duration(unit)
    if dtype.kind == "S" or (dtype.kind == "V" and dtype.names is None):
        return None if dtypes.is_extension(dtype) else pa.binary(dtype.itemsize)
    return None


def _invalid(values: Array, mask: Array | None) -> Array | None:
    """Return the mask of the elements that become null: masked ones and NaT, but not NaN."""
    if values.dtype.kind not in "mM":
        return mask
    missing = np.isnat(values).reshape(-1)
    if mask is not None:
        missing = missing | mask
    return missing if missing.any() else None


def _from_memory(flat: Array, invalid: Array | None, type_: pa.DataType) -> pa.Array:
    """Return an Arrow array over the memory of a contiguous 1-D array."""
    storage = type_.storage_type if isinstance(type_, pa.BaseExtensionType) else type_
    data = pa.py_buffer(flat.view(np.uint8) if flat.nbytes else b"")
    validity = None if invalid is None else pa.array(~invalid).buffers()[1]
    nulls = 0 if invalid is None else int(np.count_nonzero(invalid))
    array = pa.Array.from_buffers(storage, flat.size, [validity, data], null_count=nulls)
    return array if storage is type_ else pa.ExtensionArray.from_storage(type_, array)


def _with_layout(flat: pa.Array, shape: tuple[int, ...], layout: str) -> pa.Array:
    """Arrange flat values as `layout` requests, over the same memory."""
    if layout == "flat":
        return flat
    rows, cell = shape[0], shape[1:]
    if layout == "tensor":
        tensor = pa.fixed_shape_tensor(flat.type, cell)
        storage = _fixed_size_lists(flat, rows, (int(np.prod(cell)),))
        return pa.ExtensionArray.from_storage(tensor, storage)
    return _fixed_size_lists(flat, rows, cell)


def _fixed_size_lists(values: pa.Array, rows: int, cell: tuple[int, ...]) -> pa.Array:
    lengths = [rows]
    for extent in cell[:-1]:
        lengths.append(lengths[-1] * extent)
    for extent, length in zip(reversed(cell), reversed(lengths), strict=False):
        kind = pa.list_(values.type, extent)
        values = pa.Array.from_buffers(kind, length, [None], children=[values])
    return values


def _check_nulls(array: Array, mask: Array | None, layout: str) -> None:
    if layout != "tensor":
        return
    masked = mask is not None and bool(mask.any())
    if masked or (array.dtype.kind in "mM" and np.isnat(array).any()):
        _refuse_null_tensor(array)


def _refuse_null_tensor(array: Array) -> None:
    refuse(
        "to Arrow",
        describe(array),
        "a fixed-shape tensor has no nulls inside its cells",
        "pass layout='list', whose values can be null",
    )


def _conversion_obstacle(dtype: dtypes.DType, requested: pa.DataType | None) -> Obstacle:
    if dtype.kind == "b" and (requested is None or pa.types.is_boolean(requested)):
        return Obstacle(
            "Arrow packs booleans as bits", "pass type=pa.bool8() to share the bytes"
        )
    if requested is not None:
        return Obstacle(
            f"it has to be cast to {requested}", "leave out type=, or convert with astype once"
        )
    if dtype.kind in "mM":
        kind = "datetime64" if dtype.kind == "M" else "timedelta64"
        return Obstacle(
            f"Arrow stores {dtype.name} in another width or unit",
            f"keep it as {kind}[s], [ms], [us] or [ns]",
        )
    if dtype.kind in "UT":
        return Obstacle(
            "Arrow stores strings as UTF-8 with offsets", "keep the strings in Arrow"
        )
    return Obstacle("Arrow has to infer the type of each object", "pass an array of one dtype")


def _converted(
    array: Array, values: Array, mask: Array | None, requested: pa.DataType | None
) -> pa.Array:
    dtype = dtypes.native(values.dtype)
    convert = _converter(array, dtype)
    # pyarrow shares primitive arrays, even in casts, but the result must be independent
    flat = values.reshape(-1).astype(dtype, copy=dtype.kind not in "bOUT")
    try:
        return convert(flat, mask, requested)
    except UnsupportedError:
        raise
    except ObjectsError as error:
        why = f"Arrow cannot hold these values ({error.reason})"
        refuse("to Arrow", describe(array), why, error.fix)
    except _CONVERSION_ERRORS as error:
        fix = "choose another type=, or convert with astype(...) first"
        if requested is None:
            fix = "make strings of them: np.array([ascii(x) for x in array.ravel().tolist()])"
        why = f"Arrow cannot hold these values ({error})"
        refuse("to Arrow", describe(array), why, fix)


def _converter(
    array: Array, dtype: dtypes.DType
) -> Callable[[Array, Array | None, pa.DataType | None], pa.Array]:
    """Return the function that converts values of a dtype, or refuse the dtype."""
    if dtype.kind in "OUTSV" and (dtype.kind in "OUT" or _natural_type(dtype) is not None):
        return _from_objects
    if dtype.kind in "mM":
        return lambda flat, mask, requested: _cast_to(
            _from_coarse_time(array, flat, mask), requested
        )
    if dtype.kind == "b" or _natural_type(dtype) is not None:
        return lambda flat, mask, requested: _cast_to(pa.array(flat, mask=mask), requested)
    refuse("to Arrow", describe(array), "Arrow has no such type", _fix_for(dtype))


def _cast_to(source: pa.Array, requested: pa.DataType | None) -> pa.Array:
    return source if requested is None or requested == source.type else cast(source, requested)


def _from_objects(flat: Array, mask: Array | None, requested: pa.DataType | None) -> pa.Array:
    """Convert objects, strings and bytes as objects: pyarrow truncates ``U`` at a NUL."""
    objects = flat.tolist()
    if flat.dtype.kind == "T":
        absent = getattr(flat.dtype, "na_object", "")
        if not isinstance(absent, str):
            objects = [None if each is absent else each for each in objects]
    if mask is not None:
        objects = [None if hidden else each for each, hidden in zip(objects, mask, strict=True)]
    build = _build_strings if flat.dtype.kind in "UT" else _BUILDER.build
    return build(objects) if requested is None else convert_to_type(objects, requested, build)


def _build_strings(values: Iterable[Any]) -> pa.Array:
    return strings_to_arrow(list(values), pa.string())


_BUILDER = Builder(lambda values: plan_arrow(values, "flat", None).result())


def _from_coarse_time(array: Array, flat: Array, mask: Array | None) -> pa.Array:
    """Convert datetime64 and timedelta64 of units that Arrow does not support."""
    unit, _ = np.datetime_data(flat.dtype)
    exact = _exact_time(flat.dtype.kind, unit)
    if exact is None:
        why = f"Arrow has no type for the unit of {flat.dtype.name}"
        fix = "choose a unit yourself: array.astype('M8[ns]'), or pass array.view('i8')"
        refuse("to Arrow", describe(array), why, fix)
    fresh = flat.astype(exact)
    days = np.datetime_data(exact)[0] == "D"
    # astype and pyarrow both wrap around silently if a value is out of range in the new unit
    if not np.array_equal(fresh.astype(flat.dtype), flat, equal_nan=True) or (
        days and not _fits_int32(fresh)
    ):
        why = f"some of its times are out of the range of Arrow's {exact}"
        refuse("to Arrow", describe(array), why, "pass array.view('i8')")
    missing = _invalid(fresh, mask)
    if days:
        return pa.array(fresh, type=pa.date32(), mask=missing)
    return _from_memory(fresh, missing, _natural_type(fresh.dtype))


def _exact_time(kind: str, unit: str) -> str | None:
    """Return the dtype in an Arrow unit that represents all values exactly, or ``None``."""
    if unit in _TIME_UNITS:
        return f"{kind}8[{unit}]"
    if unit in ("h", "m") or (kind == "m" and unit in ("D", "W")):
        return f"{kind}8[s]"
    if kind == "M" and unit in ("D", "W", "M", "Y"):
        return "M8[D]"
    return None


def _fits_int32(days: Array) -> bool:
    counts = days[~np.isnat(days)].view(np.int64)
    return bool(np.all(counts == counts.astype(np.int32)))


def _fix_for(dtype: dtypes.DType) -> str:
    if dtype.kind == "c" and dtype.itemsize <= 16:
        return f"pass the real and imaginary parts: array.view('f{dtype.itemsize // 2}')"
    if dtype.kind == "c":
        return "round it and pass both parts: array.astype('c16').view('f8')"
    if dtype.names:
        return f"pass one field at a time: array[{dtype.names[0]!r}]"
    if dtypes.is_extension(dtype):
        wider = f"array.astype({dtypes.wider(dtype)})"
        if dtype.name.endswith("complex32"):
            wider += ".view('f4')"
        return f"pass the bits as array.view('u{dtype.itemsize}'), or {wider}"
    if dtype.kind == "f":
        return "round it yourself: array.astype(np.float64)"
    return "convert it with astype(...) first"
