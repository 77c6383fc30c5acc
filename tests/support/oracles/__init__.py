"""Frameworks as their own users see them: arrays made, found and read without this package.

One module a framework, each with

``make(values)``
    an array of the framework that holds the values of an ndarray, made by the framework's own
    calls; ``None`` if the framework cannot hold values of that dtype as they are;
``address(array)``
    where its first value lies, told by the framework itself; ``None`` where it has no memory
    of its own (a query);
``values(array)``
    its values as an ndarray of the dtype that NumPy has for them, read by the framework's own
    calls, whether those copy or not.

The tables of tests that go over all pairs are made of them.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def oracle(name: str) -> ModuleType:
    """The module of one framework."""
    return importlib.import_module(f"{__name__}.{name}")


NAMES = sorted(module.name for module in pkgutil.iter_modules(__path__))
SOURCES_ONLY = frozenset({"safetensors"})  # files, which are written and not shared
TARGETS = [name for name in NAMES if name not in SOURCES_ONLY]
