"""Every route once, and what 10,000 passes over each leave behind."""

from __future__ import annotations

import gc
import json
import sys

import ml_dtypes
import numpy as np
import pyarrow as pa
import torch

from numpack import ZeroCopyArray, share
from numpack.io import (
    arrow_to_numpy_zero_copy,
    from_dlpack,
    numpy_to_arrow_zero_copy,
    numpy_to_torch_zero_copy,
    to_dlpack,
    torch_to_numpy_zero_copy,
)
from support.memory import resident_bytes


def array() -> np.ndarray:
    return np.arange(1000.0)


def bfloat() -> np.ndarray:
    return np.ones(1000, ml_dtypes.bfloat16)


def frozen() -> np.ndarray:
    a = array()
    a.flags.writeable = False
    return a


ROUTES = {
    "numpy to torch": lambda: numpy_to_torch_zero_copy(array()),
    "bfloat16 to torch": lambda: numpy_to_torch_zero_copy(bfloat()),
    "torch to numpy": lambda: torch_to_numpy_zero_copy(torch.ones(1000)),
    "bfloat16 to numpy": lambda: torch_to_numpy_zero_copy(
        torch.ones(1000, dtype=torch.bfloat16)
    ),
    "numpy to arrow": lambda: numpy_to_arrow_zero_copy(array()),
    "numpy to tensors": lambda: numpy_to_arrow_zero_copy(
        array().reshape(10, 100), layout="tensor"
    ),
    "masked to arrow": lambda: numpy_to_arrow_zero_copy(np.ma.array(array(), mask=array() > 5)),
    "bool to bool8": lambda: numpy_to_arrow_zero_copy(array() > 5, type=pa.bool8()),
    "arrow to numpy": lambda: arrow_to_numpy_zero_copy(pa.array(array())),
    "arrow nulls to mask": lambda: arrow_to_numpy_zero_copy(
        pa.array([1, None] * 500), nulls="mask"
    ),
    "capsule to numpy": lambda: from_dlpack(to_dlpack(array()).__dlpack__()),
    "versioned to numpy": lambda: from_dlpack(
        to_dlpack(array()).__dlpack__(max_version=(1, 0))
    ),
    "read-only to numpy": lambda: from_dlpack(to_dlpack(frozen())),
    "bfloat16 by dlpack": lambda: torch.from_dlpack(to_dlpack(bfloat())),
    "tensor by dlpack": lambda: from_dlpack(torch.ones(1000)),
    "arrow by dlpack": lambda: from_dlpack(pa.array(array())),
    "unused capsule": lambda: to_dlpack(bfloat()).__dlpack__(max_version=(1, 0)),
    "door": lambda: ZeroCopyArray(array()).to_torch(),
    "torch to arrow": lambda: share(torch.ones(1000), "arrow"),
}


def passes(route: str) -> list[int]:
    """Go 10,000 times; count the objects, blocks and bytes that have come."""
    gc.collect()
    before = len(gc.get_objects()), sys.getallocatedblocks(), resident_bytes()
    for _ in range(10_000):
        ROUTES[route]()
    gc.collect()
    after = len(gc.get_objects()), sys.getallocatedblocks(), resident_bytes()
    return [new - old for new, old in zip(after, before, strict=True)]


def growth(route: str) -> list[int]:
    """Warm up, and take the lesser of two rounds: a leak grows in each."""
    for _ in range(1000):
        ROUTES[route]()
    return [min(each) for each in zip(passes(route), passes(route), strict=True)]


if __name__ == "__main__":
    sys.stdout.write(json.dumps({route: growth(route) for route in ROUTES}))
