"""CuPy: arrays in the memory of a CUDA device.

Source: the CuPy reference of ``cupy.array``, ``cupy.ndarray.get`` and ``cupy.from_dlpack``,
and its guide "Interoperability".
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cupy

from .._core import dtypes
from .._core.memory import aligned_copy, representation_obstacle
from .._core.plan_view import plan_view
from .._core.policy import Obstacle, Plan, describe, refuse, wrong_type
from ._protocol import BridgeImport
from .dlpack import is_off_host, plan_device_route
from .numpy import base_array

if TYPE_CHECKING:
    from .._core.memory import Array

LABEL = "CuPy"
FROM_OPTIONS: frozenset[str] = frozenset()
TO_OPTIONS: frozenset[str] = frozenset()
_CUDA_DEVICES = frozenset({2, 13})  # kDLCUDA, kDLCUDAManaged
_BFLOAT16_SINCE = 14


def to_numpy(array: Any) -> Plan[Array]:
    """Plan the conversion from a cupy.ndarray to a NumPy array, which is a copy.

    An array does not record the stream that computes it, so the copy waits for all work on the
    device.
    """
    _expect_array(array)

    def transfer() -> Array:
        array.device.synchronize()
        host: Array = array.get()
        return host

    return Plan(
        direction="from CuPy",
        describe=lambda: _describe(array),
        nbytes=array.nbytes,
        result=transfer,
        independent=transfer,
        obstacle=Obstacle(
            f"its memory is on CUDA device {array.device.id}",
            "share it with a framework there: 'torch' or 'jax'",
        ),
        result_spec=(array.shape, array.dtype),
    )


def from_numpy(array: Array) -> Plan[Any]:
    """Plan the conversion from a NumPy array to a cupy.ndarray, a copy on the device."""
    array = base_array(array, LABEL)
    _check_dtype(array)
    if not is_available():
        why, fix = (
            "CuPy finds no CUDA device",
            "run it where there is one, or stay with 'numpy'",
        )
        refuse("to CuPy", describe(array), why, fix)
    return plan_view(
        array,
        LABEL,
        _to_device,
        transfer=Obstacle(
            "CuPy stores its arrays in the memory of a CUDA device",
            "make the array on the device, with CuPy",
        ),
    )


def is_available() -> bool:
    """Check whether CuPy has a CUDA device."""
    return bool(cupy.cuda.is_available())


def _bridge_export(array: Any) -> Any:
    """Return an array on a device for the direct route; ``None`` for one on the host."""
    _expect_array(array)
    return array if dtypes.of_numpy(array.dtype) is not None and is_off_host(array) else None


def _bridge_import(producer: Any) -> Plan[Any] | None:
    """Plan the direct route from a DLPack producer on a device; ``None`` without CUDA."""
    if producer.__dlpack_device__()[0] not in _CUDA_DEVICES or not is_available():
        return None
    return plan_device_route(producer, LABEL, cupy.from_dlpack, lambda array: array.copy())


BRIDGE_EXPORTS = {"device": _bridge_export}
BRIDGE_IMPORTS = {"device": BridgeImport(_bridge_import)}


def _expect_array(array: Any) -> None:
    if isinstance(array, cupy.ndarray):
        return
    if hasattr(array, "toarray"):
        given, why = type(array).__name__, "it is sparse, and its zeros are not stored"
        refuse("from CuPy", given, why, "pass x.toarray(), or share x.data and its indices")
    wrong_type("share", "a cupy.ndarray", array, "pass cupy.asarray(x)")


def _check_dtype(array: Array) -> None:
    """Refuse a dtype that CuPy lacks."""
    info = dtypes.of_numpy(array.dtype)
    if info is not None and (not info.extension or info.numpy == "bfloat16"):
        if info.extension and int(cupy.__version__.partition(".")[0]) < _BFLOAT16_SINCE:
            why, fix = "this release of CuPy has no bfloat16", "install CuPy 14 or later"
            refuse("to CuPy", describe(array), why, fix)
        return
    fix = "pass it as numbers that CuPy has: array.astype(...)"
    if array.dtype.kind in "mM":
        fix = "pass the counts since 1970 or the durations as array.view('i8')"
    refuse("to CuPy", describe(array), "CuPy has no such dtype", fix)


def _to_device(memory: Array) -> Any:
    """Copy to the device; `blocking`, because the array may be changed or freed afterwards."""
    if representation_obstacle(memory) is not None or not memory.flags.forc:
        memory = aligned_copy(memory)
    return cupy.array(memory, blocking=True)


def _describe(array: Any) -> str:
    return f"{array.dtype} array of shape {array.shape}"
