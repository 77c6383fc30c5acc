"""The registry of frameworks: one adapter module each, imported on first use.

Importing this package imports no framework. The framework of an object is looked up by the
qualified names of its type and the type's bases, which costs one dictionary look-up; a type
that no name claims is checked for a protocol. An adapter, and with it its framework, is
imported when an array is converted from or to that framework.

An adapter defines

``LABEL``
    The framework's name in messages.
``FROM_OPTIONS``, ``TO_OPTIONS``
    The keyword names that `to_numpy` and `from_numpy` accept.
``to_numpy(obj, **options)``
    Plans the conversion from the framework to a NumPy array.
``from_numpy(array, **options)``
    Plans the conversion from an ndarray to the framework.

and, where two frameworks share what NumPy cannot represent, direct routes that skip the NumPy
array:

``BRIDGE_EXPORTS``, ``BRIDGE_IMPORTS``
    Functions by the name of the route: ``"device"`` for memory outside the host, exchanged as
    a DLPack producer, and ``"arrow"`` for columns (nulls, strings, several chunks), exchanged
    as pyarrow objects. An export takes an object and returns what is exchanged, or a `Plan`
    for it where it has to be made first. An import takes the exchanged object and those
    keywords of `TO_OPTIONS` that it supports, all with defaults, and returns a `Plan`. Both
    return ``None`` for an object that has to be converted through a NumPy array; options that
    an import does not accept have the same effect.
``select_column(obj, column)``
    Selects one column of a table, which then converts like a column passed by itself;
    ``None`` where only the whole table can be converted.
``zone(obj)``, ``HAS_ZONES``
    The time zone of an object's values or ``None``, and whether the framework keeps time
    zones. A conversion between two such frameworks through NumPy, which has no time zones,
    is refused.

A new framework needs such a module and one entry in `FRAMEWORKS`.
"""

from __future__ import annotations

import importlib
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._core.requirements import require
from ..errors import InvalidValueError
from ._fixes import fix_for, names_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from .._core.memory import Array
    from .._core.policy import Plan
    from ._protocol import Adapter, BridgeImport

__all__ = [
    "FRAMEWORKS",
    "LOADED",
    "WRAPPER",
    "Framework",
    "by_name",
    "fix_for",
    "of_object",
    "of_sequence",
]

LOADED: dict[str, Any] = {}  # imported adapters, by the framework's name
_DECLARED: dict[str, Declaration] = {}


class Declaration(NamedTuple):
    """What an imported adapter defines, with defaults for what it may leave out.

    The attributes are those that the description of this package lists.
    """

    label: str
    from_options: frozenset[str]
    to_options: frozenset[str]
    to_numpy: Callable[..., Plan[Array]]
    exports: Mapping[str, Callable[[Any], Any]]
    imports: Mapping[str, BridgeImport]
    select_column: Callable[[Any, Any], Any] | None
    zone: Callable[[Any], str | None] | None
    has_zones: bool

    @classmethod
    def of(cls, module: Any) -> Declaration:
        """Return the declaration of a module."""
        return cls(
            label=module.LABEL,
            from_options=module.FROM_OPTIONS,
            to_options=getattr(module, "TO_OPTIONS", frozenset()),
            to_numpy=module.to_numpy,
            exports=getattr(module, "BRIDGE_EXPORTS", {}),
            imports=getattr(module, "BRIDGE_IMPORTS", {}),
            select_column=getattr(module, "select_column", None),
            zone=getattr(module, "zone", None),
            has_zones=getattr(module, "HAS_ZONES", False),
        )


class Framework(NamedTuple):
    """One entry of the registry.

    Attributes
    ----------
    name : str
        The name that `share` accepts, which is also that of the adapter module.
    types : tuple of str
        Qualified names of the framework's types, subclasses included. A name that ends in a
        dot is a package, all of whose types belong to the framework.
    protocols : tuple of str
        Attributes that claim an object whose type no name claims.
    packages : tuple of str
        Required packages, the framework's own first; empty if only NumPy is required. A
        minimum version (``"jax>=0.5.3"``) excludes releases that crash or change values.
    install : str
        The argument of ``pip install`` for an error message.
    """

    name: str
    types: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    install: str = ""

    @property
    def imports(self) -> tuple[str, ...]:
        """The import names of `packages`, without versions."""
        return tuple(each.partition(">=")[0] for each in self.packages)

    def module(self) -> Adapter:
        """Return the adapter; its first call imports it and the framework."""
        found: Adapter | None = LOADED.get(self.name)
        if found is None:
            for requirement in self.packages:
                require(self.name, requirement, self.install)
            found = LOADED[self.name] = importlib.import_module(f"{__name__}.{self.name}")
        return found

    def declaration(self) -> Declaration:
        """Return what the adapter defines; its first call imports it and the framework."""
        found = _DECLARED.get(self.name)
        if found is None:
            found = _DECLARED[self.name] = Declaration.of(self.module())
        return found


