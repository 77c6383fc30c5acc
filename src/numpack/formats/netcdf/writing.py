"""netCDF files that are written: their dimensions, variables and attributes.

Source: the h5netcdf documentation, the netCDF-4 data model, and the CF conventions, sections
4.4 (time coordinates) and 3.1 (units).
"""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, NamedTuple

import h5netcdf
import h5py
import numpy as np

from ..._core import dtypes
from ...errors import InvalidValueError
from ...store.format.naming import quoted
from ..common.attributes import DIMS, check_dims, native_attribute
from ..common.chunks import chunk_bytes, chunk_shape
from ..common.new_files import NewFile
from ..common.refusals import text_error, unsupported_array
from ..common.trees import checked_paths
from ..hdf5.space import Space, bytes_of_chunks, need_of_metadata, need_of_rows
from ..hdf5.types import RESERVED, TEXT_MARK, check_ndim

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from .._protocol import ArrayInfo, Part

LABEL = "netCDF"
_CHUNK_BYTES = 1 << 20
_UNITS = {
    "D": "days",
    "h": "hours",
    "m": "minutes",
    "s": "seconds",
    "ms": "milliseconds",
    "us": "microseconds",
    "ns": "nanoseconds",
}
_RESERVED = RESERVED | {"CLASS", "NAME"}
_PLAIN = "bhilqBHILQfdFD"
_REFERENCE = 16  # bytes of a string of variable length, beside it
_NAT = np.int64(np.iinfo("i8").min)


class _Plan(NamedTuple):
    """How an array is written.

    Attributes
    ----------
    group, base : str
        Where, and under which name.
    dims : sequence of str
    dtype : dtype
        That h5netcdf is told.
    encoded : str
        ``"text"``, ``"integers"`` for times and booleans, or ``"plain"``.
    attrs : mapping
        As h5netcdf writes them.
    fill : number or None
        Its attribute ``_FillValue``.
    chunk : tuple of int or None
    shape : tuple of int
    """

    group: str
    base: str
    dims: list[str]
    dtype: DType
    encoded: str
    attrs: dict[str, Any]
    fill: Any
    chunk: tuple[int, ...] | None
    shape: tuple[int, ...]

    def nbytes_of_chunks(self) -> int:
        """Return how many bytes HDF5 may keep of the variable before it writes them."""
        itemsize = max(self.dtype.itemsize, _REFERENCE)
        return bytes_of_chunks(self.shape, self.chunk, itemsize) if self.chunk else itemsize


class Variables:
    """The variables of a file, checked before anything is written.

    Parameters
    ----------
    arrays : mapping of str to ArrayInfo
    attrs : mapping
        Of the file.
    options : mapping
        Of ``create_variable``.
    encode : bool
        Whether times and booleans are written as integers.

    Raises
    ------
    UnsupportedError
        netCDF cannot hold a dtype, a name or an attribute.
    InvalidValueError
        The attribute `dims` does not fit, or a dimension has two lengths.
    """

    def __init__(
        self,
        arrays: Mapping[str, ArrayInfo],
        attrs: Mapping[str, Any],
        options: Mapping[str, Any],
        *,
        encode: bool,
    ) -> None:
        checked_paths(arrays, LABEL)
        self.options = options
        self.dimensions: dict[str, dict[str, int]] = {"": {}}
        self._owners: dict[tuple[str, str], str] = {}
        nbytes = chunk_bytes(len(arrays), _CHUNK_BYTES)
        self.plans = {
            name: self._plan(name, info, nbytes, encode=encode) for name, info in arrays.items()
        }
        self.attrs: dict[str, dict[str, Any]] = {}
        for key, value in attrs.items():
            group, _, rest = key.rpartition("/")
            group, rest = (group, rest) if group in self.dimensions and rest else ("", key)
            native = _native("the file", key, value, np.dtype("V1"))
            self.attrs.setdefault(group, {})[rest] = native

    def _plan(self, name: str, info: ArrayInfo, nbytes: int, *, encode: bool) -> _Plan:
        group, _, base = name.rpartition("/")
        check_ndim(name, len(info.shape), LABEL)
        dtype, encoded, more = _file_dtype(name, info.dtype, encode=encode)
        dims = check_dims(base, info.attrs, info.shape)
        for dim, length in zip(dims, info.shape, strict=True):
            self._add_dimension(name, group, dim, length or 0)
        attrs = {
            key: _native(quoted(name), key, value, info.dtype)
            for key, value in info.attrs.items()
            if key != DIMS
        }
        attrs.update(more)
        chunk = chunk_shape(info, nbytes) if info.shape and 0 not in info.shape else None
        shape = tuple(extent or 0 for extent in info.shape)
        is_own = "_FillValue" in attrs and np.asarray(attrs["_FillValue"]).dtype == dtype
        fill = attrs.pop("_FillValue") if is_own else None
        return _Plan(group, base, dims, dtype, encoded, attrs, fill, chunk, shape)

    def _add_dimension(self, name: str, group: str, dim: str, length: int) -> None:
        """Use a dimension of the group or of one above it, or make one."""
        if not dim or "/" in dim:
            msg = f"the dimension {dim!r} of {quoted(name)} has no name that netCDF allows"
            raise InvalidValueError(msg)
        place = group
        while True:
            if self.dimensions.setdefault(place, {}).get(dim) == length:
                return
            if not place:
                break
            place = place.rpartition("/")[0]
        known = self.dimensions[group].setdefault(dim, length)
        owner = self._owners.setdefault((group, dim), name)
        if known != length:
            msg = (
                f"the dimension {quoted(dim)} has the length {known:,} in {quoted(owner)} and "
                f"{length:,} in {quoted(name)}; change the attribute 'dims' of one of them, or "
                "leave it out with arrays="
            )
            raise InvalidValueError(msg)


