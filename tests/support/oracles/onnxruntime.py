"""ONNX Runtime: an OrtValue."""

from __future__ import annotations

import ctypes

import ml_dtypes
import numpy as np
from onnxruntime import OrtValue

_NATIVE = [np.dtype(code) for code in ("?", *"bBhHiIlL", "e", "f", "d")]
_TYPES = {
    "tensor(bfloat16)": "bfloat16",
    "tensor(float8e4m3fn)": "float8_e4m3fn",
    "tensor(float8e4m3fnuz)": "float8_e4m3fnuz",
    "tensor(float8e5m2)": "float8_e5m2",
    "tensor(float8e5m2fnuz)": "float8_e5m2fnuz",
    "tensor(float8e8m0)": "float8_e8m0fnu",
}
_NUMBERS = dict(zip(_TYPES.values(), (16, 17, 18, 19, 20, 24), strict=True))
_PACKED = {
    "tensor(uint4)": ("uint4", 4),
    "tensor(int4)": ("int4", 4),
    "tensor(float4e2m1)": ("float4_e2m1fn", 4),
    "tensor(uint2)": ("uint2", 2),
    "tensor(int2)": ("int2", 2),
}


def make(values: np.ndarray) -> OrtValue | None:
    own = np.array(values, order="C")
    if values.dtype in _NATIVE:
        return OrtValue.ortvalue_from_numpy(own)
    number = _NUMBERS.get(values.dtype.name)
    if number is None:
        return None
    bits = own.view(f"u{own.itemsize}")
    return OrtValue.ortvalue_from_numpy_with_onnx_type(bits, number)


def address(value: OrtValue) -> int:
    return value.data_ptr()


def values(value: OrtValue) -> np.ndarray:
    kind, shape = value.data_type(), value.shape()
    if kind not in _TYPES and kind not in _PACKED:
        return value.numpy().copy()
    raw = ctypes.string_at(value.data_ptr(), value.tensor_size_in_bytes())
    if kind in _TYPES:
        return np.frombuffer(raw, getattr(ml_dtypes, _TYPES[kind])).reshape(shape)
    name, bits = _PACKED[kind]
    places = range(0, 8, bits)
    codes = [byte >> place & (2**bits - 1) for byte in raw for place in places]
    flat = np.array(codes, np.uint8)[: int(np.prod(shape))]
    return flat.view(getattr(ml_dtypes, name)).reshape(shape)
