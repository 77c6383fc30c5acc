"""Oracles: each framework as its own users see it, without this package.

One module per framework, each with

``make(values)``
    an array of the framework with the values of an ndarray, made by the framework's own calls;
    ``None`` if the framework cannot hold values of that dtype unchanged;
``address(array)``
    the address of its first value, from the framework itself; ``None`` where it has no memory
    of its own (a query);
``values(array)``
    its values as an ndarray of the equivalent NumPy dtype, read by the framework's own calls,
    with or without a copy.

The tests of all pairs are made from them.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def oracle(name: str) -> ModuleType:
    """Import the module of a framework."""
    return importlib.import_module(f"{__name__}.{name}")


NAMES = sorted(module.name for module in pkgutil.iter_modules(__path__))
SOURCES_ONLY = frozenset({"safetensors"})  # files, which are written, not shared
TARGETS = [name for name in NAMES if name not in SOURCES_ONLY]
