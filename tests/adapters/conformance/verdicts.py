"""Verdicts, warnings and threads."""

from __future__ import annotations

import threading
import warnings
from typing import Any

import numpy as np
from support.arrays import (
    LOWPREC,
    NATIVE,
    OTHERS,
    TIMES,
    aligned,
    dtype_of,
)

from numpack import (
    CopyWarning,
    share,
)

ALL = [*NATIVE, *LOWPREC, *TIMES, *OTHERS]
SHARE, COPY, REFUSE = "share", "copy", "refuse"


def recorded(*args: Any, **options: Any) -> tuple[Any, list[warnings.WarningMessage]]:
    """Return the result of `share` and its warnings, each of which names this file."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = share(*args, **options)
    for warning in caught:
        assert warning.filename == __file__, "a warning points at the caller's line"
    return result, caught


def quietly(*args: Any, **options: Any) -> tuple[Any, bool]:
    """Return the result of `share` and whether it warned of a copy, its only warning."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("error")
        warnings.simplefilter("always", CopyWarning)
        result = share(*args, **options)
    return result, bool(caught)


def verdict(route: Any) -> str:
    """Return what a route promises."""
    return REFUSE if not route.supported else SHARE if route.shares_memory else COPY


def in_another_thread(function: Any) -> None:
    """Run a function in another thread and wait for it."""
    thread = threading.Thread(target=function)
    thread.start()
    thread.join()


def arrow_verdict(
    name: str,
    layout: str,
    array: np.ndarray,
    units: tuple[str, ...] = ("s", "ms", "us", "ns"),
) -> str:
    """Return the verdict for Arrow memory, whose times have the given units."""
    kind = dtype_of(name).kind
    if kind == "c" or name in (*LOWPREC, "longdouble", "clongdouble", "struct"):
        return REFUSE
    if kind in "mM":
        unit, count = np.datetime_data(dtype_of(name))
        if unit in ("ps", "fs", "as", "generic") or (kind == "m" and unit in "YM"):
            return REFUSE
        if unit not in units or count != 1:
            return COPY
    if kind in "bUTO":
        return COPY
    shared = array.flags.c_contiguous and array.dtype.isnative and aligned(name, layout)
    return SHARE if shared else COPY
