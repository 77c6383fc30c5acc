"""JAX: arrays that never change, over memory on 64-byte boundaries.

Source: the JAX documentation of ``jax.dlpack``, of ``jax_enable_x64`` and of donation.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np

from .._core import dtypes
from .._core.memory import (
    aligned_copy,
    aligned_empty,
    compact_obstacle,
    normalize_strides,
    vector_obstacle,
    with_owner,
    writable_alias,
)
from .._core.plan_view import plan_view
from .._core.policy import Obstacle, Plan, describe, refuse, wrong_type
from .._dlpack import importing
from ..errors import InvalidValueError
from ._fixes import objects_fix
from ._protocol import BridgeImport
from .dlpack import DLPackBuffer, across, off_host
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
_WITHOUT_ARRAYS = frozenset(
    {"float6_e2m3fn", "float6_e3m2fn", "int1", "uint1"}
)  # JAX has but their names


def from_numpy(array: Array, *, dtype: object = None) -> Plan[jax.Array]:
    """Plan the way from the hub; `dtype` asks for another one, which is a cast.

    JAX shares memory that starts on a 64-byte boundary and has no gaps, in whatever order
    of the axes. It does not write to it, donated or not, so read-only memory is as good.
    """
    array = base_array(array, LABEL)
    wanted = array.dtype if dtype is None else _wanted(dtype)
    row = _jax_row(array, wanted)
    values = normalize_strides(array)

    def view(memory: Array) -> jax.Array:
        if row.bits < 8 or memory.size == 0:
            return jnp.array(memory, device=jax.devices("cpu")[0])
        return jnp.from_dlpack(DLPackBuffer(writable_alias(memory), order="K"), copy=False)

    if dtypes.native(array.dtype) != row.dtype:
        return _cast(array, row, view)
    hindered = vector_obstacle(values, compact_obstacle)
    return plan_view(
        array, LABEL, view, obstacle=hindered, transfer=_packing_obstacle(row, array.size)
    )


def to_numpy(array: Any) -> Plan[Array]:
    """Plan the way to the hub; what is shared is read-only, as JAX's arrays never change."""
    row = _numpy_row(array)
    obstacle = _array_obstacle(array) or _packing_obstacle(row, array.size)
    take = _view if obstacle is None and array.size else np.asarray

    def share() -> Array:
        return with_owner(take(array), array)

    def own() -> Array:
        return aligned_copy(take(array))  # JAX keeps what np.asarray copies, and gives it again

    return Plan(
        direction="from JAX",
        describe=lambda: _describe(array),
        nbytes=array.size * row.dtype.itemsize,
        result=own if obstacle else share,
        independent=own,
        obstacle=obstacle,
        result_spec=(array.shape, row.dtype),
    )


def _view(array: jax.Array) -> Array:
    # np.asarray copies what does not lie in C order.
    return importing.consume_capsule(array.__dlpack__(), readonly=True)


def _bridge_export(array: Any) -> Any:
    _numpy_row(array)
    return array if len(array.devices()) == 1 and off_host(array) else None


def _bridge_import(producer: Any, *, dtype: object = None) -> Plan[jax.Array] | None:
    if dtype is not None or not any(d.platform in ("gpu", "cuda") for d in jax.devices()):
        return None
    return across(producer, LABEL, jnp.from_dlpack, lambda array: jnp.array(array, copy=True))


BRIDGE_EXPORTS = {"device": _bridge_export}
BRIDGE_IMPORTS = {"device": BridgeImport(_bridge_import, TO_OPTIONS)}


def _wanted(dtype: object) -> DType:
    try:
        return np.dtype(dtype)  # type: ignore[call-overload, no-any-return]
    except TypeError as error:
        msg = f"dtype must be one that NumPy or ml_dtypes has, not {dtype!r}"
        raise InvalidValueError(msg) from error


def _jax_row(array: Array, wanted: DType) -> DTypeInfo:
    """Find the dtype in JAX, or refuse: JAX would narrow it without a word."""
    row = dtypes.of_numpy(wanted)
    if row is None or row.numpy in _WITHOUT_ARRAYS or not hasattr(jnp, _name(row)):
        fix = objects_fix(array) or _fix_for(array.dtype)
        refuse("to JAX", describe(array), "JAX has no such dtype", fix)
    narrowed = jax.dtypes.canonicalize_dtype(row.dtype)
    if narrowed != row.dtype:
        refuse(
            "to JAX",
            describe(array),
            f"JAX would make {narrowed} of {row.numpy} while its x64 mode is off",
            "call jax.config.update('jax_enable_x64', True) first, or ask for the cast with "
            f"dtype={narrowed.name!r}",
        )
    return row


