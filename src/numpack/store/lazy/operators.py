"""`ArrayOperators`: operators and ufuncs of `LazyArray`, computed on the mapping."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.mixins import NDArrayOperatorsMixin

from ...errors import UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._core.memory import Array

_REDUCTIONS = {np.add: "sum", np.multiply: "prod", np.minimum: "min", np.maximum: "max"}


class ArrayOperators(NDArrayOperatorsMixin):
    """Operators of an array that cannot be written; results are new ndarrays."""

    __slots__ = ()

    @property
    def _array(self) -> Array:
        """The elements as an ndarray to compute with."""
        raise NotImplementedError

    def _reduce_live(self, method: str, options: Mapping[str, Any]) -> Any:
        """Reduce without a copy of all elements; ``None`` where that is not possible."""
        raise NotImplementedError

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Compute on the mapping; an in-place operator returns a new array."""
        out = kwargs.get("out")
        if out is not None and any(isinstance(each, ArrayOperators) for each in out):
            if len(out) > 1 or out[0] is not inputs[0]:
                raise read_only_error("pass an ndarray as out=")
            del kwargs["out"]
        if (
            method == "reduce"
            and ufunc in _REDUCTIONS
            and isinstance(inputs[0], ArrayOperators)
        ):
            found = inputs[0]._reduce_live(_REDUCTIONS[ufunc], {"axis": 0, **kwargs})  # noqa: SLF001
            if found is not None:
                return found
        if "where" in kwargs:
            kwargs["where"] = _as_ndarray(kwargs["where"])
        return getattr(ufunc, method)(*map(_as_ndarray, inputs), **kwargs)

    def __eq__(self, other: object) -> Any:
        """Compare as ndarrays do, which compare structs as well, unlike the ufunc."""
        return self._array == _as_ndarray(other)

    def __ne__(self, other: object) -> Any:
        """Compare as ndarrays do."""
        return self._array != _as_ndarray(other)

    __hash__ = NDArrayOperatorsMixin.__hash__  # None: arrays are not hashable

    def __contains__(self, value: object) -> bool:
        """Return whether any element equals a value, as NumPy does."""
        return _as_ndarray(value) in self._array

    def __bool__(self) -> bool:
        """Return the truth value of a single element, as NumPy does."""
        return bool(self._array)

    def __int__(self) -> int:
        """Return a single element as an int, as NumPy does."""
        return int(self._array)

    def __float__(self) -> float:
        """Return a single element as a float, as NumPy does."""
        return float(self._array)

    def __complex__(self) -> complex:
        """Return a single element as a complex number, as NumPy does."""
        return complex(self._array)

    def __index__(self) -> int:
        """Return the integer of a 0-d array, as NumPy does."""
        return operator.index(self._array)

    def __format__(self, spec: str) -> str:
        """Format a single element, as NumPy does."""
        return format(self._array, spec) if spec else str(self)

    def __bytes__(self) -> bytes:
        """Return the elements' bytes in C order, as `numpy.ndarray.tobytes` does."""
        return self._array.tobytes()


def read_only_error(fix: str) -> UnsupportedError:
    """Return the error of a call that would change a lazy array."""
    reason = "a LazyArray cannot be written"
    return UnsupportedError(f"{reason}; {fix}", reason=reason, fix=fix)


def _as_ndarray(value: Any) -> Any:
    """Return the ndarray of a lazy array, and any other object unchanged."""
    return value._array if isinstance(value, ArrayOperators) else value  # noqa: SLF001
