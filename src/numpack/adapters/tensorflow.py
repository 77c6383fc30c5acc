"""TensorFlow: immutable tensors over 64-byte aligned memory.

Source: the TensorFlow documentation of ``tf.Tensor.numpy`` (which names the buffer protocol as
the interface without a copy) and of ``tf.Variable``.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
from tensorflow.python.framework.ops import EagerTensor

from .._core import dtypes
from .._core.memory import (
    ALIGNMENT,
    aligned_copy,
    normalize_strides,
    order_obstacle,
    vector_obstacle,
    with_owner,
)
from .._core.owner import from_address
from .._core.plan_view import plan_view
from .._core.policy import Obstacle, Plan, describe, refuse, wrong_type
from .._dlpack.fast_table import register_export, register_import
from .._dlpack.memory_views import view_buffer
from ._fixes import objects_fix
from .numpy import base_array

if TYPE_CHECKING:
    from .._core.dtypes import DType, DTypeInfo
    from .._core.memory import Array

LABEL = "TensorFlow"
FROM_OPTIONS: frozenset[str] = frozenset()
TO_OPTIONS: frozenset[str] = frozenset()

_CPU = "/device:CPU:0"
_COMPOSITES = (
    (tf.RaggedTensor, "pass tensor.values and tensor.row_splits, or tensor.to_tensor()"),
    (tf.SparseTensor, "pass tensor.values and tensor.indices, or tf.sparse.to_dense(tensor)"),
    (tf.IndexedSlices, "pass it as tf.convert_to_tensor(slices)"),
)


def to_numpy(tensor: Any) -> Plan[Array]:
    """Plan the conversion from a tf.Tensor to a NumPy array.

    Shared memory is read-only, because tensors are immutable. A variable is converted to its
    present value; a later assignment writes to other memory.
    """
    info = _numpy_info(tensor)
    value, obstacle = (
        _read_variable(tensor)
        if isinstance(tensor, tf.Variable)
        else (tensor, _device_obstacle(tensor))
    )
    shape = tuple(value.shape)
    return Plan(
        direction="from TensorFlow",
        describe=lambda: _describe(tensor),
        nbytes=value.shape.num_elements() * info.dtype.itemsize,
        result=lambda: with_owner(_array(value), tensor),
        independent=lambda: aligned_copy(_array(value)),
        obstacle=obstacle,
        result_spec=None if _device_obstacle(value) is None else (shape, info.dtype),
    )


def from_numpy(array: Array) -> Plan[tf.Tensor]:
    """Plan the conversion from a NumPy array to a tf.Tensor.

    TensorFlow shares C-contiguous, 64-byte aligned memory. It silently copies other memory, or
    accepts it and aborts. Its tensors are immutable, but its raw in-place operations do write,
    so a file that is mapped read-only is mapped again copy-on-write.
    """
    array = base_array(array, LABEL)
    info = _tensorflow_info(array)
    return plan_view(
        array,
        LABEL,
        lambda memory: _tensor(memory, info),
        obstacle=vector_obstacle(normalize_strides(array), order_obstacle),
        may_write=True,
    )


def _view(tensor: tf.Tensor) -> Array | None:
    """View an eager tensor on the CPU, which exports its memory as a buffer."""
    plain = tensor._datatype_enum() in _NUMBERS and "CPU" in tensor.backing_device  # noqa: SLF001
    return view_buffer(tensor) if plain else None


def _make(array: Array) -> tf.Tensor:
    _initialize_devices()
    return tf.__internal__.EagerTensor(array, _CPU, None)


_NUMBERS = frozenset(  # quantized values have the same buffers
    tf.as_dtype(name).as_datatype_enum
    for name in (
        *("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"),
        *("float16", "float32", "float64"),
    )
)

register_import("tensorflow", (EagerTensor,), view=_view, readonly=True)
register_export(
    "tensorflow",
    _make,
    dtypes="?bBhHiIlLefdFD",
    order="C",
    alignment=ALIGNMENT,
    may_write=True,
)


def _numpy_info(tensor: Any) -> DTypeInfo:
    """Return the dtype for NumPy, or refuse a tensor that NumPy cannot represent."""
    for kind, fix in _COMPOSITES:
        if isinstance(tensor, kind):
            why = "it is several tensors, not one"
            refuse("from TensorFlow", type(tensor).__name__, why, fix)
    if not isinstance(tensor, tf.Tensor | tf.Variable):
        wrong_type("share", "a tf.Tensor", tensor, "pass tf.convert_to_tensor(x)")
    refusal = _refusal(tensor)
    if refusal is not None:
        refuse("from TensorFlow", _describe(tensor), *refusal)
    info = dtypes.of_numpy(np.dtype(tensor.dtype.as_numpy_dtype))
    if info is None:
        why, fix = "NumPy has no such dtype", "convert it first: tf.cast(tensor, tf.float32)"
        refuse("from TensorFlow", _describe(tensor), why, fix)
    return info


def _refusal(tensor: Any) -> tuple[str, str] | None:
    """Return why a tensor has no values that NumPy can represent, and the fix."""
    dtype = tensor.dtype
    if dtype == tf.string:
        return "its strings are objects", "pass tensor.numpy(), an array of Python's bytes"
    if dtype in (tf.resource, tf.variant):
        return "it is a handle, not values", "read the values behind it first"
    if dtype.is_quantized:
        return (
            "its values are scaled integers",
            "pass tf.dequantize(...), or the integers: tf.bitcast(tensor, tf.int8)",
        )
    symbolic = isinstance(tensor, tf.Variable) and not tf.executing_eagerly()
    if symbolic or tf.is_symbolic_tensor(tensor):
        return (
            "in a tf.function it has no values yet",
            "convert outside of the function, or in a tf.py_function",
        )
    return None


def _device_obstacle(tensor: tf.Tensor) -> Obstacle | None:
    """Return why a tensor's memory cannot be shared as it is."""
    if tf.DeviceSpec.from_string(tensor.backing_device).device_type == "CPU":
        return None
    return Obstacle(
        f"its memory is on {tensor.backing_device}",
        "keep it on the CPU: with tf.device('CPU:0')",
    )


