"""Arrays of every framework: over the memory of a NumPy array, or as the framework stores it.

A framework holds an array in a layout if it shares the memory of a NumPy array in that layout.
In the plain layouts it also holds what it has to store in a form of its own, such as strings.
"""

from __future__ import annotations

import math
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, cast

import numpack
from numpack.adapters import by_name
from numpack.errors import NumpackError
from numpack.io import explain, share

from .arrays import (
    MAPPED,
    OWN,
    READ_ONLY,
    SHAPE,
    VIEWS,
    Impossible,
    Layout,
    Memory,
    make,
    values,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from typing import Self

    from numpack._core.memory import Array
    from numpack._core.policy import Route
    from numpack.io import Target

STORE = "store"  # a LazyArray of a NumPack store
_PLAIN = ("C", "1-D", "0-D", "empty", "mask", "null")


class _Holder(NamedTuple):
    """How a framework holds arrays.

    Attributes
    ----------
    flag : {"kept", "never", "always"}
        Whether its arrays are read-only: as the memory, or never, or always.
    options : dict
        Options of `share` that keep the shape or the strides.
    """

    flag: Literal["kept", "never", "always"]
    options: dict[str, Any] = {}  # noqa: RUF012 -- never changed


_TENSORS = {"layout": "tensor"}
HOLDERS = {
    "numpy": _Holder("kept"),
    STORE: _Holder("always"),
    "torch": _Holder("never"),
    "jax": _Holder("always"),
    "tensorflow": _Holder("always"),
    "onnxruntime": _Holder("never"),
    "xarray": _Holder("kept"),
    "pandas": _Holder("always"),
    "polars": _Holder("always"),
    "duckdb": _Holder("always"),
    "nanoarrow": _Holder("always", _TENSORS),
    "arro3": _Holder("always", _TENSORS),
    "dlpack": _Holder("kept", {"order": "K"}),
    "arrow": _Holder("always", _TENSORS),
    "array_interface": _Holder("kept"),
    "buffer": _Holder("kept"),
}


def _of_torch(change: Callable[[Any], Any], kinds: str) -> Callable[[Array, str], Any]:
    def held(array: Array, source: str) -> Any:
        if source != "torch":
            raise Impossible("only PyTorch's tensors have it")
        tensor = _shared(array, source)
        if not getattr(tensor, kinds)():
            raise Impossible(f"only tensors with {kinds}() have it")
        try:
            return change(tensor)
        except NotImplementedError as error:
            raise Impossible("PyTorch does not implement it for this dtype") from error

    return held


def _chunked(array: Array, source: str) -> Any:
    if source not in ("arrow", "polars", "duckdb", "arro3", "pandas"):
        raise Impossible("only columns have chunks")
    import pyarrow as pa  # noqa: PLC0415 -- optional

    chunk = _shared(array, "arrow")
    options = {"dtype_backend": "pyarrow"} if source == "pandas" else {}
    return _shared(pa.chunked_array([chunk, chunk]), source, options)


# Of some frameworks only; each is made of an array with one axis, or with two.
_SPECIAL: dict[str, tuple[Layout, str, Callable[[Array, str], Any]]] = {
    "chunks": (Layout("chunks", "one axis, two chunks", 2 * math.prod(SHAPE)), "1-D", _chunked),
    "grad": (
        Layout("grad", "a tensor that requires gradients"),
        "C",
        _of_torch(lambda tensor: tensor.requires_grad_(), "is_floating_point"),
    ),
    "conj": (
        Layout("conj", "a tensor with the conjugate bit"),
        "C",
        _of_torch(lambda tensor: tensor.conj(), "is_complex"),
    ),
    "sparse": (
        Layout("sparse", "a sparse tensor, in COO format"),
        "C",
        _of_torch(lambda tensor: tensor.to_sparse(), "is_floating_point"),
    ),
}
SPECIAL_LAYOUTS = tuple(layout for layout, *_ in _SPECIAL.values())


class _Interface:
    """An object with ``__array_interface__`` alone."""

    def __init__(self, array: Array) -> None:
        self._array = array
        self.__array_interface__ = array.__array_interface__


class Sources:
    """Makes arrays of all frameworks; a context manager, which closes the store.

    Parameters
    ----------
    folder : Path
        An empty folder for the files that are mapped.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._open = ExitStack()
        self._store = self._open.enter_context(numpack.NumPack(folder / "store.npk"))

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the store."""
        self._open.close()

    def hold(self, source: str, dtype: str, layout: str, memory: Memory) -> Any:
        """Return an array of a framework.

        Raises
        ------
        Impossible
            The framework has no such array.
        """
        _refuse_memory(source, memory)
        if source == STORE:
            return self._stored(dtype, layout)
        special = _SPECIAL.get(layout)
        # The memory under an array that is always read-only may be writable.
        under = Memory(memory.mapped, memory.mapped) if _flag(source) == "always" else memory
        array = make(dtype, special[1] if special else layout, under, self._folder)
        if special:
            return special[2](array, source)
        return _held(array, source, layout, memory)

    def _stored(self, dtype: str, layout: str) -> Any:
        if layout not in ("C", "1-D", "empty", "F", "step", "neg"):
            raise Impossible("a store keeps its rows C-contiguous, aligned and without masks")
        if dtype not in self._store:
            try:
                self._store.save({dtype: values(dtype)})
            except NumpackError as error:
                raise Impossible(getattr(error, "reason", "") or str(error)) from error
        lazy: Any = self._store.load(dtype, lazy=True)
        return VIEWS[layout](lazy) if layout in VIEWS else lazy


def default_memory(source: str) -> Memory:
    """Return the memory of an array of the framework that nothing else is said of."""
    if source == STORE:
        return MAPPED
    return READ_ONLY if _flag(source) == "always" else OWN


def _flag(source: str) -> str:
    return HOLDERS[source].flag


def _refuse_memory(source: str, memory: Memory) -> None:
    if source == STORE and memory != MAPPED:
        raise Impossible("the arrays of a store are mapped from its files, read-only")
    label = label_of(source)
    if memory.read_only and _flag(source) == "never":
        raise Impossible(f"{label} has no read-only arrays")
    if not memory.read_only and _flag(source) == "always":
        raise Impossible(f"{label} has no writable arrays")


def label_of(name: str) -> str:
    """Return the name of a framework in messages."""
    return "a NumPack store" if name == STORE else by_name(name).declaration().label


def _held(array: Array, source: str, layout: str, memory: Memory) -> Any:
    if source == "numpy":
        return array
    name = cast("Target", source)
    options = HOLDERS[source].options if array.ndim > 1 else {}
    route = explain(array, name, **options)
    is_plain = layout in _PLAIN and not memory.mapped
    if not route.supported or not (route.shares_memory or is_plain):
        raise Impossible(route.reason)
    held: Any = share(array, name, **options)
    if source == "array_interface":
        held = _Interface(held)
    _check(held, array, memory, route)
    return held


def _check(held: Any, array: Array, memory: Memory, route: Route) -> None:
    """Refuse what the framework holds with another shape, dtype or read-only flag."""
    route_back = explain(held, "numpy")
    if not route_back.supported:
        raise Impossible(route_back.reason)
    back = share(held, "numpy")
    if back.shape != array.shape:
        raise Impossible("its arrays have one axis")
    if array.dtype.kind in "mMO" and back.dtype != array.dtype:
        raise Impossible(route.reason)
    if (
        route_back.shares_memory
        and route.shares_memory
        and array.nbytes
        and back.flags.writeable == memory.read_only
    ):
        raise Impossible("it does not keep the flag of read-only memory")


def _shared(x: Any, target: str, options: dict[str, Any] | None = None) -> Any:
    """Return an array over the same memory."""
    name = cast("Target", target)
    route = explain(x, name, **options or {})
    if not route.shares_memory:
        raise Impossible(route.reason)
    return share(x, name, copy=False, **options or {})
