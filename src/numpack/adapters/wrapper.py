"""Narwhals and Keras objects, which wrap an array or a table of another framework.

Their packages are found by name and not imported. The wrapped object is converted in place of
the wrapper, because it describes its memory better than a conversion by the wrapper.

Source: the Narwhals documentation of ``to_native``, the Keras documentation of ``Variable``.
"""

from __future__ import annotations

from typing import Any

from .._core.policy import refuse

LABEL = "wrapper"


def unwrap(obj: Any) -> Any:
    """Return the wrapped object, or the object itself if it wraps no array."""
    if type(obj).__module__.partition(".")[0] == "narwhals" or _is_of(obj, "narwhals"):
        return obj.to_native() if hasattr(obj, "to_native") else obj
    return _variable_value(obj)


def _is_of(obj: Any, package: str) -> bool:
    return any(base.__module__.partition(".")[0] == package for base in type(obj).__mro__)


def _variable_value(variable: Any) -> Any:
    """Return the backend's array of a Keras variable, without the cast of `value`."""
    if not hasattr(type(variable), "assign") or not hasattr(variable, "_value"):
        return variable
    held = variable._value  # noqa: SLF001 -- `value` may be a cast or a temporary
    if held is None:
        why, fix = "it has no value yet", "build its layer or model first"
        refuse("from Keras", type(variable).__name__, why, fix)
    return held
