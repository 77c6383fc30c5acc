"""PyTorch."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import torch


def make(values: np.ndarray) -> torch.Tensor | None:
    dtype = getattr(torch, values.dtype.name, None)
    if not isinstance(dtype, torch.dtype) or values.dtype.itemsize * 8 != dtype.itemsize * 8:
        return None
    if hasattr(ml_dtypes, values.dtype.name):
        if values.dtype.name.startswith(("int", "uint")):
            return None  # sub-byte dtypes, which have no operations
        return torch.tensor(values.view(f"u{dtype.itemsize}")).view(dtype)
    return torch.tensor(values)


def address(tensor: torch.Tensor) -> int:
    return tensor.data_ptr()


def values(tensor: torch.Tensor) -> np.ndarray:
    name = str(tensor.dtype).removeprefix("torch.")
    if hasattr(ml_dtypes, name):
        carrier = getattr(torch, f"uint{8 * tensor.dtype.itemsize}")
        return tensor.view(carrier).numpy().view(getattr(ml_dtypes, name))
    return tensor.numpy()
