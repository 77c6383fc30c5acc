"""Dtypes of NumPy in HDF5, and back.

Source: the h5py documentation of strings, special types and ``opaque_dtype``, and the HDF5
specification of datatypes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np

from ..._core import dtypes
from ..common.attributes import unwritable_text
from ..common.refusals import unsupported_array
from ..common.trees import refuse_read

if TYPE_CHECKING:
    from ..._core.dtypes import DType
    from .._protocol import ArrayInfo

LABEL = "HDF5"
TEXT_MARK = "numpack_dtype"  # of strings that were U<n> of NumPy, as 4 × n bytes of UTF-8
_BYTES_OF_CHARACTER = 4
_WITHOUT_TITLE = 2  # members of the description of a field: its dtype and its offset
MAX_NDIM = 32
RESERVED = frozenset(
    {
        *("DIMENSION_LIST", "DIMENSION_LABELS", "REFERENCE_LIST", "_Netcdf4Dimid"),
        *("_Netcdf4Coordinates", "_nc3_strict", "_NCProperties", TEXT_MARK),
    }
)  # names of attributes by which files of HDF5 and netCDF tell their structure
_OTHERS = "choose another format, such as .npk"


class Stored(NamedTuple):
    """How the values of a dataset become those of an array.

    Attributes
    ----------
    dtype : dtype
        Of the array; of variable-length strings it is ``U0``, until their width is known.
    kind : str
        ``"plain"``, ``"strings"`` of variable length, or ``"text"`` of fixed length.
    """

    dtype: DType
    kind: str = "plain"


def stored_dtype(name: str, dataset: Any, *, is_pytables: bool) -> Stored:
    """Return how a dataset is read.

    Raises
    ------
    UnsupportedError
        NumPy has no such dtype; or the values are references, or of variable length.
    """
    try:
        dtype: DType = dataset.dtype
    except TypeError as error:
        fix = "leave it out with arrays=, or convert it with the program that wrote it"
        raise refuse_read(name, LABEL, f"its type is not one of h5py ({error})", fix) from error
    text = h5py.check_string_dtype(dtype)
    if text is not None and text.length is None:
        return Stored(np.dtype("U0"), "strings")
    if dtype.hasobject:
        raise refuse_read(name, LABEL, *_why_objects(dtype))
    if text is not None and text.encoding == "utf-8" and TEXT_MARK in dataset.attrs:
        return Stored(np.dtype(f"U{dtype.itemsize // _BYTES_OF_CHARACTER}"), "text")
    plain = _without_metadata(dtype)
    return Stored(_with_booleans(dataset.id.get_type(), plain) if is_pytables else plain)


def _why_objects(dtype: DType) -> tuple[str, str]:
    fix = "leave it out with arrays="
    if h5py.check_ref_dtype(dtype) is not None:
        return "it holds references to objects of the file", fix
    if h5py.check_vlen_dtype(dtype) is not None:
        why = "each value is a list of its own length, or an object that was pickled"
        return why, f"{fix}, or write the lists end to end, with their offsets"
    return "it has fields of variable length, or references", fix


def _without_metadata(dtype: DType) -> DType:
    """Return the dtype without the notes that h5py makes on it."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return np.dtype((_without_metadata(base), shape))
    if dtype.names is None or dtype.fields is None:
        return np.dtype(dtype.str)
    return _struct(
        dtype, {name: _without_metadata(dtype.fields[name][0]) for name in dtype.names}
    )


def _struct(dtype: DType, formats: dict[str, DType]) -> DType:
    """Return a struct with other formats of the same sizes."""
    fields: Any = dtype.fields
    layout: Any = {
        "names": list(formats),
        "formats": list(formats.values()),
        "offsets": [fields[name][1] for name in formats],
        "itemsize": dtype.itemsize,
    }
    struct: DType = np.dtype(layout)
    return struct


def _with_booleans(type_id: Any, dtype: DType) -> DType:
    """Return the dtype with booleans for the 8-bit fields in which PyTables writes them."""
    if isinstance(type_id, h5py.h5t.TypeBitfieldID) and dtype == np.uint8:
        return np.dtype(bool)
    if isinstance(type_id, h5py.h5t.TypeArrayID) and dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return np.dtype((_with_booleans(type_id.get_super(), base), shape))
    if not isinstance(type_id, h5py.h5t.TypeCompoundID) or dtype.fields is None:
        return dtype
    members = {
        type_id.get_member_name(number).decode(): type_id.get_member_type(number)
        for number in range(type_id.get_nmembers())
    }
    if members.keys() != dtype.fields.keys():
        return dtype  # complex numbers, which NumPy has
    formats = {
        name: _with_booleans(members[name], dtype.fields[name][0]) for name in dtype.names or ()
    }
    return _struct(dtype, formats)


def file_dtype(name: str, info: ArrayInfo) -> DType:
    """Return the dtype in which h5py writes an array.

    Raises
    ------
    UnsupportedError
        HDF5, or h5py, has none.
    """
    dtype = info.dtype
    check_ndim(name, len(info.shape), LABEL)
    if dtype.kind == "U" and dtype.itemsize:
        text: DType = h5py.string_dtype("utf-8", dtype.itemsize)
        return text
    return _written(name, dtype, dtype)


def check_ndim(name: str, ndim: int, label: str) -> None:
    """Check the number of dimensions of an array.

    Raises
    ------
    UnsupportedError
        HDF5 has fewer.
    """
    if ndim > MAX_NDIM:
        what, why = f"an array of {ndim} dimensions", f"it has up to {MAX_NDIM} dimensions"
        raise unsupported_array(name, what, label, why, _OTHERS)


def _check_fields(name: str, dtype: DType, whole: DType) -> None:
    if any(len(field) > _WITHOUT_TITLE for field in (dtype.fields or {}).values()):
        why, fix = "its fields have no titles", "remove the titles of the fields, or write .npk"
        raise unsupported_array(name, str(whole), LABEL, why, fix)
    why = next(filter(None, map(unwritable_text, dtype.names or ())), "")
    if why:
        raise unsupported_array(name, str(whole), LABEL, why, "rename its fields")


def _written(name: str, dtype: DType, whole: DType) -> DType:
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        check_ndim(name, len(shape), LABEL)
        return np.dtype((_written(name, base, whole), shape))
    if dtype.names is not None and dtype.fields is not None:
        if not dtype.names:
            raise unsupported_array(name, str(whole), LABEL, "it has no fields", _OTHERS)
        fields = dtype.fields
        _check_fields(name, dtype, whole)
        return _struct(dtype, {k: _written(name, fields[k][0], whole) for k in dtype.names})
    if dtypes.is_extension(dtype) or dtype.kind in "OT":
        why, fix = f"it has no type for {dtype}", "cast it with dtype='float32', or write .npk"
        raise unsupported_array(name, str(whole), LABEL, why, fix)
    if dtype.kind == "U":
        why, fix = "strings in it need a fixed number of characters", "use S fields, or .npk"
        raise unsupported_array(name, str(whole), LABEL, why, fix)
    if not dtype.itemsize:
        raise unsupported_array(name, str(whole), LABEL, "its values have no bytes", _OTHERS)
    if dtype.kind in "mM":
        opaque: DType = h5py.opaque_dtype(dtype)
        return opaque
    return dtype
