"""Probes: conversions of real arrays between all installed frameworks."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
import warnings
from timeit import Timer
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._core import dtypes
from .._core.mapped_files import is_same_memory
from .._core.memory import aligned_copy
from ..adapters import by_name
from ..errors import InvalidValueError, NumpackError
from ..io import FrameworkInfo, explain, frameworks, share
from .own_calls import namespace, own_call

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._core.dtypes import DType
    from .._core.memory import Array
    from ..io import Target

SHARED, COPIED, REFUSED = "shared", "copied", "refused"
LENGTH = 1000  # elements of the converted array
_BATCH_NS, _BATCHES = 1_000_000, 3


class Probe(NamedTuple):
    """The outcome of one conversion.

    Attributes
    ----------
    source, target : str
        The frameworks, by their names in `share`.
    verdict : {"shared", "copied", "refused"}
        The prediction of `explain`.
    confirmed : bool or None
        Whether the result's memory agrees with the verdict; ``None`` if the memory of the
        source or of the result is not accessible.
    nbytes : int
        Number of bytes copied.
    reason, fix : str
        Why memory was not shared, and what to change.
    ns : int or None
        Duration of a call in nanoseconds, the minimum over several batches.
    own_ns : int or None
        Duration of what a user would call instead, see `own_calls`; ``None`` if there is no
        such call, or if it raises for this array.
    """

    source: str
    target: str
    verdict: str
    confirmed: bool | None
    nbytes: int
    reason: str
    fix: str
    ns: int | None
    own_ns: int | None = None

    @property
    def ratio(self) -> float | None:
        """Duration of `share` divided by that of the frameworks' own call."""
        return self.ns / self.own_ns if self.ns and self.own_ns else None


class Report(NamedTuple):
    """The result of `examine`.

    Attributes
    ----------
    environment : dict of str to str
        Versions of the package, Python and NumPy, and the system.
    dtype : str
    frameworks : tuple of FrameworkInfo
    failures : dict of str to str
        Why an installed framework was not probed: it cannot be imported, or has no arrays of
        the dtype.
    probes : tuple of Probe
    """

    environment: dict[str, str]
    dtype: str
    frameworks: tuple[FrameworkInfo, ...]
    failures: dict[str, str]
    probes: tuple[Probe, ...]

    @property
    def contradictions(self) -> tuple[Probe, ...]:
        """Conversions whose memory contradicts the prediction of `explain`."""
        return tuple(probe for probe in self.probes if probe.confirmed is False)


def examine(dtype: str = "float32") -> Report:
    """Convert an array between all installed frameworks and check where its memory is.

    Parameters
    ----------
    dtype : str, default "float32"
        Name of a NumPy or ml_dtypes dtype.

    Returns
    -------
    Report

    Raises
    ------
    InvalidValueError
        No dtype has this name.
    """
    sample = aligned_copy(np.zeros(LENGTH, _dtype(dtype)))
    known = frameworks()
    installed = [each.name for each in known if each.installed]
    failures: dict[str, str] = {
        name: why for name in installed if (why := import_failure(name))
    }
    usable = [name for name in installed if name not in failures]
    sources: dict[str, Any] = {}
    for name in usable:
        held, why = _held_by(name, sample)
        if held is None:
            failures[name] = f"holds no {dtype}: {why}"
        else:
            sources[name] = held
    probes = tuple(probe(x, name, target) for name, x in sources.items() for target in usable)
    return Report(_environment(), dtype, known, failures, probes)


def probe(x: Any, source: str, target: Target, *, timed: bool = True) -> Probe:
    """Convert `x`, check the result's memory and, if `timed`, measure the duration."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the route has their text
        try:
            route = explain(x, target)
            if not route.supported:
                why, fix = route.reason, route.fix
                return Probe(source, target, REFUSED, None, 0, why, fix, None)
            result = share(x, target)
        except NumpackError as error:
            return Probe(source, target, REFUSED, None, 0, str(error), "", None)
        return Probe(
            source,
            target,
            SHARED if route.shares_memory else COPIED,
            _is_confirmed(x, result, shared=route.shares_memory),
            route.nbytes,
            route.reason,
            route.fix,
            *(_durations(x, source, target) if timed else (None, None)),
        )


def _dtype(name: str) -> DType:
    try:
        return dtypes.of_extension(name) or np.dtype(name)
    except TypeError as error:
        msg = f"no dtype is called {name!r}; pass a name of NumPy or ml_dtypes"
        raise InvalidValueError(msg) from error


def import_failure(name: str) -> str:
    """Import a framework and return a description of the failure, or ``""``."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # keeps TensorFlow from logging
    try:
        by_name(name).module()
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- a broken package may raise any
        cause = error.__cause__ or error  # the framework's own exception
        return f"cannot be imported: {type(cause).__name__}: {cause}"
    return ""


def _held_by(name: Target, sample: Array) -> tuple[Any, str]:
    """Return the sample converted to a framework, or ``None`` and the reason."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return share(sample, name), ""
        except NumpackError as error:
            details = (getattr(error, name, "") for name in ("reason", "fix"))
            return None, "; ".join(filter(None, details)) or str(error)


def _is_confirmed(x: Any, result: Any, *, shared: bool) -> bool | None:
    source, target = _memory_of(x), _memory_of(result)
    if source is None or target is None:
        return None
    return is_same_memory(source.ctypes.data, target.ctypes.data) == shared


def _memory_of(x: Any) -> Array | None:
    """Return a NumPy view of an object's memory; ``None`` if that is empty or needs a copy."""
    try:
        if not explain(x, "numpy").shares_memory:
            return None
        array: Array = share(x, "numpy", copy=False)
    except NumpackError:
        return None
    return array if array.nbytes else None


def _durations(x: Any, source: str, target: Target) -> tuple[int, int | None]:
    """Return the durations of a conversion and of the frameworks' own call in its place."""
    ours, own = _least_ns(lambda: share(x, target)), own_call(source, target)
    if own is None or source == target:
        return ours, None
    run = Timer(own, globals={**namespace(), "x": x}).timeit
    try:
        return ours, _least_ns(lambda: run(1))
    except Exception:  # noqa: BLE001 -- for example, it refuses read-only arrays
        return ours, None


def _least_ns(call: Callable[[], object]) -> int:
    """Measure calls in batches of about a millisecond; return the minimum duration."""
    start = time.perf_counter_ns()
    call()
    count = max(1, _BATCH_NS // max(1, time.perf_counter_ns() - start))
    batches = []
    for _ in range(_BATCHES):
        start = time.perf_counter_ns()
        for _ in range(count):
            call()
        batches.append((time.perf_counter_ns() - start) // count)
    return min(batches)


def _environment() -> dict[str, str]:
    return {
        "numpack": importlib.metadata.version("numpack"),
        "Python": platform.python_version(),
        "NumPy": np.__version__,
        "system": f"{platform.system()} {platform.machine()}",
    }
