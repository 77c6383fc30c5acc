"""The CUDA array interface: memory of a CUDA device that an object names (Numba, RAPIDS).

It is read by CuPy, or by PyTorch where there is no CuPy, which take it over without copying.

Source: the Numba documentation, "CUDA Array Interface (Version 3)".
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, NoReturn

from .._core.policy import describe, refuse
from ..errors import InvalidValueError, MissingDependencyError
from . import by_name

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._core.memory import Array
    from .._core.policy import Plan

LABEL = "CUDA array interface"
FROM_OPTIONS: frozenset[str] = frozenset()
TO_OPTIONS: frozenset[str] = frozenset()


def from_numpy(array: Array) -> NoReturn:
    """Refuse: it is a protocol, which the arrays of some frameworks speak."""
    why = "this is a protocol, not a framework that has arrays"
    fix = "share it with 'cupy', or with 'torch' and device='cuda', whose arrays speak it"
    refuse("to CUDA array interface", describe(array), why, fix)


def to_numpy(obj: Any) -> Plan[Array]:
    """Plan the way to the hub, a copy made by the framework that reads the interface."""
    name, array = _taken_over(obj)
    plan: Plan[Array] = by_name(name).module().to_numpy(array)
    return dataclasses.replace(plan, direction="from CUDA array interface")


def _bridge_export(obj: Any) -> Any:
    """Give what PyTorch or CuPy make of it, unless they had to copy."""
    array = _taken_over(obj)[1]
    here = array.__cuda_array_interface__["data"][0]
    return array if here == obj.__cuda_array_interface__["data"][0] else None


BRIDGE_EXPORTS = {"device": _bridge_export}


def _taken_over(obj: Any) -> tuple[str, Any]:
    """View the memory by the framework that is there; its name, and the array."""
    name, view = _reader()
    interface = obj.__cuda_array_interface__
    if not isinstance(interface, dict):
        _invalid(obj, "it must be a dict")
    if interface.get("mask") is not None:
        fix = "pass the values and the mask one by one"
        refuse("from CUDA array interface", type(obj).__name__, "it has a mask", fix)
    try:
        return name, view(obj)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        _invalid(obj, error)


def _reader() -> tuple[str, Callable[[Any], Any]]:
    """Find the framework that reads the interface here."""
    try:
        cupy: Any = by_name("cupy").module()
        if cupy.is_available():
            return "cupy", _by_cupy
    except MissingDependencyError:
        pass
    try:
        adapter: Any = by_name("torch").module()
        if adapter.torch.cuda.is_available():
            return "torch", _by_torch
    except MissingDependencyError:
        pass
    msg = (
        "memory of a CUDA device is read by CuPy or by PyTorch with CUDA, and neither is here "
        "with a device; install one with: pip install cupy-cuda12x"
    )
    raise MissingDependencyError(msg, name="cupy")


def _by_cupy(obj: Any) -> Any:
    """View it with CuPy, which waits for the stream that the interface names."""
    import cupy  # noqa: PLC0415 -- only where there is a device

    return cupy.asarray(obj)


def _by_torch(obj: Any) -> Any:
    """View it with PyTorch, after waiting for the device, because PyTorch does not."""
    import torch  # noqa: PLC0415

    if obj.__cuda_array_interface__.get("stream") is not None:
        torch.cuda.synchronize()
    return torch.as_tensor(obj, device="cuda")


def _invalid(obj: Any, why: object) -> NoReturn:
    msg = f"the CUDA array interface of {type(obj).__qualname__} cannot be read: {why}"
    raise InvalidValueError(msg)
