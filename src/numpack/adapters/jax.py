"""JAX: immutable arrays over 64-byte aligned memory.

Source: the JAX documentation of ``jax.dlpack``, of ``jax_enable_x64`` and of donation.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
from typing import TYPE_CHECKING, Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from jax._src.array import ArrayImpl

from .._core import dtypes
from .._core.memory import (
    ALIGNMENT,
    aligned_copy,
    aligned_empty,
    compact_obstacle,
    normalize_strides,
    vector_obstacle,
    with_owner,
)
from .._core.owner import writable_alias
from .._core.plan_view import plan_view
from .._core.policy import Obstacle, Plan, describe, refuse, wrong_type
from .._dlpack import importing
from .._dlpack.exporting import export
from .._dlpack.fast_table import register_export, register_import
from .._dlpack.memory_views import view_buffer
from ..errors import InvalidValueError
from ._fixes import objects_fix
from ._protocol import BridgeImport
from .dlpack import DLPackBuffer, is_off_host, plan_device_route
from .numpy import base_array

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._core.dtypes import DType, DTypeInfo
    from .._core.memory import Array


class ToOptions(TypedDict, total=False):
    """Options of `from_numpy`."""

    dtype: jax.typing.DTypeLike | None


LABEL = "JAX"
FROM_OPTIONS: frozenset[str] = frozenset()
TO_OPTIONS = ToOptions.__optional_keys__
_WIDE = frozenset("lLqQdD")  # type characters that need JAX's x64 mode
# Names in jax.numpy that no array can have as its dtype.
_WITHOUT_ARRAYS = frozenset({"float6_e2m3fn", "float6_e3m2fn", "int1", "uint1"})


def to_numpy(array: Any) -> Plan[Array]:
    """Plan the conversion from a jax.Array to a NumPy array.

    Shared memory is read-only, because JAX's arrays are immutable.
    """
    info = _numpy_info(array)
    obstacle = _array_obstacle(array) or _packing_obstacle(info, array.size)
    view = _view_dlpack if obstacle is None and array.size else np.asarray

    def share() -> Array:
        return with_owner(view(array), array)

    def own() -> Array:
        return aligned_copy(view(array))  # JAX caches the result of np.asarray

    return Plan(
        direction="from JAX",
        describe=lambda: _describe(array),
        nbytes=array.size * info.dtype.itemsize,
        result=own if obstacle else share,
        independent=own,
        obstacle=obstacle,
        result_spec=(array.shape, info.dtype),
    )


def from_numpy(array: Array, *, dtype: object = None) -> Plan[jax.Array]:
    """Plan the conversion from a NumPy array to a jax.Array; `dtype` requests a cast.

    JAX shares 64-byte aligned memory without gaps, with the axes in any order. It
    never writes to that memory, even if the array is donated, so read-only memory needs no
    protection.
    """
    array = base_array(array, LABEL)
    wanted = array.dtype if dtype is None else _checked_dtype(dtype)
    info = _jax_info(array, wanted)
    values = normalize_strides(array)

    def view(memory: Array) -> jax.Array:
        if info.bits < 8 or memory.size == 0:
            return jnp.array(memory, device=jax.devices("cpu")[0])
        return jnp.from_dlpack(DLPackBuffer(writable_alias(memory), order="K"), copy=False)

    if dtypes.native(array.dtype) != info.dtype:
        return _plan_cast(array, info, view)
    obstacle = vector_obstacle(values, compact_obstacle)
    return plan_view(
        array, LABEL, view, obstacle=obstacle, transfer=_packing_obstacle(info, array.size)
    )


def _bridge_export(array: Any) -> Any:
    """Return an array on one device for the direct route; ``None`` for one on the host."""
    _numpy_info(array)
    return array if len(array.devices()) == 1 and is_off_host(array) else None


def _bridge_import(producer: Any, *, dtype: object = None) -> Plan[jax.Array] | None:
    """Plan the direct route from a DLPack producer on a device; ``None`` without a GPU."""
    if dtype is not None or not any(d.platform in ("gpu", "cuda") for d in jax.devices()):
        return None
    return plan_device_route(
        producer, LABEL, jnp.from_dlpack, lambda array: jnp.array(array, copy=True)
    )


def _make(array: Array) -> Any:
    """Make an array of plain memory; ``None`` if JAX would narrow it."""
    if array.dtype.char in _WIDE and not jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        return None
    return _consumer()(export(writable_alias(array), versioned=False))


@functools.cache
def _consumer() -> Callable[[object], Any]:
    """Return jaxlib's function under `jax.numpy.from_dlpack`, which takes a tenth of the time.

    Versions of jaxlib differ in its arguments. If no known ones work, return a function that
    returns ``None``, so that conversions are planned.
    """
    consume: Any = getattr(_jaxlib(), "dlpack_managed_tensor_to_buffer", None)
    device = jax.devices("cpu")[0]
    memory = aligned_copy(np.arange(2, dtype=np.float32))
    for rest in ((device, None, False, 1), (device, None, False), (device, None)):
        with contextlib.suppress(Exception):
            made: Any = consume(export(memory, versioned=False), *rest)
            shares = made.unsafe_buffer_pointer() == memory.ctypes.data
            if shares and made.__class__ is ArrayImpl:
                return functools.partial(_consume, consume, rest)
    return _consume_nothing


def _jaxlib() -> Any:
    """Return the native module of jaxlib, which was renamed with 0.6."""
    with contextlib.suppress(ImportError):
        return importlib.import_module("jaxlib._jax")
    return importlib.import_module("jaxlib.xla_extension")


def _consume(consume: Any, rest: tuple[Any, ...], capsule: object) -> Any:
    return consume(capsule, *rest)


def _consume_nothing(_: object) -> None:
    return None


register_import("jax", (ArrayImpl,), view=view_buffer)  # on the host only
register_export(
    "jax", _make, dtypes="?bBhHiIlLqQefdFD", order="C", alignment=ALIGNMENT, may_write=False
)

BRIDGE_EXPORTS = {"device": _bridge_export}
BRIDGE_IMPORTS = {"device": BridgeImport(_bridge_import, frozenset({"dtype"}))}


def _numpy_info(array: Any) -> DTypeInfo:
    """Return the dtype for NumPy, or refuse an array that NumPy cannot represent."""
    refusal = _refusal(array)
    if refusal is not None:
        refuse("from JAX", type(array).__name__, *refusal)
    info = dtypes.of_numpy(array.dtype)
    if info is None:
        why, fix = "NumPy has no such dtype", "convert it first: array.astype(jnp.float32)"
        refuse("from JAX", _describe(array), why, fix)
    return info


def _refusal(array: Any) -> tuple[str, str] | None:
    """Return why an array has no values that NumPy can represent, and the fix."""
    if isinstance(array, jax.core.Tracer):
        return "it is a tracer, which has no values yet", "convert outside of the function"
    if hasattr(array, "todense"):
        return "it is sparse", "pass its parts, or array.todense()"
    if not isinstance(array, jax.Array):
        wrong_type("share", "a jax.Array", array, "pass jax.numpy.asarray(x)")
    if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
        return "it holds random keys", "pass jax.random.key_data(array)"
    if array.is_deleted():
        return "it was deleted or donated", "keep the array that came out of the donation"
    if not array.is_fully_addressable:
        return "parts of it are on other hosts", "pass array.addressable_data(0)"
    return None


def _array_obstacle(array: Any) -> Obstacle | None:
    """Return why an array's memory cannot be shared as it is."""
    devices = array.devices()
    if len(devices) > 1:
        why = f"it is spread over {len(devices)} devices"
        return Obstacle(why, "pass one part: array.addressable_data(0)")
    if is_off_host(array):
        why = f"its memory is on {next(iter(devices))}"
        return Obstacle(why, "keep it on the CPU: jax.device_put(array, jax.devices('cpu')[0])")
    return None


