"""Variables of netCDF files, raw or decoded.

Source: the documentation of h5netcdf, ``scipy.io.netcdf_file`` and xarray.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import h5netcdf
import h5py
import numpy as np

from ..._core.requirements import require
from ...errors import InvalidValueError
from .._protocol import ArrayInfo
from ..common.attributes import DIMS, LateAttributes, json_attributes
from ..common.blocks import Blocks, Chunked
from ..common.trees import TreeSource, check_expansion, check_name_read, refuse_read
from ..hdf5.reading import longest_string, require_readable, translated
from ..hdf5.tree import walk
from ..hdf5.types import TEXT_MARK, stored_dtype
from .writing import LABEL

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from .._protocol import Part

_HIDDEN = frozenset({TEXT_MARK, "_nc3_strict"})


class _Variable(NamedTuple):
    """A variable of a file.

    Attributes
    ----------
    rows : object
        Sliced, it gives an ndarray.
    dtype : dtype
        Of the array that it becomes before decoding.
    shape, dims, chunk : tuple
    attrs : mapping
        As the library has them.
    """

    rows: Any
    dtype: DType
    shape: tuple[int, ...]
    dims: tuple[str, ...]
    chunk: tuple[int, ...] | None
    attrs: Mapping[str, Any]

    def read(self, start: int, stop: int) -> Array:
        """Return rows in the dtype of the array."""
        return self.as_array(self.rows[start:stop] if self.shape else self.rows[...])

    def as_array(self, values: Any) -> Array:
        """Return what the library read as an array; its strings are UTF-8."""
        if self.dtype.kind != "U":
            return np.asarray(values, self.dtype)
        values = np.asarray(values, object)
        texts = [each.decode() if isinstance(each, bytes) else each for each in values.flat]
        return np.array(texts, self.dtype).reshape(values.shape)


def open_netcdf4(path: Path, *, decode: bool, sparse: bool) -> NetcdfSource:
    """Open a file of version 4, which is one of HDF5.

    Raises
    ------
    InvalidValueError
        It is damaged, or has links to other files.
    """
    with translated(path):
        checked = h5py.File(path, "r")
        try:
            _require_no_links(checked, path)
            file = h5netcdf.File(path, "r", phony_dims="access")
        except BaseException:
            checked.close()
            raise

    def close() -> None:
        file.close()
        checked.close()

    def find(name: str) -> _Variable:
        dataset = checked[name]
        require_readable(name, dataset, sparse=sparse)
        stored = stored_dtype(name, dataset, is_pytables=False)
        variable = file[f"/{name}"]
        dtype = stored.dtype
        if stored.kind == "strings":
            dtype = _text_dtype(name, dataset, longest_string(name, dataset))
        attrs = dict(variable.attrs)
        dims, shape = tuple(variable.dimensions), tuple(variable.shape)
        return _Variable(variable, dtype, shape, dims, variable.chunks, attrs)

    with translated(path):
        names, groups = _variables(file, path)
        attrs = {
            (f"{group}/{key}" if group else key): value
            for group, item in groups.items()
            for key, value in item.attrs.items()
        }
    return NetcdfSource(path, names, find, attrs, close, decode=decode)


def _require_no_links(file: Any, path: Path) -> None:
    for found in walk(file, path):
        if found.item is None:
            msg = (
                f"{path} has a link, {found.name!r}, to another file, {found.link!r}, which is "
                "not opened; read it with format='hdf5', which leaves links out"
            )
            raise InvalidValueError(msg)


def _variables(file: Any, path: Path) -> tuple[list[str], dict[str, Any]]:
    """Return the names of the variables, and the groups by their paths."""
    names, groups = [], {}
    stack = [("", file)]
    while stack:
        prefix, group = stack.pop()
        groups[prefix.rstrip("/")] = group
        names += [f"{prefix}{key}" for key in group.variables]
        for key in (*group.variables, *group.groups):
            check_name_read(key, LABEL, path)
        stack += [
            (f"{prefix}{key}/", group.groups[key]) for key in reversed(list(group.groups))
        ]
    return names, groups


def _text_dtype(name: str, dataset: Any, width: int) -> DType:
    """Return the dtype of strings: that which the array had before, or the shortest."""
    mark = dataset.attrs.get(TEXT_MARK)
    digits = mark[2:] if isinstance(mark, str) and mark[:2] in ("<U", ">U") else ""
    if digits.isdecimal() and width <= int(digits[:9]) <= 1 << 16:
        width = int(digits)
        check_expansion(name, dataset.size * width * 4, dataset.id.get_storage_size(), LABEL)
    return np.dtype(f"U{width}")


def open_netcdf3(path: Path, *, decode: bool) -> NetcdfSource:
    """Open a file of version 3, which SciPy maps.

    Raises
    ------
    InvalidValueError
        It is damaged.
    MissingDependencyError
        SciPy is not installed.
    """
    require("netcdf", "scipy>=1.13", "scipy")
    scipy_io = importlib.import_module("scipy.io")
    with translated(path):
        try:
            file = scipy_io.netcdf_file(path, "r", mmap=True)
        except (TypeError, IndexError, OverflowError) as error:
            msg = f"{path} is a damaged netCDF file ({error}); get the complete file"
            raise InvalidValueError(msg) from error

    def close() -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of the map, which ends with its arrays
            file.close()

    def find(name: str) -> _Variable:
        variable = file.variables[name]
        data = variable.data
        attrs = {key: _text(each) for key, each in vars(variable)["_attributes"].items()}
        return _Variable(data, data.dtype, data.shape, variable.dimensions, None, attrs)

    attrs = {key: _text(value) for key, value in vars(file)["_attributes"].items()}
    names = list(file.variables)
    return NetcdfSource(path, names, find, attrs, close, decode=decode)


def _text(value: Any) -> Any:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else value


class NetcdfSource(TreeSource):
    """An open file.

    Parameters
    ----------
    path : Path
    names : sequence of str
    find : callable
        Returns the variable of a name.
    attrs : mapping
        As the library has them.
    close : callable
    decode : bool
    """

    def __init__(
        self,
        path: Path,
        names: Sequence[str],
        find: Callable[[str], _Variable],
        attrs: Mapping[str, Any],
        close: Callable[[], None],
        *,
        decode: bool,
    ) -> None:
        if decode:
            require("netcdf", "xarray>=2024.6", "numpack[xarray]")
        self._path, self._find, self._close, self._decode = path, find, close, decode
        self._found: dict[str, _Variable] = {}
        self._blocks = Blocks()
        makers = {name: functools.partial(self.describe, name) for name in names}
        owner = "the file"
        super().__init__(
            makers, LateAttributes(lambda: json_attributes(attrs.items(), owner, _HIDDEN))
        )

    def describe(self, name: str) -> ArrayInfo:
        """Return the description of a variable."""
        with translated(self._path):
            variable = self._found[name] = self._find(name)
            dtype, found = variable.dtype, variable.attrs
            if self._decode:
                rows = variable.read(0, min(1, variable.shape[0]) if variable.shape else 0)
                decoded = self._decoded(name, rows)
                dtype, found = decoded.dtype, decoded.attrs
        if dtype.hasobject:
            why = "its times are out of the range of datetime64, or in another calendar"
            raise refuse_read(name, LABEL, why, "read it without decode=True")

        def attrs() -> dict[str, Any]:
            dims = list(variable.dims)
            own = [f"{name.rpartition('/')[2]}_dim_{axis}" for axis in range(len(dims))]
            more = {DIMS: dims} if dims and dims != own and len(set(dims)) == len(dims) else {}
            return {**json_attributes(found.items(), repr(name), _HIDDEN), **more}

        return ArrayInfo(dtype, variable.shape, LateAttributes(attrs))

    def read(self, name: str, start: int, stop: int) -> Array:
        """Return rows of a variable."""
        with translated(self._path):
            values = self._found[name].as_array(self._blocks.read(name, start, stop))
            if not self._decode:
                return values
            dtype = self.arrays[name].dtype
            decoded = self._decoded(name, values).values
            if decoded.dtype != dtype:
                why = f"it is decoded to {dtype} in some rows, and to {decoded.dtype} in others"
                raise refuse_read(name, LABEL, why, "read it without decode=True")
            return np.asarray(decoded)

    def _decoded(self, name: str, values: Array) -> Any:
        """Decode values by the CF conventions."""
        conventions = importlib.import_module("xarray.conventions")
        variables = importlib.import_module("xarray").Variable
        found = self._found[name]
        raw = variables(found.dims, values, dict(found.attrs))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of times that become objects, which are refused
            decoded = conventions.decode_cf_variable(name, raw, decode_timedelta=True)
            return decoded.load()

    def begin(self, names: Sequence[str]) -> int:
        """Prepare to read arrays; return the number of rows of a chunk."""
        found = {name: self._found[name] for name in names}
        return self._blocks.begin(
            {
                name: Chunked(each.rows, each.shape, each.chunk, each.dtype.itemsize)
                for name, each in found.items()
            }
        )

    def _parts(self, names: Sequence[str]) -> Iterator[Part]:
        yield from super()._parts(names)
        self._blocks.end()

    def close(self) -> None:
        """Close the file."""
        self._blocks.end()
        self._found.clear()
        with contextlib.suppress(RuntimeError):  # of a damaged file
            self._close()
