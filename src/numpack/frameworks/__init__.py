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

``DEPARTURES``, ``ARRIVALS``
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
import weakref
from typing import Any, NamedTuple

from ..errors import InvalidValueError, MissingDependencyError

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
        What must be importable, its own package first; empty if nothing but NumPy.
    install : str
        What to install if it is not.
    """

    name: str
    types: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    packages: tuple[str, ...] = ()
    install: str = ""

    def module(self) -> Any:
        """Import the module of this framework, and so the framework, once."""
        found = LOADED.get(self.name)
        if found is None:
            for package in self.packages:
                self._require(package)
            found = LOADED[self.name] = importlib.import_module(f"{__name__}.{self.name}")
        return found

    def _require(self, package: str) -> None:
        try:
            importlib.import_module(package)
        except ImportError as error:
            msg = (
                f"{self.name} needs the package {package}, which cannot be imported "
                f"({error}); install it with: pip install '{self.install}'"
            )
            raise MissingDependencyError(msg, name=package) from error


FRAMEWORKS: tuple[Framework, ...] = (
    Framework(
        "numpy",
        (
            "numpy.ndarray",
            "numpack.store.lazy.LazyArray",
            "numpack.io.wrapper.ZeroCopyArray",
        ),
    ),
    Framework("torch", ("torch.Tensor",), (), ("torch",), "numpack[torch]"),
    Framework("jax", ("jax.", "jaxlib."), (), ("jax", "ml_dtypes"), "numpack[jax]"),
    Framework("tensorflow", ("tensorflow.",), (), ("tensorflow",), "numpack[tensorflow]"),
    Framework("cupy", ("cupy.",), (), ("cupy",), "cupy-cuda12x"),
    Framework("onnxruntime", ("onnxruntime.",), (), ("onnxruntime",), "numpack[onnxruntime]"),
    Framework("xarray", ("xarray.",), (), ("xarray",), "numpack[xarray]"),
    Framework("pandas", ("pandas.",), (), ("pandas",), "numpack[pandas]"),
    Framework("polars", ("polars.",), (), ("polars", "pyarrow"), "numpack[polars]"),
    Framework("duckdb", ("duckdb.", "_duckdb."), (), ("duckdb", "pyarrow"), "numpack[duckdb]"),
    Framework("nanoarrow", ("nanoarrow.",), (), ("nanoarrow", "pyarrow"), "numpack[nanoarrow]"),
    Framework("arro3", ("arro3.",), (), ("arro3.core", "pyarrow"), "numpack[arro3]"),
    Framework(
        "safetensors",
        ("numpack.frameworks.safetensors.SafetensorsFile",),
        (),
        ("safetensors",),
        "numpack[safetensors]",
    ),
    Framework("scipy", ("scipy.", "sparse."), (), ("scipy",), "scipy"),
    Framework("dlpack", ("builtins.PyCapsule",), ("__dlpack__",)),
    Framework(
        "arrow",
        ("pyarrow.",),
        ("__arrow_c_array__", "__arrow_c_stream__"),
        ("pyarrow",),
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
        ),
        ("__buffer__",),  # from Python 3.12 on
    ),
)

_BY_NAME = {framework.name: framework for framework in FRAMEWORKS}
_BY_TYPE_NAME = {name: framework for framework in FRAMEWORKS for name in framework.types}
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
    if found is not None:
        _BY_TYPE[kind] = found
    return found


def _claim(kind: type) -> Framework | None:
    for base in kind.__mro__:
        found = _BY_TYPE_NAME.get(f"{base.__module__}.{base.__qualname__}")
        found = found or _BY_TYPE_NAME.get(f"{base.__module__.partition('.')[0]}.")
        if found is not None:
            return found
    for framework in FRAMEWORKS:
        if any(hasattr(kind, protocol) for protocol in framework.protocols):
            return framework
    return None
