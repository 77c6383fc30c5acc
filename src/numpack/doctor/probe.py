"""Probing: every framework that is installed to every other, with real arrays."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from .._core import dtypes
from .._core.mapped_files import is_same_byte
from .._core.memory import aligned_copy
from ..adapters import by_name
from ..errors import InvalidValueError, NumpackError
from ..io import FrameworkInfo, explain, frameworks, share

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._core.dtypes import DType
    from .._core.memory import Array
    from ..io import Target

SHARED, COPIED, REFUSED = "shared", "copied", "refused"
LENGTH = 1000  # values of the array that is handed over
_BATCH_NS, _BATCHES = 1_000_000, 3


class Probe(NamedTuple):
    """One hand-over that was done.

    Attributes
    ----------
    source, target : str
        The frameworks, as `share` names them.
    verdict : {"shared", "copied", "refused"}
        What `explain` says.
    confirmed : bool or None
        Whether the memory is where the verdict says, the source's or other; ``None`` where
        one side has no memory that can be looked at from outside.
    nbytes : int
        Bytes that were copied.
    reason, fix : str
        Why it was not shared, and what to change.
    ns : int or None
        Nanoseconds that a call takes, the least of several batches.
    """

    source: str
    target: str
    verdict: str
    confirmed: bool | None
    nbytes: int
    reason: str
    fix: str
    ns: int | None


class Report(NamedTuple):
    """What `examine` found.

    Attributes
    ----------
    environment : dict of str to str
        The versions of what everything runs on.
    dtype : str
    frameworks : tuple of FrameworkInfo
    failures : dict of str to str
        Why a framework that is installed is not probed: it cannot be imported, or holds no
        array of that dtype.
    probes : tuple of Probe
    """

    environment: dict[str, str]
    dtype: str
    frameworks: tuple[FrameworkInfo, ...]
    failures: dict[str, str]
    probes: tuple[Probe, ...]

    @property
    def contradictions(self) -> tuple[Probe, ...]:
        """Hand-overs of which `explain` told something else than the memory does."""
        return tuple(probe for probe in self.probes if probe.confirmed is False)


def examine(dtype: str = "float32") -> Report:
    """Hand an array of every installed framework over to every other, and look at the memory.

    Parameters
    ----------
    dtype : str, default "float32"
        A name that NumPy or ml_dtypes has.

    Returns
    -------
    Report

    Raises
    ------
    InvalidValueError
        There is no such dtype.
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
    """Hand `x` over to see what happens, and, if `timed`, often to see how long it takes."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what they say is in the route
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
            _least_ns(lambda: share(x, target)) if timed else None,
        )


def _dtype(name: str) -> DType:
    try:
        return dtypes.of_extension(name) or np.dtype(name)
    except TypeError as error:
        msg = f"no dtype is called {name!r}; NumPy's and ml_dtypes' names are known"
        raise InvalidValueError(msg) from error


def import_failure(name: str) -> str:
    """Import a framework; say what was wrong if it does not work."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # or TensorFlow tells stderr of its day
    try:
        by_name(name).module()
    except (Exception, SystemExit) as error:  # noqa: BLE001 -- broken ones raise anything
        cause = error.__cause__ or error  # what the framework itself has raised
        return f"cannot be imported: {type(cause).__name__}: {cause}"
    return ""


def _held_by(name: Target, sample: Array) -> tuple[Any, str]:
    """Give the sample as an array of a framework, or say why there is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return share(sample, name), ""
        except NumpackError as error:
            told = (getattr(error, name, "") for name in ("reason", "fix"))
            return None, "; ".join(filter(None, told)) or str(error)


def _is_confirmed(x: Any, result: Any, *, shared: bool) -> bool | None:
    source, target = _seen(x), _seen(result)
    if source is None or target is None:
        return None
    return is_same_byte(source.ctypes.data, target.ctypes.data) == shared


def _seen(x: Any) -> Array | None:
    """View an array's memory from NumPy, if that takes no copy, and if there is any memory."""
    try:
        if not explain(x, "numpy").shares_memory:
            return None
        array: Array = share(x, "numpy", copy=False)
    except NumpackError:
        return None
    return array if array.nbytes else None


def _least_ns(call: Callable[[], object]) -> int:
    """Time calls in batches of about a millisecond, and take the quickest."""
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