def _read_variable(variable: tf.Variable) -> tuple[tf.Tensor, Obstacle | None]:
    """Read a variable; if two reads return two memories, TensorFlow copies it at each read."""
    with tf.init_scope():  # outside of any gradient tape or graph
        value, again = variable.value(), variable.value()
    obstacle = _device_obstacle(value)
    if obstacle is None and value.shape.num_elements() and _address(value) != _address(again):
        why = "it was updated in parts, after which TensorFlow copies it at each read"
        return value, Obstacle(why, "read it once, and pass the result of variable.value()")
    return value, obstacle


def _address(tensor: tf.Tensor) -> int:
    address: int = _array(tensor).__array_interface__["data"][0]
    return address


def _array(tensor: tf.Tensor) -> Array:
    if tensor.ndim == 0:  # np.asarray would copy an ml_dtypes scalar
        with tf.init_scope(), tf.device(_CPU):
            return _array(tf.reshape(tensor, (1,))).reshape(())
    array: Array = np.asarray(tensor)
    if array.size == 0:
        return array
    # An array of ml_dtypes is writable, hence `readonly`. A tuple releases its items from the
    # end; when the tensor is released last, TensorFlow frees the memory at once.
    address = array.__array_interface__["data"][0]
    owners = (tensor, array)
    return from_address(address, array.shape, None, array.dtype, owner=owners, readonly=True)


def _tensorflow_info(array: Array) -> DTypeInfo:
    """Return the dtype for TensorFlow, or refuse one that TensorFlow lacks."""
    info = dtypes.of_numpy(array.dtype)
    if info is None or not _is_known(info.dtype):
        why = "TensorFlow has no such dtype"
        refuse(
            "to TensorFlow", describe(array), why, objects_fix(array) or _fix_for(array.dtype)
        )
    return info


def _is_known(dtype: DType) -> bool:
    try:
        tf.as_dtype(dtype)
    except TypeError:
        return False
    return True


def _fix_for(dtype: DType) -> str:
    if dtype.kind in "mM":
        return "pass the counts since 1970 or the durations as array.view('i8')"
    if dtype.kind in "SUTO":
        return "make a tensor of strings: tf.constant(array.tolist())"
    if dtype.names:
        return f"pass one field at a time: array[{dtype.names[0]!r}]"
    return "convert it to numbers that TensorFlow has with array.astype(...) first"


def _tensor(memory: Array, info: DTypeInfo) -> tf.Tensor:
    # Not by DLPack: its deleter acquires the GIL, so a TensorFlow thread that releases a tensor
    # would deadlock with a thread that holds the GIL and waits for it. TensorFlow releases the
    # array of an EagerTensor itself, the next time that it holds the GIL.
    _initialize_devices()
    return tf.__internal__.EagerTensor(memory.view(info.dtype), _CPU, None)


@functools.cache
def _initialize_devices() -> None:
    """Make TensorFlow list its devices, without which it cannot create an EagerTensor."""
    tf.config.list_logical_devices()


def _describe(tensor: Any) -> str:
    kind = "variable" if isinstance(tensor, tf.Variable) else "tensor"
    return f"{tensor.dtype.name} {kind} of shape {tensor.shape}"