FRAMEWORKS: tuple[Framework, ...] = (
    Framework(
        "numpy",
        (
            "numpy.ndarray",
            "numpy.generic",
            "numpack.store.lazy.array.LazyArray",
            "numpack.io.wrapper.ZeroCopyArray",
        ),
    ),
    Framework("torch", ("torch.Tensor",), (), ("torch>=2.3",), "numpack[torch]"),
    Framework("jax", ("jax.", "jaxlib."), (), ("jax>=0.5.3", "ml_dtypes>=0.5"), "numpack[jax]"),
    Framework("tensorflow", ("tensorflow.",), (), ("tensorflow>=2.18",), "numpack[tensorflow]"),
    Framework("cupy", ("cupy.", "cupyx."), (), ("cupy",), "cupy-cuda12x"),
    Framework(
        "onnxruntime", ("onnxruntime.",), (), ("onnxruntime>=1.22",), "numpack[onnxruntime]"
    ),
    Framework("xarray", ("xarray.",), (), ("xarray>=2024.6",), "numpack[xarray]"),
    Framework("pandas", ("pandas.",), (), ("pandas>=2.2.2",), "numpack[pandas]"),
    Framework("polars", ("polars.",), (), ("polars>=1.38", "pyarrow>=18"), "numpack[polars]"),
    Framework(
        "duckdb", ("duckdb.", "_duckdb."), (), ("duckdb>=2.0", "pyarrow>=18"), "numpack[duckdb]"
    ),
    Framework(
        "nanoarrow",
        ("nanoarrow.",),
        (),
        ("nanoarrow>=0.6", "pyarrow>=18"),
        "numpack[nanoarrow]",
    ),
    Framework("arro3", ("arro3.",), (), ("arro3.core>=0.4", "pyarrow>=18"), "numpack[arro3]"),
    Framework(
        "safetensors",
        ("numpack.adapters.safetensors.SafetensorsFile",),
        (),
        ("safetensors>=0.6",),
        "numpack[safetensors]",
    ),
    Framework("scipy", ("scipy.", "sparse.")),
    Framework("dlpack", ("builtins.PyCapsule",), ("__dlpack__",)),
    Framework(
        "arrow",
        ("pyarrow.",),
        ("__arrow_c_array__", "__arrow_c_stream__"),
        ("pyarrow>=18",),
        "numpack[arrow]",
    ),
    Framework("cuda_array_interface", (), ("__cuda_array_interface__",)),
    Framework(
        "array_interface",
        ("PIL.Image.Image",),
        ("__array_interface__", "__array_struct__"),
    ),
    Framework(
        "buffer",
        (
            *("builtins.bytes", "builtins.bytearray", "builtins.memoryview", "array.array"),
            *("mmap.mmap", "multiprocessing.shared_memory.SharedMemory"),
            *("_ctypes.Array", "_ctypes.Structure", "_ctypes.Union", "_ctypes._SimpleCData"),
            *("_ctypes._Pointer", "_ctypes.CFuncPtr"),
            *("pyarrow.lib.Buffer", "pyarrow.lib.ResizableBuffer", "pyarrow.lib.Tensor"),
        ),
        ("__buffer__",),  # from Python 3.12 on; earlier, only `memoryview(obj)` detects it
    ),
)

# Objects that wrap an array of another framework; `share` converts the wrapped array.
WRAPPER = Framework("wrapper", ("narwhals.", "keras."))

# Sources that are no targets.
_SEQUENCE = Framework("sequence")
_DATASETS = Framework("datasets", ("datasets.",), (), ("pyarrow>=18",), "numpack[arrow]")

_IN_SEQUENCES = frozenset({"numpy", "torch", "jax", "tensorflow", "cupy"})

_BY_NAME = {framework.name: framework for framework in FRAMEWORKS}
_NUMPY = _BY_NAME["numpy"]
_BY_TYPE_NAME = {
    name: framework
    for framework in (*FRAMEWORKS, WRAPPER, _DATASETS)
    for name in framework.types
}
_BY_TYPE: weakref.WeakKeyDictionary[type, Framework] = weakref.WeakKeyDictionary()


def by_name(name: str) -> Framework:
    """Return the framework with a name that `share` accepts.

    Raises
    ------
    InvalidValueError
        No framework has that name.
    """
    found = _BY_NAME.get(name) if isinstance(name, str) else None
    if found is None:
        known = ", ".join(sorted(_BY_NAME))
        msg = f"no framework is called {name!r}; known are: {known}"
        raise InvalidValueError(msg)
    return found


def of_object(obj: object) -> Framework | None:
    """Return the framework that an object belongs to, or ``None``."""
    kind = type(obj)
    if kind is np.ndarray:
        return _NUMPY
    found = _BY_TYPE.get(kind) or _claim(kind)
    if found is None:
        return _claim_one(obj)
    _BY_TYPE[kind] = found
    return found


def of_sequence(values: Sequence[object]) -> Framework | None:
    """Return the adapter that stacks a list or tuple of arrays, or ``None`` for other items."""
    if not values or not all(map(_is_array, values)):
        return None
    return _SEQUENCE


def _is_array(value: object) -> bool:
    owner = None if isinstance(value, np.generic) else of_object(value)
    return owner is not None and owner.name in _IN_SEQUENCES


def _claim(kind: type) -> Framework | None:
    for base in kind.__mro__:
        for name in names_of(base):
            if name in _BY_TYPE_NAME:
                return _BY_TYPE_NAME[name]
    for framework in FRAMEWORKS:
        if any(hasattr(kind, protocol) for protocol in framework.protocols):
            return framework
    return None


def _claim_one(obj: object) -> Framework | None:
    """Match an object by a protocol among its instance attributes, or by its buffer."""
    if isinstance(obj, type):
        return None
    own = getattr(obj, "__dict__", ())
    for framework in FRAMEWORKS:
        if any(protocol in own for protocol in framework.protocols):
            return framework
    return _BY_NAME["buffer"] if _is_buffer(obj) else None


def _is_buffer(obj: Any) -> bool:
    """Check whether an object supports the buffer protocol, even if it is closed."""
    try:
        memoryview(obj).release()
    except TypeError:
        return False
    except (BufferError, ValueError):
        return True
    return True
