"""The registry: which frameworks there are, and which one an object belongs to.

Nothing here imports a framework. An object's framework is found by the names of its
type's bases, so that asking costs a dictionary look-up and imports nothing; what no name
claims is asked for a protocol. A framework's own module, and with it the framework, is
imported when an array really comes from it or goes to it.

A framework's module has

``LABEL``
    its name in messages;
``FROM_OPTIONS``, ``TO_OPTIONS``
    the keywords that its two functions take;
``to_numpy(obj, **options)``
    the plan of the way to the hub, an ndarray;
``from_numpy(array, **options)``
    the plan of the way from the hub, where `array` is an ndarray;

and, where there is a way past the hub, because NumPy cannot hold what both sides can,

``BRIDGE_EXPORTS``, ``BRIDGE_IMPORTS``
    functions by the name of the bridge: ``"device"`` for memory that is not the host's, which
    crosses as a DLPack producer, and ``"arrow"`` for columns (nulls, strings, several chunks),
    which cross as pyarrow's. A departure takes an object and gives what crosses, an arrival
    takes that and those keywords of `TO_OPTIONS` that it knows, which have defaults, and
    gives a plan; each gives ``None`` for what has to go by the hub, and so does what is given
    other options. What has to be made before it can cross departs as a plan that has made it.

To add one, write such a module and a line in `FRAMEWORKS`.
"""

from __future__ import annotations

import importlib
import re
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

import numpy as np

from ..errors import InvalidValueError, MissingDependencyError
from ._fixes import fix_for, names_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._protocol import Adapter

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

LOADED: dict[str, Any] = {}  # the modules of frameworks that were needed, by name


class Framework(NamedTuple):
    """One line of the registry.

    Attributes
    ----------
    name : str
        As `share` takes it; its module here has the same name.
    types : tuple of str
        Full names of the types that belong to it, subclasses included. A name that ends
        in a dot is that of a package, all of whose types belong to it.
    protocols : tuple of str
        Attributes that claim an object which no type name claims.
    packages : tuple of str
        What must be importable, its own package first; empty if nothing but NumPy. With the
        oldest version (``"jax>=0.5.3"``): older ones crash, or change values.
    install : str
        What to install if it is not.
    """

    name: str
    types: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    install: str = ""

    @property
    def imports(self) -> tuple[str, ...]:
        """The names of `packages`, as they are imported."""
        return tuple(each.partition(">=")[0] for each in self.packages)

    def module(self) -> Adapter:
        """Import the module of this framework, and so the framework, once."""
        found: Adapter | None = LOADED.get(self.name)
        if found is None:
            for requirement in self.packages:
                self._require(*requirement.split(">="))
            found = LOADED[self.name] = importlib.import_module(f"{__name__}.{self.name}")
        return found

    def _require(self, package: str, oldest: str = "") -> None:
        try:
            version = getattr(importlib.import_module(package), "__version__", "")
        except Exception as error:  # noqa: BLE001 -- a package that is broken raises anything
            why = f"which cannot be imported ({error})"
            self._refuse(package, why, error)
        if version and _numbers(version) < _numbers(oldest):
            self._refuse(package, f"of version {oldest} or newer, and {version} is installed")

    def _refuse(self, package: str, why: str, cause: Exception | None = None) -> NoReturn:
        msg = (
            f"{self.name} needs the package {package}, {why}; "
            f"install it with: pip install '{self.install}'"
        )
        raise MissingDependencyError(msg, name=package) from cause


def _numbers(version: str) -> list[int]:
    """Give the numbers of a release: ``[2, 13, 0]`` of ``"2.13.0+cpu"``."""
    release = re.match(r"[0-9.]*", version)
    return [int(number) for number in release.group().split(".") if number] if release else []


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
        ("__buffer__",),  # from Python 3.12 on; before, only the object tells
    ),
)

# Objects that wrap an array of another framework, which takes their place.
WRAPPER = Framework("wrapper", ("narwhals.", "keras."))

# What arrays come from, and nothing goes to.
_SEQUENCE = Framework("sequence")
_DATASETS = Framework("datasets", ("datasets.",), (), ("pyarrow>=18",), "numpack[arrow]")

_IN_SEQUENCES = frozenset({"numpy", "torch", "jax", "tensorflow", "cupy"})

_BY_NAME = {framework.name: framework for framework in FRAMEWORKS}
_BY_TYPE_NAME = {
    name: framework
    for framework in (*FRAMEWORKS, WRAPPER, _DATASETS)
    for name in framework.types
}
_BY_TYPE: weakref.WeakKeyDictionary[type, Framework] = weakref.WeakKeyDictionary()


def by_name(name: str) -> Framework:
    """Find a framework by the name that `share` takes."""
    found = _BY_NAME.get(name) if isinstance(name, str) else None
    if found is None:
        known = ", ".join(sorted(_BY_NAME))
        msg = f"no framework is called {name!r}; known are: {known}"
        raise InvalidValueError(msg)
    return found


def of_object(obj: object) -> Framework | None:
    """Find the framework that an object belongs to; ``None`` if none claims it."""
    kind = type(obj)
    found = _BY_TYPE.get(kind) or _claim(kind)
    if found is None:
        return _claim_one(obj)
    _BY_TYPE[kind] = found
    return found


def of_sequence(values: Sequence[object]) -> Framework | None:
    """Find what takes a list or tuple: of arrays alone it is one array of them all."""
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
    """Ask for what only the object tells: a protocol among its own attributes, or a buffer."""
    if isinstance(obj, type):
        return None
    own = getattr(obj, "__dict__", ())
    for framework in FRAMEWORKS:
        if any(protocol in own for protocol in framework.protocols):
            return framework
    return _BY_NAME["buffer"] if _is_buffer(obj) else None


def _is_buffer(obj: Any) -> bool:
    """Tell whether an object exports its memory, or would if it were not closed."""
    try:
        memoryview(obj).release()
    except TypeError:
        return False
    except (BufferError, ValueError):
        return True
    return True
