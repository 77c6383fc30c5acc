"""safetensors: files in the working folder of the test."""

from __future__ import annotations

import uuid
from pathlib import Path

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save_file

from numpack.io import SafetensorsFile

_NAMES = {
    "BOOL": "bool",
    "BF16": "bfloat16",
    "C64": "complex64",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E4M3FNUZ": "float8_e4m3fnuz",
    "F8_E5M2": "float8_e5m2",
    "F8_E5M2FNUZ": "float8_e5m2fnuz",
    "F8_E8M0": "float8_e8m0fnu",
}
_SPELLED = str.maketrans({"U": "uint", "I": "int", "F": "float"})


def make(values: np.ndarray) -> SafetensorsFile | None:
    path = Path(f"{uuid.uuid4().hex}.safetensors").absolute()
    try:
        save_file({"x": np.array(values, order="C")}, path)
    except SafetensorError:
        return None
    return SafetensorsFile(path)


def address(file: SafetensorsFile) -> int:
    return file["x"].ctypes.data


def values(file: SafetensorsFile) -> np.ndarray:
    [(_, found)] = deserialize(file.path.read_bytes())
    name = _NAMES.get(found["dtype"]) or found["dtype"].translate(_SPELLED)
    dtype = getattr(ml_dtypes, name, name)
    return np.frombuffer(bytes(found["data"]), dtype).reshape(found["shape"])
