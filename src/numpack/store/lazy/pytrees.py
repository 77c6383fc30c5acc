"""Registration of `LazyArray` as a pytree of JAX, so that its functions accept it."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np

_registered: dict[type, object] = {}


def register_pytree(kind: type) -> None:
    """Register a type of arrays as a pytree whose leaf is an ndarray, if JAX is imported.

    JAX converts the leaves of its arguments and puts the results in their places, so a
    function that JAX transforms receives one of JAX's arrays.

    Source: the JAX documentation of ``jax.tree_util.register_pytree_node``.
    """
    if kind in _registered or "jax" not in sys.modules:
        return
    register = getattr(sys.modules.get("jax.tree_util"), "register_pytree_node", None)
    if register is not None:  # otherwise JAX is still being imported
        token = object()
        if _registered.setdefault(kind, token) is token:  # not by another thread meanwhile
            register(kind, _flatten, _unflatten)


def _flatten(array: Any) -> tuple[tuple[np.ndarray[Any, Any]], None]:
    return (np.asarray(array),), None


def _unflatten(_: None, leaves: tuple[Any]) -> Any:
    return leaves[0]
