"""The plan of a conversion from NumPy to a framework that views the memory in place."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, TypeVar

from .mapped_files import SHARED, backing_of
from .memory import aligned_copy, normalize_strides
from .policy import Obstacle, Plan, describe, describe_layout

if TYPE_CHECKING:
    from collections.abc import Callable

    from .dtypes import DType
    from .memory import Array

T = TypeVar("T")


def plan_view(
    array: Array,
    label: str,
    make: Callable[[Array], T],
    *,
    obstacle: Obstacle | None = None,
    transfer: Obstacle | None = None,
    may_write: bool = False,
    caution: Callable[[Array], str] | None = None,
) -> Plan[T]:
    """Plan a conversion to an object that `make` constructs over an array's memory.

    Parameters
    ----------
    array : ndarray
    label : str
        The framework's name in messages.
    make : callable
        Called with an array of the same dtype and shape with normalized strides.
    obstacle : Obstacle or None
        Why the memory cannot be viewed in its current layout. It is then copied into C order,
        native byte order and 64-byte alignment.
    transfer : Obstacle or None
        Why `make` always copies.
    may_write : bool
        Whether the framework may write to memory that NumPy marks read-only, so that a file
        mapped read-only has to be mapped again copy-on-write.
    caution : callable or None
        Returns the warning about read-only anonymous memory passed to such a framework.

    Returns
    -------
    Plan
    """
    values = normalize_strides(array)
    backing = backing_of(values) if may_write and not array.flags.writeable else None
    if obstacle is None and backing is not None:
        obstacle = backing.obstacle()

    def convert() -> T:
        if obstacle is not None:
            return make(aligned_copy(values))
        return make(values if backing is None else backing.for_writer())

    is_unprotected = backing is not None and backing.safe and array.nbytes > 0
    return Plan(
        direction=f"to {label}",
        describe=lambda: describe(array),
        nbytes=array.nbytes,
        result=convert,
        independent=convert if obstacle or transfer else lambda: make(aligned_copy(values)),
        obstacle=obstacle or transfer,
        action=SHARED if backing is None else backing.action,
        caution=caution(array) if is_unprotected and caution is not None else "",
    )


def unprotected(label: str, noun: str) -> Callable[[Array], str]:
    """Return a function that formats the caution of a framework without read-only arrays.

    Parameters
    ----------
    label : str
        The framework's name in messages.
    noun : str
        The framework's word for an array.
    """

    @functools.lru_cache(128)  # formatting a dtype takes longer than a conversion
    def text(dtype: DType, shape: tuple[int, ...]) -> str:
        described = describe_layout(dtype, shape)
        return (
            f"Zero-copy conversion to {label} shares read-only memory: {described}, and "
            f"{label} has no read-only {noun}s, so a write through the {noun} changes data "
            "that NumPy protects; pass copy=True for one that is safe to write"
        )

    def caution(array: Array) -> str:
        return text(array.dtype, array.shape)

    return caution
