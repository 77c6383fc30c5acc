"""Attributes of files as JSON values, and back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ...errors import InvalidValueError, NumpackError, UnsupportedError
from ...store.checks import checked_attribute
from ...store.format.log.attributes import LIMIT
from ...store.format.naming import quoted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator

    from ..._core.dtypes import DType

DIMS = "dims"
_OF_THE_VALUES = frozenset(
    {"_FillValue", "missing_value", "valid_min", "valid_max", "valid_range"}
)
_KINDS = "it holds numbers, strings, and lists of either"
_LIST_LIMIT = 60_000  # bytes of an attribute; HDF5 takes up to 64 KiB with its description
_STRING = 16  # bytes of a string of variable length in a list
_NAMED_FLOATS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


class LateAttributes(Mapping[str, Any]):
    """Attributes that are read when they are needed, so that those left out raise nothing.

    Parameters
    ----------
    read : callable
        Returns them, or raises.
    """

    def __init__(self, read: Callable[[], Mapping[str, Any]]) -> None:
        self._read = read
        self._values: Mapping[str, Any] | None = None

    def _found(self) -> Mapping[str, Any]:
        if self._values is None:
            self._values = self._read()
        return self._values

    def __getitem__(self, key: str) -> Any:
        """Return a value."""
        return self._found()[key]

    def __iter__(self) -> Iterator[str]:
        """Iterate over the names."""
        return iter(self._found())

    def __len__(self) -> int:
        """Return the number of attributes."""
        return len(self._found())


def json_attributes(
    items: Iterable[tuple[str, Any]], owner: str, skipped: frozenset[str] = frozenset()
) -> dict[str, Any]:
    """Return attributes of a file as JSON values.

    NaN and the infinities become the strings ``"NaN"``, ``"Infinity"`` and ``"-Infinity"``, as
    Zarr writes them in JSON, because JSON has no numbers for them.

    Parameters
    ----------
    items : iterable of (str, object)
    owner : str
        The array, or the file, for messages.
    skipped : frozenset of str
        Names that are left out.

    Raises
    ------
    UnsupportedError
        JSON cannot hold a value.
    """
    found = {}
    for key, value in items:
        if key in skipped:
            continue
        try:
            found[key] = checked_attribute(key, _Plain().of(value))
        except (NumpackError, UnicodeDecodeError, RecursionError) as error:
            reason = str(error)
            fix = "leave the attributes out with attrs=False"
            msg = f"an attribute of {owner} cannot be read: {reason}; {fix}"
            raise UnsupportedError(msg, reason=reason, fix=fix) from error
    return found


class _Plain:
    """Conversion of one value to one without NumPy's types and bytes.

    The members are counted: a list that contains another one twice, and so on, has more of
    them than memory has room for.
    """

    def __init__(self) -> None:
        self._left = LIMIT

    def of(self, value: Any) -> Any:
        """Return a plain value; floats that JSON lacks become strings."""
        self._left -= 1
        if self._left < 0:
            raise InvalidValueError(f"it has more than {LIMIT:,} members")
        if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufSUOT":
            value = value.tolist()
        if isinstance(value, bytes):
            return value.decode()
        if isinstance(value, float) and not math.isfinite(value):
            return next(
                name for name, each in _NAMED_FLOATS.items() if repr(each) == repr(value)
            )
        if isinstance(value, list | tuple):
            return [self.of(each) for each in value]
        if isinstance(value, dict):
            return {str(key): self.of(each) for key, each in value.items()}
        return value


def dims_of(attrs: Mapping[str, Any], ndim: int) -> list[str] | None:
    """Return the names of the axes if the attribute `dims` is a list of one for each."""
    dims = attrs.get(DIMS)
    if not isinstance(dims, list | tuple) or len(dims) != ndim:
        return None
    return list(dims) if all(isinstance(dim, str) and dim for dim in dims) else None


def native_attribute(
    owner: str,
    key: str,
    value: Any,
    dtype: DType,
    label: str,
    reserved: Collection[str],
    *,
    is_netcdf: bool = False,
) -> Any:
    """Return a JSON value as HDF5 and netCDF hold it: a number, a string, or an array of them.

    ``_FillValue``, ``missing_value`` and the valid range take the dtype of the array if that
    holds them exactly.

    Raises
    ------
    UnsupportedError
        It is a dictionary, a nested list, or a list of different kinds of values; or its name
        is reserved, or a string has no code.
    """
    why = unwritable_text(key) or ("" if key else "it has no name")
    if key in reserved:
        why = "the format uses this name itself"
    if why:
        raise _refused(owner, key, why, label)
    if key in _OF_THE_VALUES and dtype.kind in ("iuf" if is_netcdf else "iufb"):
        found = _of_dtype(value, dtype)
        if found is not None:
            return found
    if value is None and not is_netcdf:
        return None
    if is_netcdf and (isinstance(value, bool) or value == [] or _has_booleans(value)):
        raise _refused(owner, key, _KINDS, label)
    found, why = _array(value) if isinstance(value, list) else _scalar(value)
    if why:
        raise _refused(owner, key, why, label)
    return found


def _scalar(value: Any) -> tuple[Any, str]:
    """Return a value as a number or a string, and why that cannot be; empty if it can."""
    if isinstance(value, str):
        return value, unwritable_text(value)
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return None, "it holds integers of 64 bits"
    return (_number(value), "") if isinstance(value, int | float) else (None, _KINDS)


def unwritable_text(text: str) -> str:
    """Return why a string cannot be one of HDF5 or netCDF; empty if it can."""
    if "\0" in text:
        return "a NUL character would end the string or the name that it is in"
    try:
        text.encode()
    except UnicodeEncodeError as error:
        return f"UTF-8 has no code for {text[error.start]!r}, a surrogate"
    return ""


def _refused(owner: str, key: str, why: str, label: str) -> UnsupportedError:
    fix = "leave the attributes out with attrs=False"
    msg = f"the attribute {quoted(key)} of {owner} cannot be written to {label}: {why}; {fix}"
    return UnsupportedError(msg, reason=why, fix=fix, direction=f"to {label}")


def _array(value: list[Any]) -> tuple[Any, str]:
    """Return a list as an array or a list of strings, and why that cannot be."""
    kinds = {type(each) for each in value}
    if not (kinds <= {str} or kinds <= {int, float} or kinds == {bool}):
        return None, _KINDS
    nbytes = len(value) * (_STRING if kinds == {str} else 8)
    if nbytes > _LIST_LIMIT:
        return None, f"its lists take up to {_LIST_LIMIT:,} bytes, and this {nbytes:,}"
    if kinds <= {str}:
        return value, next(filter(None, map(unwritable_text, value)), "")
    return _numbers(value, kinds)


def _numbers(value: list[Any], kinds: set[type]) -> tuple[Any, str]:
    dtype = np.dtype("f8" if float in kinds else "i8")
    if kinds == {bool}:
        dtype = np.dtype(bool)
    elif kinds == {int} and max(value) >= 1 << 63:
        dtype = np.dtype("u8")
    try:
        array = np.array(value, dtype)
    except OverflowError:
        return None, "it holds integers of 64 bits, signed or not"
    exact = array.tolist() == value
    return (
        array,
        "" if exact else "it has no lists of integers and floats, which would be rounded",
    )


def _has_booleans(value: Any) -> bool:
    return isinstance(value, list) and any(isinstance(each, bool) for each in value)


def _number(value: float) -> Any:
    if isinstance(value, int) and not isinstance(value, bool):
        return np.uint64(value) if value >= 1 << 63 else np.int64(value)
    return np.bool_(value) if isinstance(value, bool) else np.float64(value)


def _of_dtype(value: Any, dtype: DType) -> Any:
    """Return numbers in a dtype; ``None`` if it cannot hold them."""
    several = isinstance(value, list)
    values = value if several else [value]
    numbers = [
        _NAMED_FLOATS.get(each, each) if isinstance(each, str) else each for each in values
    ]
    is_bool = dtype.kind == "b"
    if not numbers or not all(
        isinstance(each, int | float) and isinstance(each, bool) == is_bool for each in numbers
    ):
        return None
    try:
        with np.errstate(all="ignore"):
            found = np.array(numbers).astype(dtype)
    except (OverflowError, ValueError):
        return None
    exact = all(_same(*pair) for pair in zip(found.tolist(), numbers, strict=True))
    return None if not exact else found if several else found[0]


def _same(one: Any, other: Any) -> bool:
    return bool(one == other or (math.isnan(one) and math.isnan(other)))


def check_dims(name: str, attrs: Mapping[str, Any], shape: tuple[int | None, ...]) -> list[str]:
    """Return the names of the axes: the attribute `dims`, or ``x_dim_0``, ``x_dim_1``, ….

    Raises
    ------
    InvalidValueError
        The attribute does not fit the shape.
    """
    if DIMS not in attrs:
        return [f"{name}_dim_{axis}" for axis in range(len(shape))]
    dims = dims_of(attrs, len(shape))
    if dims is None or len(set(dims)) != len(dims) or any(map(unwritable_text, dims)):
        msg = (
            f"the attribute 'dims' of {quoted(name)} is {attrs[DIMS]!r:.200}, and its shape is "
            f"{shape}: a list of {len(shape)} different names is needed; set "
            f"npk.attrs[{name!r}]['dims'], or remove it"
        )
        raise InvalidValueError(msg)
    return dims