def _name(row: DTypeInfo) -> str:
    return "bool_" if row.numpy == "bool" else row.numpy


def _cast(array: Array, row: DTypeInfo, view: Callable[[Array], jax.Array]) -> Plan[jax.Array]:
    """Plan a cast that was asked for: it may round, and do nothing else to the values.

    It is done now, because only its result tells.
    """
    fresh = _rounded(array, row)
    if fresh is None:
        why = f"{row.numpy} cannot hold its values"
        refuse("to JAX", describe(array), why, "convert it yourself with array.astype(...)")
    return Plan(
        direction="to JAX",
        describe=lambda: describe(array),
        nbytes=array.size * row.dtype.itemsize,
        result=lambda: view(fresh),
        independent=lambda: view(fresh),
        obstacle=Obstacle(
            f"it has to be cast to {row.numpy}",
            "leave out dtype=, or keep the array in that dtype",
        ),
    )


def _rounded(array: Array, row: DTypeInfo) -> Array | None:
    """Cast from bool over integers and floats to complex; ``None`` if that takes more.

    Integers, and floats of less than a byte, have to be as they were; among the others what
    is finite stays finite.
    """
    source, target = _rank(array.dtype), _rank(row.dtype)
    if source is None or target is None or source > target:
        return None
    values, fresh = np.asarray(array), aligned_empty(array.shape, row.dtype)
    with np.errstate(all="ignore"):
        try:
            np.copyto(fresh, values, casting="unsafe")
            return fresh if _is_kept(fresh, values, row) else None
        except TypeError:  # ml_dtypes has no cast between these two
            return None


def _is_kept(fresh: Array, values: Array, row: DTypeInfo) -> bool:
    if jnp.issubdtype(row.dtype, jnp.integer) or row.bits < 8:
        back = fresh.astype(values.dtype)
        return np.array_equal(back, values) and np.array_equal(fresh < 0, values < 0)
    if not jnp.issubdtype(values.dtype, jnp.inexact):
        return bool(np.isfinite(fresh).all())
    return all(np.array_equal(test(fresh), test(values)) for test in (np.isnan, np.isinf))


def _rank(dtype: DType) -> int | None:
    if dtype.kind == "m":  # which NumPy counts among the integers
        return None
    kinds = (jnp.bool_, jnp.integer, jnp.floating, jnp.complexfloating)
    return next((n for n, kind in enumerate(kinds) if jnp.issubdtype(dtype, kind)), None)


def _packing_obstacle(row: DTypeInfo, size: int) -> Obstacle | None:
    if row.bits >= 8 or size == 0:
        return None
    return Obstacle(
        "JAX takes and gives values of less than a byte by copying alone",
        f"keep it as int8 or wider, or as {row.carrier.name} and view it",
    )


def _fix_for(dtype: DType) -> str:
    if dtype.kind in "mM":
        wide = "after jax.config.update('jax_enable_x64', True)"
        return f"pass the counts since 1970 or the durations as array.view('i8'), {wide}"
    return "convert it to numbers that JAX has with array.astype(...) first"


def _numpy_row(array: Any) -> DTypeInfo:
    """Find the dtype, or refuse what holds no values, or none that NumPy could hold."""
    refusal = _refusal(array)
    if refusal is not None:
        refuse("from JAX", type(array).__name__, *refusal)
    row = dtypes.of_numpy(array.dtype)
    if row is None:
        why, fix = "NumPy has no such dtype", "convert it first: array.astype(jnp.float32)"
        refuse("from JAX", _describe(array), why, fix)
    return row


def _refusal(array: Any) -> tuple[str, str] | None:
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
    devices = array.devices()
    if len(devices) > 1:
        why = f"it is spread over {len(devices)} devices"
        return Obstacle(why, "pass one part: array.addressable_data(0)")
    if off_host(array):
        why = f"its memory is on {next(iter(devices))}"
        return Obstacle(why, "keep it on the CPU: jax.device_put(array, jax.devices('cpu')[0])")
    return None


def _describe(array: Any) -> str:
    return f"{array.dtype} array of shape {array.shape}"
