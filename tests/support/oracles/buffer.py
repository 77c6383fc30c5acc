"""The buffer protocol, by memoryviews of bytearrays."""

from __future__ import annotations

import ctypes

import numpy as np

FORMATS = "?bhilqBHILQefd"
_FULL_READ_ONLY = 0x11C


class _PyBuffer(ctypes.Structure):
    """``Py_buffer`` of the C API."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.py_object),
        ("rest", ctypes.c_byte * 128),
    )


def make(values: np.ndarray) -> memoryview | None:
    if values.dtype.isbuiltin != 1 or values.dtype.char not in FORMATS:
        return None
    if values.ndim == 0 or values.size == 0:
        return memoryview(values.copy())
    view = memoryview(bytearray(values.tobytes()))
    if values.dtype.char == "e":  # which `cast` does not support
        return memoryview(np.frombuffer(view, values.dtype).reshape(values.shape))
    return view.cast(values.dtype.char, values.shape)


def address(array: memoryview) -> int:
    found = _PyBuffer()
    get = ctypes.pythonapi.PyObject_GetBuffer
    get.argtypes = [ctypes.py_object, ctypes.c_void_p, ctypes.c_int]
    get(array, ctypes.byref(found), _FULL_READ_ONLY)
    start = found.buf
    ctypes.pythonapi.PyBuffer_Release(ctypes.byref(found))
    return start


def values(array: memoryview) -> np.ndarray:
    owner = array.obj
    dtype = owner.dtype if isinstance(owner, np.ndarray) else np.dtype(array.format)
    return np.ndarray(array.shape, dtype, array.tobytes())
