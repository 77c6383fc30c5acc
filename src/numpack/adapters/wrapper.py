"""Objects that wrap an array or a table of another framework: those of Narwhals and Keras.

They are known by the names of their packages, which are not imported. What they wrap takes
their place, because it knows its memory better than what they make of it.

Source: the Narwhals documentation of ``to_native``, the Keras documentation of ``Variable``.
"""

from __future__ import annotations

from typing import Any

from .._core.policy import refuse

LABEL = "wrapper"


def unwrap(obj: Any) -> Any:
    """Return what an object wraps; the object itself if it wraps nothing that can be shared."""
    if type(obj).__module__.partition(".")[0] == "narwhals" or _is_of(obj, "narwhals"):
        return obj.to_native() if hasattr(obj, "to_native") else obj
    return _value(obj)


def _is_of(obj: Any, package: str) -> bool:
    return any(base.__module__.partition(".")[0] == package for base in type(obj).__mro__)


def _value(variable: Any) -> Any:
    """Return the array of a Keras variable: of its backend, and not a cast of it."""
    if not hasattr(type(variable), "assign") or not hasattr(variable, "_value"):
        return variable
    held = variable._value  # noqa: SLF001 -- `value` casts it, or makes one that is not kept
    if held is None:
        why, fix = "it has no value yet", "build its layer or model first"
        refuse("from Keras", type(variable).__name__, why, fix)
    return held
