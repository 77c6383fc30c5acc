"""A fake of the part of CuPy that this project uses, over host memory; it records calls.

It tests plans for device memory on machines without a device. CuPy itself is tested on machines
that have one.
"""

from __future__ import annotations

import types
from importlib.machinery import ModuleSpec

import numpy as np

asked: list[str] = []


class Device:
    id = 0

    def synchronize(self) -> None:
        asked.append("synchronize")


class ndarray:
    def __init__(self, memory: np.ndarray):
        self.memory = memory
        self.device = Device()
        self.dtype, self.shape, self.nbytes = memory.dtype, memory.shape, memory.nbytes

    @property
    def __cuda_array_interface__(self) -> dict[str, object]:
        return dict(self.memory.__array_interface__)

    def get(self) -> np.ndarray:
        asked.append("get")
        return self.memory.copy()

    def copy(self) -> ndarray:
        asked.append("copy")
        return ndarray(self.memory.copy())

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, **_: object) -> object:
        raise AssertionError("device memory must not be requested on the host")


def array(memory: np.ndarray, *, blocking: bool) -> ndarray:
    assert blocking, "the array may be freed while it is read"
    assert memory.dtype.isnative
    assert memory.flags.forc
    asked.append("array")
    return ndarray(memory.copy())


def asarray(obj: object) -> ndarray:
    """View the memory of an object, as CuPy does for the CUDA array interface."""
    asked.append("asarray")
    named = types.SimpleNamespace(__array_interface__=dict(obj.__cuda_array_interface__))
    return ndarray(np.asarray(named))


def from_dlpack(producer: object) -> ndarray:
    asked.append("from_dlpack")
    return ndarray(producer.memory)


def module() -> types.ModuleType:
    """Make the module that `import cupy` would return."""
    cupy = types.ModuleType("cupy")
    cupy.__spec__ = ModuleSpec("cupy", None)
    cupy.__version__ = "14.0.0"
    cupy.cuda = types.SimpleNamespace(is_available=lambda: True)
    for each in (ndarray, array, asarray, from_dlpack):
        setattr(cupy, each.__name__, each)
    return cupy


ndarray.__module__ = "cupy"
