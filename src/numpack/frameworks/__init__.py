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
    the plan of the way from the hub, where `array` is an ndarray.

To add one, write such a module and a line in `FRAMEWORKS`.
"""

from __future__ import annotations

import importlib
import weakref
from dataclasses import dataclass
from typing import Any

from ..errors import InvalidValueError, MissingDependencyError

LOADED: dict[str, Any] = {}  # the modules of frameworks that were needed, by name


@dataclass(frozen=True, slots=True)
class Framework:
    """One line of the registry.

    Attributes
    ----------
    name : str
        As `share` takes it; its module here has the same name.
    types : tuple of str
        Full names of the types that belong to it, subclasses included.
    protocols : tuple of str
        Attributes that claim an object which no type name claims.
    package : str or None
        What must be importable; ``None`` if nothing but NumPy.
    install : str
        What to install if it is not.
    """

    name: str
    types: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    package: str | None = None
    install: str = ""

    def module(self) -> Any:
        """Import the module of this framework, and so the framework, once."""
        found = LOADED.get(self.name)
        if found is None:
            if self.package is not None:
                self._require(self.package)
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
    Framework("torch", ("torch.Tensor",), (), "torch", "numpack[torch]"),
    Framework("dlpack", ("builtins.PyCapsule",), ("__dlpack__",)),
    Framework(
        "arrow",
        ("pyarrow.lib.Array", "pyarrow.lib.ChunkedArray"),
        ("__arrow_c_array__", "__arrow_c_stream__"),
        "pyarrow",
        "numpack[arrow]",
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
        if found is not None:
            return found
    for framework in FRAMEWORKS:
        if any(hasattr(kind, protocol) for protocol in framework.protocols):
            return framework
    return None