def _view_dlpack(array: jax.Array) -> Array:
    # np.asarray copies an array that is not C-contiguous.
    return importing.consume_capsule(array.__dlpack__(), readonly=True)


def _jax_info(array: Array, wanted: DType) -> DTypeInfo:
    """Return the dtype for JAX, or refuse one that JAX lacks or would narrow silently."""
    info = dtypes.of_numpy(wanted)
    if info is None or info.numpy in _WITHOUT_ARRAYS or not hasattr(jnp, _jax_name(info)):
        fix = objects_fix(array) or _fix_for(array.dtype)
        refuse("to JAX", describe(array), "JAX has no such dtype", fix)
    narrowed = jax.dtypes.canonicalize_dtype(info.dtype)
    if narrowed != info.dtype:
        refuse(
            "to JAX",
            describe(array),
            f"JAX would narrow {info.numpy} to {narrowed} while its x64 mode is off",
            "call jax.config.update('jax_enable_x64', True) first, or ask for the cast with "
            f"dtype={narrowed.name!r}",
        )
    return info


def _jax_name(info: DTypeInfo) -> str:
    return "bool_" if info.numpy == "bool" else info.numpy


def _checked_dtype(dtype: object) -> DType:
    """Return `dtype` as a NumPy dtype, or raise `InvalidValueError`."""
    try:
        return np.dtype(dtype)  # type: ignore[call-overload, no-any-return]
    except TypeError as error:
        msg = f"dtype must be one that NumPy or ml_dtypes has, not {dtype!r}"
        raise InvalidValueError(msg) from error


