"""TensorFlow: tensors that never change, over memory on 64-byte boundaries.

Source: the TensorFlow documentation of ``tf.Tensor.numpy`` (which names the buffer protocol as
the way that does not copy) and of ``tf.Variable``.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf

from .._core import dtypes
from .._core.memory import (
    aligned_copy,
    from_address,
    normalize_strides,
    order_obstacle,
    vector_obstacle,
    with_owner,
)
from .._core.plan_view import plan_view
from .._core.policy import Obstacle, Plan, describe, refuse, wrong_type
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


def from_numpy(array: Array) -> Plan[tf.Tensor]:
    """Plan the way from the hub.

    TensorFlow shares memory in C order that starts on a 64-byte boundary. Any other it would
    copy without a word, or take and end the process. Its tensors never change, but its raw
    operations in place write all the same, so a file that is mapped read-only is mapped again
    copy-on-write.
    """
    array = base_array(array, LABEL)
    row = _tensorflow_row(array)
    return plan_view(
        array,
        LABEL,
        lambda memory: _tensor(memory, row),
        obstacle=vector_obstacle(normalize_strides(array), order_obstacle),
        may_write=True,
    )


def to_numpy(tensor: Any) -> Plan[Array]:
    """Plan the way to the hub; read-only, because tensors never change.

    A variable gives the value that it has now. What is assigned to it later goes to other
    memory.
    """
    row = _numpy_row(tensor)
    value, obstacle = (
        _read(tensor) if isinstance(tensor, tf.Variable) else (tensor, _device_obstacle(tensor))
    )
    shape = tuple(value.shape)
    return Plan(
        direction="from TensorFlow",
        describe=lambda: _describe(tensor),
        nbytes=value.shape.num_elements() * row.dtype.itemsize,
        result=lambda: with_owner(_array(value), tensor),
        independent=lambda: aligned_copy(_array(value)),
        obstacle=obstacle,
        result_spec=None if _device_obstacle(value) is None else (shape, row.dtype),
    )


def _tensor(memory: Array, row: DTypeInfo) -> tf.Tensor:
    # Not by DLPack: its deleter takes Python's lock, and a thread of TensorFlow that drops a
    # tensor would wait for it for ever, if who holds it waits for that thread. Of a tensor
    # that is made so TensorFlow itself drops the array, when next it holds the lock.
    _start()
    return tf.__internal__.EagerTensor(memory.view(row.dtype), _CPU, None)


@functools.cache
def _start() -> None:
    """Make TensorFlow find its devices, before which it makes no tensor of foreign memory."""
    tf.config.list_logical_devices()


def _array(tensor: tf.Tensor) -> Array:
    if tensor.ndim == 0:  # of ml_dtypes it would be a scalar of NumPy, which is a copy
        with tf.init_scope(), tf.device(_CPU):
            return _array(tf.reshape(tensor, (1,))).reshape(())
    array: Array = np.asarray(tensor)
    if array.size == 0:
        return array
    # Of ml_dtypes it is writable; and whoever drops the tensor last, not the array, makes
    # TensorFlow let go of what is below at once.
    address = array.__array_interface__["data"][0]
    owners = (tensor, array)
    return from_address(address, array.shape, None, array.dtype, owner=owners, readonly=True)


def _read(variable: tf.Variable) -> tuple[tf.Tensor, Obstacle | None]:
    """Read a variable, and find whether that copied: two reads then are two memories."""
    with tf.init_scope():  # no gradient is to be had of it
        value, again = variable.value(), variable.value()
    obstacle = _device_obstacle(value)
    if obstacle is None and value.shape.num_elements() and _address(value) != _address(again):
        why = "it was updated in parts, since when TensorFlow copies it at each read"
        return value, Obstacle(why, "read it once, and pass what variable.value() gives")
    return value, obstacle


def _address(tensor: tf.Tensor) -> int:
    address: int = _array(tensor).__array_interface__["data"][0]
    return address


def _tensorflow_row(array: Array) -> DTypeInfo:
    row = dtypes.of_numpy(array.dtype)
    if row is None or not _is_known(row.dtype):
        why = "TensorFlow has no such dtype"
        refuse(
            "to TensorFlow", describe(array), why, objects_fix(array) or _fix_for(array.dtype)
        )
    return row


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
        return "make a tensor of strings of it: tf.constant(array.tolist())"
    if dtype.names:
        return f"pass one field at a time: array[{dtype.names[0]!r}]"
    return "convert it to numbers that TensorFlow has with array.astype(...) first"


def _numpy_row(tensor: Any) -> DTypeInfo:
    """Find the dtype, or refuse what holds no values, or none that NumPy could hold."""
    for kind, fix in _COMPOSITES:
        if isinstance(tensor, kind):
            why = "it is several tensors, not one"
            refuse("from TensorFlow", type(tensor).__name__, why, fix)
    if not isinstance(tensor, tf.Tensor | tf.Variable):
        wrong_type("share", "a tf.Tensor", tensor, "pass tf.convert_to_tensor(x)")
    refusal = _refusal(tensor)
    if refusal is not None:
        refuse("from TensorFlow", _describe(tensor), *refusal)
    row = dtypes.of_numpy(np.dtype(tensor.dtype.as_numpy_dtype))
    if row is None:
        why, fix = "NumPy has no such dtype", "convert it first: tf.cast(tensor, tf.float32)"
        refuse("from TensorFlow", _describe(tensor), why, fix)
    return row


def _refusal(tensor: Any) -> tuple[str, str] | None:
    dtype = tensor.dtype
    if dtype == tf.string:
        return "its strings are objects", "pass tensor.numpy(), an array of Python's bytes"
    if dtype in (tf.resource, tf.variant):
        return "it is a handle of something else", "read the values behind it first"
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
    if tf.DeviceSpec.from_string(tensor.backing_device).device_type == "CPU":
        return None
    return Obstacle(
        f"its memory is on {tensor.backing_device}",
        "keep it on the CPU: with tf.device('CPU:0')",
    )


def _describe(tensor: Any) -> str:
    kind = "variable" if isinstance(tensor, tf.Variable) else "tensor"
    return f"{tensor.dtype.name} {kind} of shape {tensor.shape}"
