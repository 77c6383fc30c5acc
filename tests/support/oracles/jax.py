"""JAX, in its default mode: without 64-bit types."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np

# JAX has these dtypes but no arrays of them.
_WITHOUT_ARRAYS = ("float6_e2m3fn", "float6_e3m2fn", "int1", "uint1")


def make(values: np.ndarray) -> jax.Array | None:
    known = values.dtype.kind in "biufc" or hasattr(ml_dtypes, values.dtype.name)
    if not known or values.dtype.name in _WITHOUT_ARRAYS:
        return None
    if jax.dtypes.canonicalize_dtype(values.dtype) != values.dtype:
        return None
    return jnp.array(values)


def address(array: jax.Array) -> int:
    return array.unsafe_buffer_pointer()


def values(array: jax.Array) -> np.ndarray:
    return np.asarray(array)
