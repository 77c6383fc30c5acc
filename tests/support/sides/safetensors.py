"""safetensors, by files in the working folder of the test."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from numpack.io import SafetensorsFile


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
    with safe_open(file.path, "np") as opened:
        return opened.get_tensor("x")
