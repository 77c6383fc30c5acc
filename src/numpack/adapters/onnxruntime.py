"""ONNX Runtime: an `OrtValue` on the CPU is C-contiguous, writable memory.

Source: the ONNX Runtime documentation of ``OrtValue``; ONNX, ``TensorProto.DataType`` for the
type numbers and "4 bit integer types" for the packing.
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
    native_obstacle,
    normalize_strides,
    order_obstacle,
)
from .._core.owner import from_address, writable_alias
from .._core.plan_view import plan_view, unprotected
from .._core.policy import Obstacle, Plan, describe, refuse, wrong_type
from .._dlpack.exporting import export
from .._dlpack.fast_table import register_export, register_import
from ._fixes import objects_fix
from .numpy import base_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._core.dtypes import DType, DTypeInfo
    from .._core.memory import Array

LABEL = "ONNX Runtime"
FROM_OPTIONS: frozenset[str] = frozenset()
TO_OPTIONS: frozenset[str] = frozenset()
_CAUTION = unprotected(LABEL, "OrtValue")

_TYPE_NAMES = (  # of TensorProto.DataType, from 1
    *("float32", "uint8", "int8", "uint16", "int16", "int32", "int64", "string", "bool"),
    *("float16", "float64", "uint32", "uint64", "complex64", "complex128", "bfloat16"),
    *("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"),
    *("uint4", "int4", "float4_e2m1fn", "float8_e8m0fnu", "uint2", "int2"),
)
_TYPE_NUMBERS = {name: number for number, name in enumerate(_TYPE_NAMES, 1)}
_INFO_BY_NUMBER = {
    _TYPE_NUMBERS[info.numpy]: info for info in dtypes.DTYPES if info.numpy in _TYPE_NUMBERS
}
_STRING = _TYPE_NUMBERS["string"]

# From 1.32 on, OrtValue imports every type by DLPack, and the native value owns the memory.
# Earlier, only the Python object owns it, and an array from `OrtValue.numpy` outlives that.
_OWNS_MEMORY = tuple(int(part) for part in __version__.split(".")[:2]) >= (1, 32)

_STRINGS = Obstacle(
    "its strings are C++ objects, and NumPy's are Python objects",
    "encode them as numbers in the model",
)


def to_numpy(value: Any) -> Plan[Array]:
    """Plan the conversion from an OrtValue to a NumPy array.

    The array is read-only if the OrtValue was made over a read-only array.
    """
    refusal = _refusal(value)
    if refusal is not None:
        refuse(f"from {LABEL}", *refusal)
    if value.element_type() == _STRING:
        return _plan_copy(value, np.dtype(object), value.numpy, _STRINGS)
    info = _numpy_info(value)
    if value.device_name() != "cpu":
        return _plan_transfer(value, info)
    if info.bits < 8:
        unpack = functools.partial(_unpacked, value, info)
        return _plan_copy(value, info.dtype, unpack, _packed_obstacle(info))

    def share() -> Array:
        given = getattr(value, "_numpy_obj", None)  # ONNX Runtime ignores its read-only flag
        return from_address(
            value.data_ptr(),
            tuple(value.shape()),
            None,
            info.dtype,
            owner=value,
            readonly=isinstance(given, np.ndarray) and not given.flags.writeable,
        )

    return Plan(
        direction=f"from {LABEL}",
        describe=lambda: _describe(value),
        nbytes=math.prod(value.shape()) * info.dtype.itemsize,
        result=share,
        independent=lambda: aligned_copy(share()),
    )


def from_numpy(array: Array) -> Plan[OrtValue]:
    """Plan the conversion from a NumPy array to an OrtValue.

    A session may write to an OrtValue (a bound output, ``update_inplace``), so a file that is
    mapped read-only is mapped again copy-on-write.
    """
    array = base_array(array, LABEL)
    info = _onnx_info(array)
    if info.bits < 8:
        return _plan_packing(array, info)
    values = normalize_strides(array)
    return plan_view(
        array,
        LABEL,
        lambda memory: _value(memory, info),
        obstacle=native_obstacle(values) or order_obstacle(values),
        may_write=True,
        caution=_CAUTION,
    )


def _view(value: OrtValue) -> Array | None:
    """View a tensor made over no read-only array; without a value, `numpy` raises SIGSEGV."""
    native = value._ortvalue  # noqa: SLF001 -- its methods, without two calls of Python each
    given = getattr(value, "_numpy_obj", None)
    if not native.has_value() or (given is not None and not given.flags.writeable):
        return None
    array: Array = native.numpy()
    if array.itemsize == 1 and native.element_type() not in _BYTES:
        return None  # the bits of another type
    return array


def _make(array: Array) -> OrtValue:
    return OrtValue.from_dlpack(export(writable_alias(array), versioned=False))


_BYTES = frozenset(_TYPE_NUMBERS[name] for name in ("bool", "int8", "uint8"))

if _OWNS_MEMORY:
    register_import("onnxruntime", (OrtValue,), view=_view, dtypes="?bBhHiIlLqQefd", owned=True)
    register_export(
        "onnxruntime",
        _make,
        dtypes="?bBhHiIlLqQefd",
        order="C",
        may_write=True,
        caution=_CAUTION,
    )


def _refusal(value: Any) -> tuple[str, str, str] | None:
    """Return a description, the reason and the fix for a value that holds no tensor."""
    if not isinstance(value, OrtValue):
        wrong_type(
            "share", "an onnxruntime.OrtValue", value, "pass the OrtValues of its tensors"
        )
    if not value.has_value():  # is_tensor() is true, and reading its type raises SIGSEGV
        return "an optional OrtValue", "it has no value", "ask value.has_value() first"
    if value.is_tensor():
        return None
    kind = f"{value.data_type()} OrtValue"
    if value.is_sparse_tensor():
        fix = "pass the parts of value.as_sparse_tensor(): values() and its indices"
        return kind, "it stores only some of its values", fix
    return kind, "it is not a tensor", "take its tensors out in the model, or with session.run"


def _numpy_info(value: OrtValue) -> DTypeInfo:
    """Return the dtype for NumPy, or refuse one that NumPy lacks."""
    info = _INFO_BY_NUMBER.get(value.element_type())
    if info is None:
        fix = "cast it in the model to a type that NumPy or ml_dtypes has"
        refuse(f"from {LABEL}", _describe(value), "NumPy has no such dtype", fix)
    return info


def _plan_transfer(value: OrtValue, info: DTypeInfo) -> Plan[Array]:
    """Plan a copy from a device, which `OrtValue.numpy` makes for NumPy's own dtypes."""
    device = value.device_name()
    fix = "bind the output to the CPU: io_binding.bind_output(name, 'cpu')"
    if info.extension or device == "webgpu":
        why = f"OrtValue.numpy() does not copy it from {device}"
        refuse(f"from {LABEL}", _describe(value), why, fix)
    obstacle = Obstacle(f"its memory is on {device}", fix)
    return _plan_copy(value, info.dtype, value.numpy, obstacle)


