"""HDF5 (``.h5``, ``.hdf5``), through h5py.

Datasets in groups are arrays whose names are paths, such as ``group/x``. Values are read and
written through HDF5's own cache of chunks. Nothing outside of the file is opened, and nothing
is unpickled.

Source: the h5py documentation.
"""

from __future__ import annotations

import contextlib
import functools
import os
from typing import TYPE_CHECKING, Any, TypedDict

import h5py
import numpy as np

from ...adapters._safetensors_header import open_regular
from ...errors import InvalidValueError
from .._protocol import ArrayInfo
from ..common.attributes import LateAttributes
from ..common.chunks import chunk_bytes
from ..common.new_files import NewFile
from ..common.trees import TreeSource, checked_paths, raising, refuse_read
from .reading import longest_string, require_readable, translated, with_cache
from .space import Space, need_of_metadata, need_of_rows
from .tree import dataset_attributes, group_attributes, is_of_pytables, walk
from .types import LABEL as _LABEL
from .types import Stored, stored_dtype
from .writing import DatasetPlan, attributes_of_groups

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from pathlib import Path

    from ..._core.memory import Array
    from .._protocol import Part


class ReadOptions(TypedDict, total=False):
    """Options of `open_source`.

    Attributes
    ----------
    sparse : bool
        Whether to read datasets of more than 1 GiB of which the file stores less than a
        10,000th; by default they are refused.
    """

    sparse: bool


class WriteOptions(TypedDict, total=False):
    """Options of `create_target`.

    Attributes
    ----------
    compression : str
        ``"gzip"``, ``"lzf"`` or ``"szip"``; none by default.
    level : int
        Of gzip, from 0 to 9.
    """

    compression: str | None
    level: int | None


LABEL = _LABEL
READ_OPTIONS = ReadOptions.__optional_keys__
WRITE_OPTIONS = WriteOptions.__optional_keys__
TOGETHER = False
NEEDS_LENGTHS = False

_CHUNK_BYTES = 1 << 20  # what HDF5 keeps of each dataset by default
_CACHE_BYTES = 32 << 20  # of decompressed chunks
_COMPRESSIONS = (None, "gzip", "lzf", "szip")


def open_source(path: Path, /, *, sparse: bool = False) -> Hdf5Source:
    """Open a file.

    Raises
    ------
    InvalidValueError
        It is not an HDF5 file, or damaged.
    OSError
        It cannot be opened.
    """
    os.close(open_regular(path))
    with translated(path):
        file = h5py.File(path, "r")
    try:
        with translated(path):
            return Hdf5Source(file, path, sparse=sparse)
    except BaseException:
        file.close()
        raise


def create_target(
    path: Path,
    arrays: Mapping[str, ArrayInfo],
    attrs: Mapping[str, Any],
    /,
    *,
    compression: str | None = None,
    level: int | None = None,
) -> Hdf5Target:
    """Begin to write a file.

    Raises
    ------
    UnsupportedError
        HDF5 cannot hold a dtype, a name or an attribute.
    InvalidValueError
        An option is wrong.
    """
    if compression not in _COMPRESSIONS:
        msg = f"compression must be one of {_COMPRESSIONS}, not {compression!r}"
        raise InvalidValueError(msg)
    if level is not None and (compression != "gzip" or level not in range(10)):
        msg = f"level={level!r} is for compression='gzip', and a number from 0 to 9"
        raise InvalidValueError(msg)
    checked_paths(arrays, LABEL)
    nbytes = chunk_bytes(len(arrays), _CHUNK_BYTES)
    plans = {
        name: DatasetPlan.of(
            name, info, nbytes, {"compression": compression, "compression_opts": level}
        )
        for name, info in arrays.items()
    }
    return Hdf5Target(path, plans, attributes_of_groups(arrays, attrs))