def _fix_for(dtype: DType) -> str:
    if dtype.kind in "mM":
        wide = "after jax.config.update('jax_enable_x64', True)"
        return f"pass the counts since 1970 or the durations as array.view('i8'), {wide}"
    return "convert it to numbers that JAX has with array.astype(...) first"


def _packing_obstacle(info: DTypeInfo, size: int) -> Obstacle | None:
    if info.bits >= 8 or size == 0:
        return None
    return Obstacle(
        "JAX copies sub-byte values in both directions",
        f"keep it as int8 or wider, or as {info.carrier.name} and view it",
    )


def _plan_cast(
    array: Array, info: DTypeInfo, view: Callable[[Array], jax.Array]
) -> Plan[jax.Array]:
    """Plan a requested cast, which may round values but not change them otherwise.

    The cast is done here, because only its result shows whether the values fit.
    """
    fresh = _cast(array, info)
    if fresh is None:
        why = f"{info.numpy} cannot hold its values"
        refuse("to JAX", describe(array), why, "convert it yourself with array.astype(...)")
    return Plan(
        direction="to JAX",
        describe=lambda: describe(array),
        nbytes=array.size * info.dtype.itemsize,
        result=lambda: view(fresh),
        independent=lambda: view(fresh),
        obstacle=Obstacle(
            f"it has to be cast to {info.numpy}",
            "leave out dtype=, or keep the array in that dtype",
        ),
    )


def _cast(array: Array, info: DTypeInfo) -> Array | None:
    """Cast along bool, integer, floating, complex; ``None`` if the cast would lose more.

    Integers and sub-byte floats must be preserved; other finite values must stay finite.
    """
    source, target = _rank(array.dtype), _rank(info.dtype)
    if source is None or target is None or source > target:
        return None
    values, fresh = np.asarray(array), aligned_empty(array.shape, info.dtype)
    with np.errstate(all="ignore"):
        try:
            np.copyto(fresh, values, casting="unsafe")
            return fresh if _preserves_values(fresh, values, info) else None
        except TypeError:  # ml_dtypes has no cast between these two
            return None


def _preserves_values(fresh: Array, values: Array, info: DTypeInfo) -> bool:
    if jnp.issubdtype(info.dtype, jnp.integer) or info.bits < 8:
        back = fresh.astype(values.dtype)
        return np.array_equal(back, values) and np.array_equal(fresh < 0, values < 0)
    if not jnp.issubdtype(values.dtype, jnp.inexact):
        return bool(np.isfinite(fresh).all())
    return all(np.array_equal(test(fresh), test(values)) for test in (np.isnan, np.isinf))


def _rank(dtype: DType) -> int | None:
    if dtype.kind == "m":  # NumPy's timedelta64 is a subtype of integer
        return None
    kinds = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
    return next((n for n, kind in enumerate(kinds) if jnp.issubdtype(dtype, kind)), None)


def _describe(array: Any) -> str:
    return f"{array.dtype} array of shape {array.shape}"