class NetcdfTarget:
    """A file that is being written."""

    def __init__(self, path: Path, variables: Variables) -> None:
        self._new = NewFile(path)
        self._plans = variables.plans
        self._done = dict.fromkeys(self._plans, 0)
        self._netcdf: Any = None
        self._file: Any = None
        try:
            self._new.path.touch()
            self._waiting = sum(plan.nbytes_of_chunks() for plan in self._plans.values())
            self._space = Space(self._new.path)
            described = [plan.attrs for plan in self._plans.values()], variables.attrs
            count = sum(1 + len(plan.dims) for plan in self._plans.values())
            self._space.reserve(need_of_metadata(count, described))
            self._netcdf = h5netcdf.File(self._new.path, "w")
            self._space.renew()
            self._file = h5py.File(self._new.path, "r+")  # the same, which tells its size
            for group, dims in sorted(variables.dimensions.items()):
                place = self._group(group)
                for dim, length in dims.items():
                    place.dimensions[dim] = length
            self._variables = {
                name: self._create(plan, variables.options)
                for name, plan in self._plans.items()
            }
            for group, attrs in variables.attrs.items():
                self._group(group).attrs.update(attrs)
        except BaseException:
            self.abort()
            raise

    def write(self, part: Part) -> None:
        """Write the next rows of some variables."""
        encoded = {name: _encoded(name, rows, self._plans[name]) for name, rows in part.items()}
        self._space.reserve(need_of_rows(self._file, part, self._waiting))
        for name, values in encoded.items():
            variable = self._variables[name]
            if not self._plans[name].dims:
                variable[...] = values
                continue
            start = self._done[name]
            self._done[name] = start + len(values)
            if values.size:
                variable[start : start + len(values)] = values

    def commit(self) -> None:
        """Complete the file."""
        self._netcdf.close()
        self._file.close()
        self._space.release()
        self._new.commit()

    def abort(self) -> None:
        """Remove what was written."""
        for file in (self._netcdf, self._file):
            if file is not None:
                with contextlib.suppress(Exception):  # such as of a full disk, again
                    file.close()
        self._new.abort()

    def _group(self, path: str) -> Any:
        if not path:
            return self._netcdf
        known = path in self._netcdf
        return self._netcdf[path] if known else self._netcdf.create_group(path)

    def _create(self, plan: _Plan, options: Mapping[str, Any]) -> Any:
        more = {"chunks": plan.chunk, **options} if plan.chunk else {}
        variable = self._group(plan.group).create_variable(
            plan.base, tuple(plan.dims), plan.dtype, fillvalue=plan.fill, **more
        )
        variable.attrs.update(plan.attrs)
        return variable


def _native(owner: str, key: str, value: Any, dtype: DType) -> Any:
    if key == "coordinates" and isinstance(value, list):
        value = " ".join(map(str, value))
    return native_attribute(owner, key, value, dtype, LABEL, _RESERVED, is_netcdf=True)


def _file_dtype(name: str, dtype: DType, *, encode: bool) -> tuple[DType, str, dict[str, Any]]:
    """Return the dtype of a variable, how values become it, and attributes that tell of it.

    Raises
    ------
    UnsupportedError
        netCDF has no such type.
    """
    if not dtypes.is_extension(dtype) and dtype.char in _PLAIN:
        return dtype, "plain", {}
    if dtype.kind == "U":
        return h5py.string_dtype(), "text", {TEXT_MARK: dtype.str} if dtype.itemsize else {}
    unit, step = np.datetime_data(dtype) if dtype.kind in "mM" else ("", 1)
    if encode and dtype.kind == "b":
        return np.dtype("i1"), "integers", {"dtype": "bool"}
    if encode and unit in _UNITS and step == 1:
        attrs = {"units": _UNITS[unit], "_FillValue": _NAT}
        if dtype.kind == "M":
            calendar = {"calendar": "proleptic_gregorian"}
            attrs = {**attrs, **calendar, "units": f"{_UNITS[unit]} since 1970-01-01"}
        return np.dtype("i8"), "integers", attrs
    fix = "cast it with dtype=, or choose another format, such as .npk or .h5"
    if dtype.kind in "bmM":
        fix = f"write it as integers by the CF conventions with encode=True, or {fix}"
    raise unsupported_array(name, str(dtype), LABEL, "it has no such type", fix)


def _encoded(name: str, rows: Array, plan: _Plan) -> Any:
    if plan.encoded == "integers":
        return rows.view("i1" if rows.dtype.kind == "b" else "i8")
    if plan.encoded != "text":
        return rows
    texts = rows.astype(object)
    if any("\0" in text for text in texts.flat):
        fix = "remove them, or choose another format, such as .npk"
        why = "its strings end at a NUL character, and some have more after it"
        raise unsupported_array(name, str(rows.dtype), LABEL, why, fix)
    try:
        "".join(texts.flat).encode()
    except UnicodeEncodeError as error:
        raise text_error(name, str(rows.dtype), LABEL) from error
    return texts
