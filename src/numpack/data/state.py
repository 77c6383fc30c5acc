"""The state of a loader: what has to be known to resume an epoch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from .._core.policy import wrong_type
from ..errors import InvalidValueError

if TYPE_CHECKING:
    from .source import Arrays

VERSION = 1
ORDER = 1  # number of the algorithm in permutation.h and `Sharding`

_SAME = ("order", "shuffle", "seed", "samples", "arrays", "rows", "window", "worker")
_COUNTS = ("epoch", "position", "batches")


def describe_arrays(arrays: Arrays) -> dict[str, Any]:
    """Return dtype and row shape of each array, in types of JSON."""
    return {name: [str(array.dtype), *array.shape[1:]] for name, array in arrays.items()}


def check_state(state: Any, own: Mapping[str, Any]) -> tuple[int, int, int]:
    """Return the epoch, the position and the number of batches of a state that fits.

    Parameters
    ----------
    state : mapping
        As made by `Loader.state_dict`.
    own : mapping
        The state of the loader that it is loaded into.

    Raises
    ------
    WrongTypeError
        `state` is no mapping.
    InvalidValueError
        It was made by a loader with another order or other arrays, or is not a state.
    """
    if not isinstance(state, Mapping):
        wrong_type("Loader.load_state_dict", "a dict made by state_dict", state, "pass that")
    if state.get("version") != VERSION:
        msg = (
            f"this is no state of version {VERSION} of a Loader: its version is "
            f"{state.get('version')!r}; pass a dict made by Loader.state_dict"
        )
        raise InvalidValueError(msg)
    different = [key for key in _SAME if _plain(state.get(key)) != _plain(own.get(key))]
    if different:
        listed = "; ".join(
            f"{key} {state.get(key)!r}, here {own.get(key)!r}" for key in different
        )
        msg = (
            f"the state is of a Loader with other samples or another order: {listed}; "
            "pass the same arguments as when it was made"
        )
        if different in (["samples", "rows"], ["samples"]):
            msg += ", and rows=slice(n) for the first n rows of arrays that have grown"
        raise InvalidValueError(msg)
    epoch, position, batches = (_count(state, key) for key in _COUNTS)
    if position > own["samples"]:
        msg = f"the position {position:,} of the state is beyond {own['samples']:,} samples"
        raise InvalidValueError(msg)
    return epoch, position, batches


def _count(state: Mapping[str, Any], key: str) -> int:
    count = state.get(key)
    if type(count) is not int or count < 0:
        msg = f"the {key} of the state is {count!r}, and must be an int from 0 on"
        raise InvalidValueError(msg)
    return count


def _plain(value: Any) -> Any:
    """Return a value with lists for tuples, as JSON has them."""
    if isinstance(value, Mapping):
        return {key: _plain(each) for key, each in value.items()}
    return [_plain(each) for each in value] if isinstance(value, (list, tuple)) else value
