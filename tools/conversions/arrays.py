"""NumPy arrays of every dtype, in every layout, in every kind of memory."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from numpack._core import dtypes
from numpack._core.memory import aligned_copy, aligned_empty, own_copy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpack._core.memory import Array

SHAPE = (8, 16)
DTYPES = (
    *(info.numpy for info in dtypes.DTYPES),
    *("datetime64[D]", "datetime64[s]", "datetime64[ms]", "datetime64[us]", "datetime64[ns]"),
    *("timedelta64[s]", "timedelta64[ms]", "timedelta64[us]", "timedelta64[ns]"),
    *("longdouble", "S5", "U5", "V3", "struct", "object", "string"),
)
_STRUCT = np.dtype([("a", "<i4"), ("b", "<f8")])


class Layout(NamedTuple):
    """A memory layout of an array: its name, a description, and its number of elements."""

    name: str
    description: str
    size: int = math.prod(SHAPE)


LAYOUTS = (
    Layout("C", "C-contiguous, 64-byte aligned"),
    Layout("1-D", "one axis"),
    Layout("0-D", "no axes", 1),
    Layout("empty", "no elements", 0),
    Layout("F", "Fortran-contiguous: a transposed array"),
    Layout("step", "every second element", math.prod(SHAPE) // 2),
    Layout("neg", "reversed: negative strides"),
    Layout("bcast", "broadcast: a stride of 0"),
    Layout("swap", "not in native byte order"),
    Layout("off", "aligned to its items, not to 64 bytes"),
    Layout("odd", "not aligned to its items"),
    Layout("mask", "a masked array"),
    Layout("null", "one axis, one value is missing (masked or null)"),
)


class Memory(NamedTuple):
    """The kind of an array's memory."""

    read_only: bool = False
    mapped: bool = False


MEMORY = (Memory(), Memory(read_only=True), Memory(mapped=True), Memory(True, True))
OWN, READ_ONLY, _, MAPPED = MEMORY


class Impossible(Exception):  # noqa: N818 -- an answer rather than an error
    """There is no such array; the message says why."""


VIEWS: dict[str, Callable[[Array], Array]] = {
    "1-D": lambda array: array.reshape(-1),
    "0-D": lambda array: array[0, 0, ...],
    "empty": lambda array: array[:0],
    "F": lambda array: array.T,
    "step": lambda array: array[:, ::2],
    "neg": lambda array: array[::-1],
    "bcast": lambda array: np.broadcast_to(array[0], SHAPE),
    "mask": lambda array: np.ma.MaskedArray(array, mask=np.eye(*SHAPE, dtype=bool)),
    "null": lambda array: np.ma.MaskedArray(array.reshape(-1), mask=np.arange(array.size) == 1),
}


def values(name: str) -> Array:
    """Return a C-contiguous, 64-byte aligned array of ones of a dtype."""
    if name == "struct":
        return aligned_copy(np.ones(SHAPE, _STRUCT))
    dtype = np.dtypes.StringDType() if name == "string" else dtypes.of_extension(name)
    return aligned_copy(np.ones(SHAPE, "i8").astype(dtype or np.dtype(name)))


def make(name: str, layout: str, memory: Memory, folder: Path) -> Array:
    """Return an array of a dtype, in a layout and a kind of memory.

    Raises
    ------
    Impossible
        NumPy has no such array.
    """
    if layout == "bcast" and not memory.read_only:
        raise Impossible("np.broadcast_to returns read-only arrays")
    array = values(name)
    if layout == "swap":
        array = _swapped(array)
    shift = {"odd": 1, "off": array.dtype.alignment}.get(layout, 0)
    if shift or memory.mapped:
        array = _placed(array, shift, memory, folder / f"{name}-{layout}")
    if layout in VIEWS:
        array = VIEWS[layout](array)
    if memory.read_only:
        array.flags.writeable = False
    return array


def _swapped(array: Array) -> Array:
    if array.dtype.hasobject:
        raise Impossible("references are always in native byte order")
    swapped = array.astype(array.dtype.newbyteorder("S"))
    if swapped.dtype.isnative or array.itemsize == 1:
        raise Impossible("its items have no byte order")
    return own_copy(swapped)


def _placed(array: Array, shift: int, memory: Memory, path: Path) -> Array:
    """Return a copy of an array in other memory, `shift` bytes past a multiple of 64."""
    if array.dtype.hasobject:
        raise Impossible("references can be neither moved bytewise nor kept in a file")
    if memory.mapped:
        path.unlink(missing_ok=True)
        path.write_bytes(bytes(shift) + array.tobytes())
        raw: Array = np.memmap(path, "u1", "r" if memory.read_only else "r+")
        return raw[shift:].view(array.dtype).reshape(SHAPE)
    moved = aligned_empty((array.nbytes + shift,), np.dtype("u1"))[shift:]
    moved[:] = np.frombuffer(array.tobytes(), "u1")
    return moved.view(array.dtype).reshape(SHAPE)
