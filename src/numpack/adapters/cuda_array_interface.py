"""The CUDA array interface: objects that describe memory on a CUDA device (Numba, RAPIDS).

CuPy views that memory without copying, or PyTorch where CuPy is not installed.

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


def to_numpy(obj: Any) -> Plan[Array]:
    """Plan the conversion from an object with the interface to a NumPy array, a copy."""
    name, array = _viewed(obj)
    plan: Plan[Array] = by_name(name).module().to_numpy(array)
    return dataclasses.replace(plan, direction="from CUDA array interface")


def from_numpy(array: Array) -> NoReturn:
    """Refuse the conversion: the interface is a protocol without arrays of its own."""
    why = "this is a protocol, not a framework that has arrays"
    fix = "share it with 'cupy', or with 'torch' and device='cuda', whose arrays implement it"
    refuse("to CUDA array interface", describe(array), why, fix)


def _bridge_export(obj: Any) -> Any:
    """Return the view of PyTorch or CuPy for the direct route; ``None`` if it is a copy."""
    array = _viewed(obj)[1]
    address = array.__cuda_array_interface__["data"][0]
    return array if address == obj.__cuda_array_interface__["data"][0] else None


BRIDGE_EXPORTS = {"device": _bridge_export}


def _viewed(obj: Any) -> tuple[str, Any]:
    """View the memory with CuPy or PyTorch; return the framework's name and the array."""
    name, view = _installed_reader()
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


def _installed_reader() -> tuple[str, Callable[[Any], Any]]:
    """Return the framework that reads the interface: its name and its function."""
    try:
        cupy: Any = by_name("cupy").module()
        if cupy.is_available():
            return "cupy", _view_with_cupy
    except MissingDependencyError:
        pass
    try:
        adapter: Any = by_name("torch").module()
        if adapter.torch.cuda.is_available():
            return "torch", _view_with_torch
    except MissingDependencyError:
        pass
    msg = (
        "reading memory of a CUDA device requires CuPy or PyTorch with CUDA, and neither is "
        "available with a device; install one with: pip install cupy-cuda12x"
    )
    raise MissingDependencyError(msg, name="cupy")


def _view_with_cupy(obj: Any) -> Any:
    """View the memory with CuPy, which waits for the stream in the interface."""
    import cupy  # noqa: PLC0415 -- only where there is a device

    return cupy.asarray(obj)


def _view_with_torch(obj: Any) -> Any:
    """View the memory with PyTorch after synchronizing, because PyTorch ignores the stream."""
    import torch  # noqa: PLC0415

    if obj.__cuda_array_interface__.get("stream") is not None:
        torch.cuda.synchronize()
    return torch.as_tensor(obj, device="cuda")


def _invalid(obj: Any, why: object) -> NoReturn:
    msg = f"the CUDA array interface of {type(obj).__qualname__} cannot be read: {why}"
    raise InvalidValueError(msg)
