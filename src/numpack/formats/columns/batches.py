"""Record batches of arrays, for the formats that are written through Arrow."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from ..._core import dtypes
from ..._core.policy import describe_layout
from ...adapters.arrow.exporting import plan_arrow
from ...errors import UnsupportedError
from ..common.refusals import require_utf8_name, text_error, unsupported_array
from ..common.sources import require_equal_lengths
from ..common.string_attributes import entries_of
from .columns import ZONE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from .._protocol import ArrayInfo, Part

_NOTED = "mMSU"  # kinds of dtypes that an Arrow type does not determine
_SURROGATES = 0xD800, 0xDFFF
_UNITS = ("h", "m", "s", "ms", "us", "ns")  # of times that are not days
_RESERVED = ("pandas", "ARROW:schema", "PARQUET:field_id")


class RecordBatches:
    """A schema for arrays as columns, and the batches of their parts.

    Parameters
    ----------
    arrays : mapping of str to ArrayInfo
    attrs : mapping
        Attributes of the file.
    label : str
        The name of the format.

    Attributes
    ----------
    schema : pyarrow.Schema
        N-D arrays are fixed-shape tensors; strings, bytes and times of several dimensions,
        which may be null or of different lengths, are fixed-size lists.
    texts : list of str
        The columns of strings and bytes.

    Raises
    ------
    UnsupportedError
        Arrow has no type for a dtype, or a name is not encodable as UTF-8.
    InvalidValueError
        An array is 0-d, or the numbers of rows differ.
    """

    def __init__(
        self, arrays: Mapping[str, ArrayInfo], attrs: Mapping[str, Any], label: str
    ) -> None:
        require_equal_lengths(arrays)
        self._label = label
        for name in arrays:
            require_utf8_name(name, label)
        self._types = {name: _value_type(name, info, label) for name, info in arrays.items()}
        fields = [
            pa.field(name, self._convert(name, _no_rows(info)).type, metadata=_notes(info))
            for name, info in arrays.items()
        ]
        self.schema = pa.schema(fields, entries_of(attrs, reserved=_RESERVED) or None)
        self.texts = [name for name, info in arrays.items() if info.dtype.kind in "SU"]

    def batch(self, part: Part) -> pa.RecordBatch:
        """Return rows of all arrays as a record batch, over their memory where possible.

        Raises
        ------
        UnsupportedError
            Arrow cannot hold a value.
        """
        columns = [self._convert(name, part[name]) for name in self.schema.names]
        return pa.RecordBatch.from_arrays(columns, schema=self.schema)

    def _convert(self, name: str, array: Array) -> pa.Array:
        array = np.ascontiguousarray(array).astype(dtypes.native(array.dtype), copy=False)
        try:
            if array.dtype.kind in "SU" and array.ndim == 1 and not has_inner_nul(array):
                return pa.array(array, self._types[name])
            if array.dtype.kind == "S":
                array = array.astype(object)
            return plan_arrow(array, _layout(array), self._types[name]).result()
        except UnsupportedError as error:
            if array.dtype.kind == "U" and _has_surrogate(array):
                raise text_error(name, str(array.dtype), self._label) from error
            msg = f"the values of {name!r} cannot be written: {error.reason}; {error.fix}"
            raise UnsupportedError(msg, reason=error.reason, fix=error.fix) from error
        except UnicodeError as error:
            raise text_error(name, str(array.dtype), self._label) from error


def _has_surrogate(array: Array) -> bool:
    codes = array.view(np.uint32)
    return bool(np.any((codes >= _SURROGATES[0]) & (codes <= _SURROGATES[1])))


def has_inner_nul(array: Array) -> bool:
    """Check whether strings have a NUL before their end, where pyarrow would cut them off."""
    code = np.dtype(np.uint32 if array.dtype.kind == "U" else np.uint8)
    codes = array.view(code).reshape(len(array), array.itemsize // code.itemsize)
    return bool(np.any((codes[:, :-1] == 0) & (codes[:, 1:] != 0)))


def _layout(array: Array) -> str:
    if array.ndim == 1:
        return "flat"
    return "list" if array.dtype.kind in "mMUO" or 0 in array.shape[1:] else "tensor"


def _no_rows(info: ArrayInfo) -> Array:
    return np.empty((0, *info.shape[1:]), info.dtype)  # type: ignore[arg-type]  # known


def _value_type(name: str, info: ArrayInfo, label: str) -> pa.DataType | None:
    """Return the type to ask of Arrow, ``None`` for the one that it chooses itself."""
    if info.dtype.kind == "S":
        return pa.binary()
    if info.dtype.kind == "U":
        return pa.string()
    if not info.dtype.itemsize:
        fix = "leave it out with arrays=, or write a .npy file"
        raise unsupported_array(name, str(info.dtype), label, "its values have no bytes", fix)
    try:
        flat = np.empty(0, dtypes.native(info.dtype))
        type_ = plan_arrow(flat, "flat", None).result().type
    except UnsupportedError as error:
        described = describe_layout(info.dtype, info.shape)  # type: ignore[arg-type]
        why, fix = f"{label} has no type for it", _fix(info.dtype)
        msg = f"{label} cannot hold {name!r}, {described}: {why}; {fix}"
        raise UnsupportedError(msg, reason=why, fix=fix, direction=f"to {label}") from error
    zone = _zone(info)
    return pa.timestamp(type_.unit, zone) if zone and pa.types.is_timestamp(type_) else None


def _zone(info: ArrayInfo) -> str | None:
    """Return the time zone of an array of times, if its attributes state one."""
    zone = info.attrs.get(ZONE) if info.dtype.kind == "M" else None
    return zone if isinstance(zone, str) and np.datetime_data(info.dtype)[0] in _UNITS else None


def _fix(dtype: DType) -> str:
    """Return how to write a dtype that Arrow lacks."""
    if dtypes.is_extension(dtype):
        wider = dtypes.wider(dtype).removeprefix("np.")
        return f"pass dtype={wider!r}, or write a .safetensors file or a store"
    if dtype.names:
        return "write each field as an array of its own, or a .npy file"
    if dtype.kind == "c":
        return "write the real and the imaginary parts as arrays of their own, or a .npy file"
    return "choose another one with dtype=, or write a .npy file"


def _notes(info: ArrayInfo) -> dict[str, str] | None:
    """Return the metadata of a field: the attributes, and the dtype where the type loses it."""
    zone = _zone(info)
    attrs = {name: value for name, value in info.attrs.items() if name != ZONE or not zone}
    noted = {"dtype": info.dtype.str} if info.dtype.kind in _NOTED else {}
    return entries_of(attrs, noted, _RESERVED) or None
