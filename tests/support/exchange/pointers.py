"""Buffers with suboffsets, whose rows are reached through pointers (PEP 3118)."""

from __future__ import annotations

import ctypes
from typing import Any

import numpy as np


class _Buffer(ctypes.Structure):
    """``Py_buffer`` of the Python C API."""

    _fields_ = (
        ("buf", ctypes.c_void_p),
        ("obj", ctypes.c_void_p),
        ("len", ctypes.c_ssize_t),
        ("itemsize", ctypes.c_ssize_t),
        ("readonly", ctypes.c_int),
        ("ndim", ctypes.c_int),
        ("format", ctypes.c_char_p),
        ("shape", ctypes.POINTER(ctypes.c_ssize_t)),
        ("strides", ctypes.POINTER(ctypes.c_ssize_t)),
        ("suboffsets", ctypes.POINTER(ctypes.c_ssize_t)),
        ("internal", ctypes.c_void_p),
    )


def rows_behind_pointers(code: bytes) -> tuple[memoryview, Any]:
    """Make a view of two rows of three 4-byte integers; return it with its memory owners."""
    rows = [np.array([1, 2, 3], "i4"), np.array([4, 5, 6], "i4")]
    pointers = (ctypes.c_void_p * 2)(*(row.ctypes.data for row in rows))
    sizes = ctypes.c_ssize_t * 2
    made = _Buffer(
        ctypes.addressof(pointers), None, 24, 4, 1, 2, code,
        sizes(2, 3), sizes(ctypes.sizeof(ctypes.c_void_p), 4), sizes(0, -1), None,
    )  # fmt: skip
    ctypes.pythonapi.PyMemoryView_FromBuffer.restype = ctypes.py_object
    view = ctypes.pythonapi.PyMemoryView_FromBuffer(ctypes.byref(made))
    return view, (rows, pointers, made, code)