class Hdf5Source(TreeSource):
    """An open file.

    Parameters
    ----------
    file : h5py.File
        Closed by `close`.
    path : Path
    sparse : bool
    """

    def __init__(self, file: Any, path: Path, *, sparse: bool) -> None:
        self._file, self._path, self._sparse = file, path, sparse
        self._is_pytables = is_of_pytables(file)
        self._stored: dict[str, Stored] = {}
        self._open: dict[str, Any] = {}
        makers: dict[str, Callable[[], ArrayInfo]] = {}
        groups = {"": file}
        for found in walk(file, path):
            if found.item is None:
                why = f"it is a link to {found.link!r}, and other files are not opened"
                fix = "leave it out with arrays=, or convert that file"
                makers[found.name] = raising(refuse_read(found.name, LABEL, why, fix))
            elif isinstance(found.item, h5py.Group):
                groups[found.name] = found.item
            else:
                makers[found.name] = functools.partial(self.describe, found.name)
        super().__init__(makers, LateAttributes(lambda: self._attributes(groups)))

    def describe(self, name: str) -> ArrayInfo:
        """Return the description of a dataset; read its strings once to find the longest."""
        with translated(self._path):
            dataset = self._file[name]
            require_readable(name, dataset, sparse=self._sparse)
            stored = stored_dtype(name, dataset, is_pytables=self._is_pytables)
            if stored.kind == "strings":
                width = longest_string(name, dataset)
                stored = stored._replace(dtype=np.dtype(f"U{width}"))
            self._stored[name] = stored
            attrs = LateAttributes(lambda: self._attributes_of(name))
            base, inner = stored.dtype.subdtype or (stored.dtype, ())
            return ArrayInfo(base, (*dataset.shape, *inner), attrs)

    def read(self, name: str, start: int, stop: int) -> Array:
        """Return rows of a dataset."""
        with translated(self._path):
            dataset, stored = self._open[name], self._stored[name]
            key: Any = slice(start, stop) if dataset.shape else ...
            if stored.kind == "strings":
                return np.asarray(dataset.asstr()[key], stored.dtype)
            values = np.asarray(dataset[key])
            if stored.kind == "text":
                return np.asarray(np.char.decode(values, "utf-8"), stored.dtype)
            base = (stored.dtype.subdtype or (stored.dtype,))[0]
            return values if values.dtype == base else values.view(base)

    def _parts(self, names: Sequence[str]) -> Iterator[Part]:
        """Read arrays with a cache of chunks each, which ends with them."""
        with translated(self._path):
            for name in names:
                self._open[name] = with_cache(self._file, name, _CACHE_BYTES // len(names))
        try:
            yield from super()._parts(names)
        finally:
            self._open.clear()

    def close(self) -> None:
        """Close the file."""
        self._file.close()

    def _attributes(self, groups: Mapping[str, Any]) -> dict[str, Any]:
        """Return the attributes of the file, and those of groups after their paths."""
        found = {}
        for name, group in groups.items():
            attrs = group_attributes(group, name, is_pytables=self._is_pytables)
            found.update({f"{name}/{key}" if name else key: attrs[key] for key in attrs})
        return found

    def _attributes_of(self, name: str) -> dict[str, Any]:
        with translated(self._path):
            item = self._file[name]
            return dataset_attributes(item, name, is_pytables=self._is_pytables)


class Hdf5Target:
    """A file that is being written."""

    def __init__(
        self,
        path: Path,
        plans: Mapping[str, DatasetPlan],
        attrs: Mapping[str, Mapping[str, Any]],
    ) -> None:
        self._new = NewFile(path)
        self._done = dict.fromkeys(plans, 0)
        self._plans = plans
        self._file: Any = None
        try:
            self._new.path.touch()
            self._space = Space(self._new.path)
            self._waiting = sum(plan.nbytes_of_chunks() for plan in plans.values())
            described = [(plan.attrs, plan.dims) for plan in plans.values()], attrs
            self._space.reserve(need_of_metadata(len(plans), described))
            self._file = h5py.File(self._new.path, "w")
            self._space.renew()
            self._datasets = {name: plan.create(self._file) for name, plan in plans.items()}
            for group, values in attrs.items():
                self._file.require_group(group or "/").attrs.update(values)
        except BaseException:
            self.abort()
            raise

    def write(self, part: Part) -> None:
        """Write the next rows of some datasets."""
        encoded = {name: self._plans[name].encoded(rows) for name, rows in part.items()}
        self._space.reserve(need_of_rows(self._file, encoded, self._waiting))
        for name, values in encoded.items():
            dataset = self._datasets[name]
            if not dataset.shape:
                dataset[()] = values
                continue
            start = self._done[name]
            stop = self._done[name] = start + len(values)
            if stop > dataset.shape[0]:
                dataset.resize(stop, axis=0)
            if values.size:
                dataset[start:stop] = values

    def commit(self) -> None:
        """Complete the file."""
        self._file.close()
        self._space.release()
        self._new.commit()

    def abort(self) -> None:
        """Remove what was written."""
        if self._file is not None:
            with contextlib.suppress(Exception):  # such as of a full disk, again
                self._file.close()
        self._new.abort()
