"""Every route, and the objects and memory that many passes over each leak."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import json
import sys
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np
import pyarrow as pa
import torch

from numpack import ZeroCopyArray, share
from numpack._core.dtypes import DTYPES
from numpack._dlpack import importing
from numpack._dlpack.exporting import Exporter
from numpack.io import (
    DLPackBuffer,
    arrow_to_numpy_zero_copy,
    from_dlpack,
    numpy_to_arrow_zero_copy,
    numpy_to_torch_zero_copy,
    table_to_numpy_zero_copy,
    to_dlpack,
    torch_to_numpy_zero_copy,
)
from support.exchange.dlpack import Tensor
from support.memory import allocated_bytes, resident_bytes

if TYPE_CHECKING:
    from collections.abc import Callable


def array() -> np.ndarray:
    return np.arange(1000.0)


def bfloat() -> np.ndarray:
    return np.ones(1000, ml_dtypes.bfloat16)


def frozen() -> np.ndarray:
    a = array()
    a.flags.writeable = False
    return a


def refused(call, *arguments, **keywords) -> None:
    with contextlib.suppress(Exception):
        call(*arguments, **keywords)
        raise SystemExit(f"{call} accepts an argument that it should refuse")


def twice(capsule: object) -> None:
    from_dlpack(capsule)
    refused(from_dlpack, capsule)


def malformed_producer() -> object:
    tensor = Tensor(KEPT)
    tensor.managed.tensor.ndim = -1
    return tensor.capsule()


def through_own_table(array: np.ndarray) -> object:
    """Export through the exchange API of one class and import through the other's."""
    managed, made = ctypes.c_void_p(), ctypes.c_void_p()
    buffer = to_dlpack(array)
    OUT(id(buffer), ctypes.byref(managed))
    IN(managed, ctypes.byref(made))
    result = ctypes.cast(made, ctypes.py_object).value
    ctypes.PyDLL(None).Py_DecRef(ctypes.py_object(result))
    return result


def _function(cls: type, number: int) -> object:
    """Return a function of a class's exchange API, by its place after the 16-byte header."""
    get = ctypes.PyDLL(None).PyCapsule_GetPointer
    get.restype, get.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    table = get(cls.__dlpack_c_exchange_api__, b"dlpack_exchange_api")
    place = ctypes.c_void_p.from_address(table + 16 + 8 * number).value
    return ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p)(place)


KEPT = np.arange(6.0)
OUT, IN = _function(DLPackBuffer, 1), _function(ZeroCopyArray, 2)

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
    "wrapper": lambda: ZeroCopyArray(array()).to_torch(),
    "torch to arrow": lambda: share(torch.ones(1000), "arrow"),
    "complex to numpy": lambda: torch_to_numpy_zero_copy(torch.ones(9, dtype=torch.complex64)),
    "column": lambda: table_to_numpy_zero_copy(pa.table({"x": array()}), "x"),
    "strides kept": lambda: to_dlpack(array()[::2], order="K").__dlpack__(max_version=(1, 0)),
    "no such dtype in torch": lambda: refused(
        numpy_to_torch_zero_copy, np.ones(9, ml_dtypes.float8_e4m3)
    ),
    "a list": lambda: refused(numpy_to_torch_zero_copy, [1, 2]),
    "sparse": lambda: refused(from_dlpack, torch.ones(2, 2).to_sparse()),
    "negative bit": lambda: refused(
        torch_to_numpy_zero_copy, torch.ones(9, dtype=torch.complex64).conj().imag, copy=False
    ),
    "taken twice": lambda: twice(to_dlpack(array()).__dlpack__()),
    "not named": lambda: refused(to_dlpack, array().astype("M8[s]")),
    "malformed producer": lambda: refused(from_dlpack, malformed_producer()),
    "own tables": lambda: through_own_table(array()),
    "class with keywords": lambda: ZeroCopyArray(array(), order="C", copy=None),
    "class without arguments": lambda: refused(ZeroCopyArray),
}


# Long-lived objects: a leaked reference to one of them leaks no memory.
SHARED = (
    *(None, True, False, (), importing.CPU, importing.MAX_VERSION),
    *(np.dtype(name) for name in np.typecodes["All"]),
    *(np.dtype(getattr(ml_dtypes, row.numpy)) for row in DTYPES if row.extension),
    *(np.ndarray, np.dtype, torch.Tensor, pa.Array, DLPackBuffer, ZeroCopyArray, Exporter),
    *(np, pa, torch, ml_dtypes, KEPT, "torch", "arrow", "numpy", "copy", "max_version"),
)


def counts() -> list[int]:
    """Count Python objects and blocks, malloc bytes, resident bytes, and references."""
    return [
        len(gc.get_objects()),
        sys.getallocatedblocks(),
        allocated_bytes(),
        resident_bytes(),
        *map(sys.getrefcount, SHARED),
    ]


def passes(go: Callable[[], object], times: int) -> list[int]:
    """Run a route many times; return the growth of each count."""
    gc.collect()
    before = counts()
    for _ in range(times):
        go()
    gc.collect()
    grown = [new - old for new, old in zip(counts(), before, strict=True)]
    return [*grown[:4], max(grown[4:])]


def growth(go: Callable[[], object], times: int) -> list[int]:
    """Warm up, and return the smaller growth of two rounds: a leak grows in both."""
    for _ in range(times // 10):
        go()
    return [min(each) for each in zip(passes(go, times), passes(go, times), strict=True)]


def growths(routes: dict[str, Callable[[], object]], times: int) -> dict[str, list[int]]:
    """Return the growth of each route."""
    for go in routes.values():
        go()
    gc.collect()
    gc.freeze()  # the objects of the frameworks, which each collection would traverse
    found = {route: growth(go, times) for route, go in routes.items()}
    gc.unfreeze()
    return found


if __name__ == "__main__":
    sys.stdout.write(json.dumps(growths(ROUTES, int(sys.argv[1]))))