def _plan_copy(
    value: OrtValue, dtype: DType, copy: Callable[[], Array], obstacle: Obstacle
) -> Plan[Array]:
    """Plan a copy into new memory."""
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


def _unpacked(value: OrtValue, info: DTypeInfo) -> Array:
    per_byte, shape = 8 // info.bits, tuple(value.shape())
    length = -(-math.prod(shape) // per_byte)
    memory = from_address(value.data_ptr(), (length,), None, np.dtype("u1"), owner=value)
    shifts = np.arange(per_byte, dtype=np.uint8) * np.uint8(info.bits)
    codes = (memory[:, None] >> shifts) & np.uint8(2**info.bits - 1)
    return aligned_copy(codes.ravel()[: math.prod(shape)].view(info.dtype).reshape(shape))


def _onnx_info(array: Array) -> DTypeInfo:
    """Return the dtype for ONNX Runtime, or refuse one that no OrtValue holds."""
    info = dtypes.of_numpy(array.dtype)
    if info is None or not _is_known(_TYPE_NUMBERS.get(info.numpy, 0)):
        given, why = describe(array), "no OrtValue holds this dtype"
        refuse(f"to {LABEL}", given, why, objects_fix(array) or _fix_for(array.dtype))
    return info


@functools.cache
def _is_known(number: int) -> bool:
    """Check whether the installed version has tensors of a type."""
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
    fixes = {
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
    return fixes.get(dtype.kind, "pass array.view('u1')")


def _packed_obstacle(info: DTypeInfo) -> Obstacle:
    per_byte = 8 // info.bits
    return Obstacle(
        f"ONNX packs {per_byte} values of {info.numpy} in a byte and NumPy stores one",
        f"keep it as {'float32' if 'float' in info.numpy else 'int8'} or wider on both sides",
    )


def _plan_packing(array: Array, info: DTypeInfo) -> Plan[OrtValue]:
    """Plan the packing of sub-byte values, the first in the lowest bits."""
    per_byte = 8 // info.bits
    length = -(-array.size // per_byte)

    def pack() -> OrtValue:
        value = OrtValue.ortvalue_from_shape_and_type(
            list(array.shape), _TYPE_NUMBERS[info.numpy]
        )
        codes = np.zeros(length * per_byte, np.uint8)
        codes[: array.size] = normalize_strides(array).ravel().view(np.uint8)
        memory = from_address(value.data_ptr(), (length,), None, np.dtype("u1"), owner=value)
        memory[:] = 0
        for position in range(per_byte):
            low = codes[position::per_byte] & (2**info.bits - 1)
            memory |= low << np.uint8(position * info.bits)
        return value

    return Plan(
        direction=f"to {LABEL}",
        describe=lambda: describe(array),
        nbytes=length,
        result=pack,
        independent=pack,
        obstacle=_packed_obstacle(info),
    )


def _value(memory: Array, info: DTypeInfo) -> OrtValue:
    writable = writable_alias(memory)
    if _OWNS_MEMORY:
        return OrtValue.from_dlpack(export(writable, versioned=False, copied=False))
    carrier = writable.view(info.carrier)
    return OrtValue.ortvalue_from_numpy_with_onnx_type(carrier, _TYPE_NUMBERS[info.numpy])


def _describe(value: OrtValue) -> str:
    kind = value.data_type().removeprefix("tensor(").removesuffix(")")
    return f"{kind} OrtValue of shape {tuple(value.shape())}"
