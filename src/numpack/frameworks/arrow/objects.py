"""Python objects on the way to Arrow: only what its inference does not bend.

pyarrow infers one type for all objects and makes the others fit: a float16 among integers
loses its fraction, a datetime among dates its time, a zone among naive times its meaning.
So objects have to be of one kind, lists and dictionaries inside of them too.
"""

from __future__ import annotations

import datetime as dt
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

_KINDS: dict[str, tuple[type, ...]] = {
    "bool": (bool, np.bool_),  # before int, which it is a kind of
    "int": (int, np.integer),
    "float": (float, np.floating),
    "str": (str,),
    "bytes": (bytes,),
    "list": (list, tuple, np.ndarray),
    "dict": (dict,),
}
_TOGETHER = ({"int", "float"}, {"int", "Decimal"})  # pyarrow refuses what does not fit exactly


def check_one_kind(objects: Iterable[Any]) -> None:
    """Raise `ValueError` unless all objects, the missing ones aside, are of one kind."""
    present = [each for each in objects if not _is_missing(each)]
    kinds = {_kind(each) for each in present}
    if len(kinds) > 1 and kinds not in _TOGETHER:
        msg = f"they are of several kinds: {', '.join(sorted(kinds))}"
        raise ValueError(msg)
    if kinds == {"time with zone"}:
        msg = "Arrow has no times of day with a zone"
        raise ValueError(msg)
    if kinds == {"list"}:
        check_one_kind(chain.from_iterable(present))
    elif kinds == {"dict"}:
        for key in dict.fromkeys(chain.from_iterable(present)):
            check_one_kind(each.get(key) for each in present)


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType")  # of pandas


def _kind(value: Any) -> str:
    if isinstance(value, np.float16 | np.datetime64 | np.timedelta64):
        return str(value.dtype)
    if isinstance(value, np.ndarray) and value.dtype.kind != "O":
        return f"array of {value.dtype}"
    if isinstance(value, dt.datetime | dt.time):
        name = "datetime" if isinstance(value, dt.datetime) else "time"
        return name if value.tzinfo is None else f"{name} with zone"
    for name, kinds in _KINDS.items():
        if isinstance(value, kinds):
            return name
    return type(value).__name__
