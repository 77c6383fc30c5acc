"""CuPy: arrays on a CUDA device, whose memory is another than NumPy's.

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
from .dlpack import across, off_host
from .numpy import base_array

if TYPE_CHECKING:
    from .._core.memory import Array

LABEL = "CuPy"
FROM_OPTIONS: frozenset[str] = frozenset()
TO_OPTIONS: frozenset[str] = frozenset()
_CUDA_DEVICES = frozenset({2, 13})  # kDLCUDA, kDLCUDAManaged
_BFLOAT16_SINCE = 14


def from_numpy(array: Array) -> Plan[Any]:
    """Plan the way from the hub to the current device, which is a copy."""
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
            "CuPy keeps its arrays in the memory of a CUDA device",
            "make the array on the device, with CuPy",
        ),
    )


def to_numpy(array: Any) -> Plan[Array]:
    """Plan the way to the hub, which is a copy, made when all work on the device is done.

    An array does not know on which stream it was computed, so all of them are waited for.
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


def is_available() -> bool:
    """Tell whether CuPy has a device to work on."""
    return bool(cupy.cuda.is_available())


def _bridge_export(array: Any) -> Any:
    _expect_array(array)
    return array if dtypes.of_numpy(array.dtype) is not None and off_host(array) else None


def _bridge_import(producer: Any) -> Plan[Any] | None:
    if producer.__dlpack_device__()[0] not in _CUDA_DEVICES or not is_available():
        return None
    return across(producer, LABEL, cupy.from_dlpack, lambda array: array.copy())


BRIDGE_EXPORTS = {"device": _bridge_export}
BRIDGE_IMPORTS = {"device": BridgeImport(_bridge_import)}


def _to_device(memory: Array) -> Any:
    """Copy to the device; `blocking`, because the array may be written or freed afterwards."""
    if representation_obstacle(memory) is not None or not memory.flags.forc:
        memory = aligned_copy(memory)
    return cupy.array(memory, blocking=True)


def _check_dtype(array: Array) -> None:
    """Refuse what CuPy has no dtype for."""
    row = dtypes.of_numpy(array.dtype)
    if row is not None and (not row.extension or row.numpy == "bfloat16"):
        if row.extension and int(cupy.__version__.partition(".")[0]) < _BFLOAT16_SINCE:
            why, fix = "this release of CuPy has no bfloat16", "install CuPy 14 or later"
            refuse("to CuPy", describe(array), why, fix)
        return
    fix = "pass it as numbers that CuPy has: array.astype(...)"
    if array.dtype.kind in "mM":
        fix = "pass the counts since 1970 or the durations as array.view('i8')"
    refuse("to CuPy", describe(array), "CuPy has no such dtype", fix)


def _expect_array(array: Any) -> None:
    if isinstance(array, cupy.ndarray):
        return
    if hasattr(array, "toarray"):
        given, why = type(array).__name__, "it is sparse, and its zeros are nowhere in memory"
        refuse("from CuPy", given, why, "pass x.toarray(), or share x.data and its indices")
    wrong_type("share", "a cupy.ndarray", array, "pass cupy.asarray(x)")


def _describe(array: Any) -> str:
    return f"{array.dtype} array of shape {array.shape}"
