"""ONNX Runtime: an `OrtValue` on the CPU is C-ordered memory that may be written.

Source: the ONNX Runtime documentation of ``OrtValue``; ONNX, ``TensorProto.DataType`` for the
numbers of the types and "4 bit integer types" for how they are packed.
"""

from __future__ import annotations

import functools
import math
from typing import TYPE_CHECKING, Any

import numpy as np
from onnxruntime import OrtValue, __version__

from .._core import dtypes
from .._core.memory import (
    aligned_copy,
    from_address,
    native_obstacle,
    normalize_strides,
    order_obstacle,
    writable_alias,
)
from .._core.plan_view import plan_view, unprotected
from .._core.policy import Obstacle, Plan, describe, refuse, wrong_type
from .._dlpack.exporting import export
from ._fixes import objects_fix
from .numpy import base_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._core.dtypes import DType, DTypeInfo
    from .._core.memory import Array

LABEL = "ONNX Runtime"
FROM_OPTIONS: frozenset[str] = frozenset()
TO_OPTIONS: frozenset[str] = frozenset()

_ENUMERATION = (  # from 1
    *("float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool"),
    *("float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
    *("uint4", "int4", "float4_e2m1fn", "float8_e8m0fnu", "uint2", "int2"),
)
_NUMBERS = {name: number for number, name in enumerate(_ENUMERATION, 1)}
_ROWS = {_NUMBERS[row.numpy]: row for row in dtypes.DTYPES if row.numpy in _NUMBERS}
_STRING = _NUMBERS["string"]

# From 1.32 on it takes every type by DLPack, and then the native value owns the memory.
# Before, only the Python object does, and what `OrtValue.numpy` gives outlives it.
_OWNS_MEMORY = tuple(int(part) for part in __version__.split(".")[:2]) >= (1, 32)


def from_numpy(array: Array) -> Plan[OrtValue]:
    """Plan the way from the hub.

    A session may write to an OrtValue (a bound output, ``update_inplace``), so read-only
    memory that is a mapped file is mapped again copy-on-write.
    """
    array = base_array(array, LABEL)
    row = _onnx_row(array)
    if row.bits < 8:
        return _packing(array, row)
    values = normalize_strides(array)
    return plan_view(
        array,
        LABEL,
        lambda memory: _value(memory, row),
        obstacle=native_obstacle(values) or order_obstacle(values),
        may_write=True,
        caution=unprotected(LABEL, "OrtValue"),
    )


def to_numpy(value: Any) -> Plan[Array]:
    """Plan the way to the hub; read-only if the OrtValue was made over a read-only array."""
    refusal = _refusal(value)
    if refusal is not None:
        refuse(f"from {LABEL}", *refusal)
    if value.element_type() == _STRING:
        return _copied(value, np.dtype(object), value.numpy, _STRINGS)
    row = _numpy_row(value)
    if value.device_name() != "cpu":
        return _off_host(value, row)
    if row.bits < 8:
        unpack = functools.partial(_unpacked, value, row)
        return _copied(value, row.dtype, unpack, _packed_obstacle(row))

    def share() -> Array:
        given = getattr(value, "_numpy_obj", None)  # ONNX Runtime ignores that it is read-only
        return from_address(
            value.data_ptr(),
            tuple(value.shape()),
            None,
            row.dtype,
            owner=value,
            readonly=isinstance(given, np.ndarray) and not given.flags.writeable,
        )

    return Plan(
        direction=f"from {LABEL}",
        describe=lambda: _describe(value),
        nbytes=math.prod(value.shape()) * row.dtype.itemsize,
        result=share,
        independent=lambda: aligned_copy(share()),
    )


def _value(memory: Array, row: DTypeInfo) -> OrtValue:
    writable = writable_alias(memory)
    if _OWNS_MEMORY:
        return OrtValue.from_dlpack(export(writable, versioned=False, copied=False))
    carrier = writable.view(row.carrier)
    return OrtValue.ortvalue_from_numpy_with_onnx_type(carrier, _NUMBERS[row.numpy])


def _onnx_row(array: Array) -> DTypeInfo:
    row = dtypes.of_numpy(array.dtype)
    if row is None or not _is_known(_NUMBERS.get(row.numpy, 0)):
        given, why = describe(array), "no OrtValue holds this dtype"
        refuse(f"to {LABEL}", given, why, objects_fix(array) or _fix_for(array.dtype))
    return row


@functools.cache
def _is_known(number: int) -> bool:
    """Tell whether this version has tensors of a type."""
    try:
        OrtValue.ortvalue_from_shape_and_type([0], number)
    except RuntimeError:
        return False
    return True


def _fix_for(dtype: DType) -> str:
    if dtypes.is_extension(dtype):
        return f"widen it: array.astype({dtypes.wider(dtype)})"
    if dtype.names:
        return f"pass one field at a time: array[{dtype.names[0]!r}]"
    ways = {
        "m": "pass the durations as array.view('i8')",
        "M": "pass the counts since 1970 as array.view('i8')",
        "c": "pass the real and the imaginary parts as an axis: np.stack([x.real, x.imag], -1)",
        "f": "round it yourself: array.astype(np.float64)",
    }
    if dtype.kind == "O":
        return "convert numbers with array.astype(...); InferenceSession.run takes str objects"
    if dtype.kind in "SUT":
        text = ".astype('U')" if dtype.kind == "S" else ""
        return f"give str objects to InferenceSession.run: array{text}.astype(object)"
    return ways.get(dtype.kind, "pass array.view('u1')")


def _packed_obstacle(row: DTypeInfo) -> Obstacle:
    each = 8 // row.bits
    return Obstacle(
        f"ONNX packs {each} values of {row.numpy} in a byte and NumPy has one",
        f"keep it as {'float32' if 'float' in row.numpy else 'int8'} or wider on both sides",
    )


def _packing(array: Array, row: DTypeInfo) -> Plan[OrtValue]:
    """Plan to pack values of less than a byte, the first in the lowest bits."""
    each = 8 // row.bits
    length = -(-array.size // each)

    def pack() -> OrtValue:
        value = OrtValue.ortvalue_from_shape_and_type(list(array.shape), _NUMBERS[row.numpy])
        codes = np.zeros(length * each, np.uint8)
        codes[: array.size] = normalize_strides(array).ravel().view(np.uint8)
        memory = from_address(value.data_ptr(), (length,), None, np.dtype("u1"), owner=value)
        memory[:] = 0
        for place in range(each):
            low = codes[place::each] & (2**row.bits - 1)
            memory |= low << np.uint8(place * row.bits)
        return value

    return Plan(
        direction=f"to {LABEL}",
        describe=lambda: describe(array),
        nbytes=length,
        result=pack,
        independent=pack,
        obstacle=_packed_obstacle(row),
    )


def _unpacked(value: OrtValue, row: DTypeInfo) -> Array:
    each, shape = 8 // row.bits, tuple(value.shape())
    length = -(-math.prod(shape) // each)
    memory = from_address(value.data_ptr(), (length,), None, np.dtype("u1"), owner=value)
    places = np.arange(each, dtype=np.uint8) * np.uint8(row.bits)
    codes = (memory[:, None] >> places) & np.uint8(2**row.bits - 1)
    return aligned_copy(codes.ravel()[: math.prod(shape)].view(row.dtype).reshape(shape))


_STRINGS = Obstacle(
    "its strings are C++ objects, and NumPy's are Python's",
    "encode them as numbers in the model",
)


def _copied(
    value: OrtValue, dtype: DType, copy: Callable[[], Array], obstacle: Obstacle
) -> Plan[Array]:
    """Plan a copy into memory that is made for it."""
    shape = tuple(value.shape())
    return Plan(
        direction=f"from {LABEL}",
        describe=lambda: _describe(value),
        nbytes=math.prod(shape) * dtype.itemsize,
        result=copy,
        independent=copy,
        obstacle=obstacle,
        result_spec=(shape, dtype),
    )


def _off_host(value: OrtValue, row: DTypeInfo) -> Plan[Array]:
    """Plan to bring memory of a device over, which `OrtValue.numpy` does for NumPy's dtypes."""
    device = value.device_name()
    fix = "bind the output to the CPU: io_binding.bind_output(name, 'cpu')"
    if row.extension or device == "webgpu":
        why = f"OrtValue.numpy() does not bring it over from {device}"
        refuse(f"from {LABEL}", _describe(value), why, fix)
    obstacle = Obstacle(f"its memory is on {device}", fix)
    return _copied(value, row.dtype, value.numpy, obstacle)


def _numpy_row(value: OrtValue) -> DTypeInfo:
    row = _ROWS.get(value.element_type())
    if row is None:
        fix = "cast it in the model to a type that NumPy or ml_dtypes has"
        refuse(f"from {LABEL}", _describe(value), "NumPy has no such dtype", fix)
    return row


def _refusal(value: Any) -> tuple[str, str, str] | None:
    """Find what holds no tensor, which must not even be asked for its type."""
    if not isinstance(value, OrtValue):
        wrong_type(
            "share", "an onnxruntime.OrtValue", value, "pass the OrtValues of its tensors"
        )
    if not value.has_value():  # it calls itself a tensor, and its type crashes the process
        return "an optional OrtValue", "it has no value", "ask value.has_value() first"
    if value.is_tensor():
        return None
    kind = f"{value.data_type()} OrtValue"
    if value.is_sparse_tensor():
        fix = "pass the parts of value.as_sparse_tensor(): values() and its indices"
        return kind, "it keeps only some of its values", fix
    return kind, "it is no tensor", "take its tensors out in the model, or with session.run"


def _describe(value: OrtValue) -> str:
    kind = value.data_type().removeprefix("tensor(").removesuffix(")")
    return f"{kind} OrtValue of shape {tuple(value.shape())}"
