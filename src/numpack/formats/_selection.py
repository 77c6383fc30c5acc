"""Which arrays are converted, under which names, and to which dtypes."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core import dtypes
from .._core.policy import wrong_type
from ..errors import InvalidValueError, WrongTypeError
from ..store.checks import checked_name
from ..store.format.naming import listed, quoted, unknown_name_error
from ._protocol import ArrayInfo

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .._core.dtypes import DType
    from .._core.memory import Array
    from ._protocol import Part


class Selection:
    """The arrays of a source that are converted.

    Parameters
    ----------
    arrays : mapping of str to ArrayInfo
        Those of the source.
    names : sequence of str or None
        Of those that are chosen, in their order; all by default.
    rename : mapping of str to str, str, or None
        New names; a string is that of the only array.
    dtype : dtype, or mapping of str to dtype, or None
        To which arrays are cast.
    attrs : bool
        Whether the attributes are kept.

    Attributes
    ----------
    names : list of str
        Of the chosen arrays in the source.
    arrays : dict of str to ArrayInfo
        As they are to be written, in native byte order.
    """

    def __init__(
        self,
        arrays: Mapping[str, ArrayInfo],
        names: Sequence[str] | str | None,
        rename: Mapping[str, str] | str | None,
        dtype: Any,
        *,
        attrs: bool,
    ) -> None:
        self.names = _chosen(arrays, names)
        self._new = _new_names(self.names, arrays, rename)
        self._casts = _casts(self.names, arrays, dtype)
        self.arrays: dict[str, ArrayInfo] = {}
        for name in self.names:
            info, new = arrays[name], self._new.get(name, name)
            if new in self.arrays:
                msg = f"two arrays would be called {quoted(new)}; give each its own name"
                raise InvalidValueError(msg)
            written = self._casts.get(name, dtypes.native(info.dtype))
            _require_values(name, info.dtype)
            _require_castable(name, info.dtype, written)
            self.arrays[new] = ArrayInfo(written, info.shape, info.attrs if attrs else {})

    def apply(self, part: Part) -> Part:
        """Rename and cast the arrays of a part, in C order."""
        applied = {}
        for name, array in part.items():
            new = self._new.get(name, name)
            applied[new] = cast(name, array, self.arrays[new].dtype)
        return applied


def _chosen(arrays: Mapping[str, ArrayInfo], names: Sequence[str] | str | None) -> list[str]:
    if names is None:
        return list(arrays)
    chosen = [names] if isinstance(names, str) else list(names)
    for name in chosen:
        if not isinstance(name, str):
            wrong_type("convert", "names of arrays", name, "pass a list of str")
        if name not in arrays:
            raise unknown_name_error(name, arrays)
    if len(set(chosen)) < len(chosen):
        msg = "an array is named twice in arrays=; name each once"
        raise InvalidValueError(msg)
    return chosen


def _new_names(
    names: Sequence[str],
    arrays: Mapping[str, ArrayInfo],
    rename: Mapping[str, str] | str | None,
) -> dict[str, str]:
    if isinstance(rename, str):
        if len(names) != 1:
            msg = (
                f"{quoted(rename)} is the name of one array, and there are {len(names):,}: "
                f"{listed(list(names))}; choose one with arrays=, or use rename={{name: new}}"
            )
            raise InvalidValueError(msg)
        rename = {names[0]: rename}
    new = {}
    for name, given in _of_arrays("rename", names, arrays, rename or {}).items():
        new[name] = checked_name(given)
    return new


def _casts(
    names: Sequence[str], arrays: Mapping[str, ArrayInfo], dtype: Any
) -> dict[str, DType]:
    if dtype is None:
        return {}
    if isinstance(dtype, Mapping):
        given = _of_arrays("dtype", names, arrays, dtype)
    else:
        given = dict.fromkeys(names, dtype)
    return {name: dtypes.native(dtype_of(each)) for name, each in given.items()}


def _of_arrays(
    option: str, names: Sequence[str], arrays: Mapping[str, ArrayInfo], given: Any
) -> dict[str, Any]:
    """Check that an option names arrays that are converted."""
    if not isinstance(given, Mapping):
        wrong_type("convert", f"a mapping of names as {option}", given, "pass {name: …}")
    for name in given:
        if name not in arrays:
            raise unknown_name_error(name, arrays)
        if name not in names:
            msg = f"{option}= names {quoted(name)}, which arrays= leaves out; name it in both"
            raise InvalidValueError(msg)
    return dict(given)


def dtype_of(given: Any) -> DType:
    """Return a dtype; those of ml_dtypes also by name."""
    known = dtypes.of_extension(given) if isinstance(given, str) else None
    if known is not None:
        return known
    try:
        found: DType = np.dtype(given)
    except TypeError:
        if isinstance(given, str):
            msg = (
                f"convert expects a dtype, and no dtype is called {given!r}; pass a name such "
                "as 'float32'"
            )
            raise WrongTypeError(msg) from None
        wrong_type("convert", "a dtype", given, "pass a name such as 'float32'")
    return found


def _require_values(name: str, dtype: DType) -> None:
    if dtype.hasobject:
        msg = (
            f"{quoted(name)} holds Python objects, which would have to be unpickled: that runs "
            "any code that the file names; leave it out with arrays=, or, if you trust the "
            "file, load it with its own library and save numbers"
        )
        raise InvalidValueError(msg)


def _require_castable(name: str, before: DType, after: DType) -> None:
    """Check that values of one dtype can be cast to another, whatever they are."""
    if before == after:
        return
    try:
        with warnings.catch_warnings(), contextlib.suppress(ValueError):
            warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
            np.zeros(1, before).astype(after)
    except TypeError as error:
        msg = f"{quoted(name)} is {before} and cannot be cast to {after}; choose another dtype"
        raise InvalidValueError(msg) from error


def cast(name: str, array: Array, dtype: DType) -> Array:
    """Cast an array in C order; the same array if nothing has to be done.

    Raises
    ------
    InvalidValueError
        A value is out of the range of the new dtype, or an integer would lose its fraction.
    """
    if array.dtype == dtype:
        return array if array.flags.c_contiguous else array.copy(order="C")
    if dtypes.native(array.dtype) == dtype:
        return array.astype(dtype, order="C")
    before = array
    if array.dtype.kind == "c" and dtype.kind not in "cSU" and not array.imag.any():
        before = array.real
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore", np.exceptions.ComplexWarning)
            made = before.astype(dtype, order="C")
            is_kept = _is_kept(before, made)
    except (TypeError, ValueError, OverflowError) as error:
        msg = f"{quoted(name)} cannot be cast to {dtype}: {error}"
        raise InvalidValueError(msg) from error
    if not is_kept:
        msg = (
            f"{quoted(name)} has values that {dtype} cannot hold, among those from "
            f"{array.reshape(-1)[0]!r} on; choose a wider dtype"
        )
        raise InvalidValueError(msg)
    return made


def _is_kept(before: Array, after: Array) -> bool:
    """Return whether a cast has changed no value, but by rounding floats."""
    if before.dtype.kind not in "mM" and np.can_cast(before.dtype, after.dtype, "safe"):
        return True
    if _is_float(after.dtype) and (before.dtype.kind in "biufmMSU" or _is_float(before.dtype)):
        if before.dtype.kind in "SU":
            return True
        return bool((np.isfinite(after) | ~np.isfinite(before)).all())
    back = after.astype(before.dtype)
    same = back == before
    if before.dtype.kind in "fcmM":
        same |= (back != back) & (before != before)  # noqa: PLR0124 -- NaN or NaT
    return bool(np.all(same))


def _is_float(dtype: DType) -> bool:
    if dtypes.is_extension(dtype):
        return "float" in dtype.name
    return dtype.kind in "fc"
