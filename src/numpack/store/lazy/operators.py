"""`ArrayOperators`: operators and ufuncs of `LazyArray`, computed on the mapping."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.lib.mixins import NDArrayOperatorsMixin

from ...errors import UnsupportedError

if TYPE_CHECKING:
    import numpy as np

    from ..._core.memory import Array


class ArrayOperators(NDArrayOperatorsMixin):
    """Operators of an array that cannot be written; results are new ndarrays."""

    __slots__ = ()

    @property
    def _array(self) -> Array:
        """The elements as an ndarray to compute with."""
        raise NotImplementedError

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **kwargs: Any) -> Any:
        """Compute on the mapping; an in-place operator returns a new array."""
        out = kwargs.get("out")
        if out is not None and any(isinstance(each, ArrayOperators) for each in out):
            if len(out) > 1 or out[0] is not inputs[0]:
                reason = "a LazyArray cannot be written"
                fix = "pass an ndarray as out="
                raise UnsupportedError(f"{reason}; {fix}", reason=reason, fix=fix)
            del kwargs["out"]
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

    def __bytes__(self) -> bytes:
        """Return the elements' bytes in C order, as `numpy.ndarray.tobytes` does."""
        return self._array.tobytes()


def _as_ndarray(value: Any) -> Any:
    """Return the ndarray of a lazy array, and any other object unchanged."""
    return value._array if isinstance(value, ArrayOperators) else value  # noqa: SLF001
