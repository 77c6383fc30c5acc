"""Arguments of `Loader`: checked, and in the form that is used."""

from __future__ import annotations

import operator
from typing import Any

from .._core.policy import wrong_type
from ..errors import InvalidValueError
from ..store.format.data_files import thread_count

_MOST_RANKS = 1 << 31
_MOST_THREADS = 4  # by default: more do not copy faster than memory is


def as_integer(name: str, value: Any, least: int | None) -> int:
    """Return an argument as an int."""
    try:
        number = operator.index(value)
    except TypeError:
        wrong_type("Loader", f"{name}= an int", value, "pass an int")
    if least is not None and number < least:
        msg = f"Loader({name}={number}): it has to be at least {least}"
        raise InvalidValueError(msg)
    return number


def as_window(window: int | None, stride: int | None) -> tuple[int, int]:
    """Return the rows of a window, 0 without windows, and those from one to the next."""
    if window is None:
        if stride is not None:
            msg = f"Loader(stride={stride}) needs window=; pass it, or leave stride out"
            raise InvalidValueError(msg)
        return 0, 1
    window = as_integer("window", window, 1)
    return window, window if stride is None else as_integer("stride", stride, 1)


def check_combination(*, window: int | None, offsets: str | None, pad: Any) -> None:
    """Refuse arguments that exclude or need each other."""
    if offsets is not None and window:
        msg = "Loader takes window= or offsets=, not both; leave one out"
        raise InvalidValueError(msg)
    if pad is not None and offsets is None:
        msg = "Loader(pad=) fills ragged samples; pass their offsets= too, or leave it out"
        raise InvalidValueError(msg)


def as_rank(rank: int | None, world_size: int | None) -> tuple[int, int] | None:
    """Return the rank and the number of ranks; ``None`` if neither was passed."""
    if rank is None and world_size is None:
        return None
    if rank is None or world_size is None:
        msg = "Loader takes rank= and world_size= together; pass both, or neither"
        raise InvalidValueError(msg)
    world_size = as_integer("world_size", world_size, 1)
    if world_size > _MOST_RANKS:
        msg = f"Loader(world_size={world_size}): there may be at most {_MOST_RANKS:,} ranks"
        raise InvalidValueError(msg)
    rank = as_integer("rank", rank, 0)
    if rank >= world_size:
        msg = f"Loader(rank={rank}, world_size={world_size}): ranks count from 0"
        raise InvalidValueError(msg)
    return rank, world_size


def thread_count_of(threads: int | None) -> int:
    """Return the number of background threads of a pass."""
    if threads is not None:
        return as_integer("threads", threads, 1)
    return max(1, min(_MOST_THREADS, thread_count() - 1))


def names_with_offsets(names: Any, offsets: str | None) -> Any:
    """Return the names of the arrays to be read, with that of the offsets."""
    if offsets is None or names is None:
        return names
    listed = [names] if isinstance(names, str) else names
    return [*listed, offsets] if isinstance(listed, list | tuple) else names
