"""File formats for arrays, and the same operations on each of them.

Rows of float32 under the name ``x``. No format compresses. HDF5 and Zarr keep chunks of 1 MiB
of whole rows, because only chunked arrays can grow.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

import h5py
import numpy as np
import safetensors
import zarr
from safetensors.numpy import load_file, save_file
from zarr.storage import LocalStore

from numpack import NumPack

if TYPE_CHECKING:
    from pathlib import Path

    from numpack import LazyArray

Array = np.ndarray[Any, Any]

CHUNK = 2**20
PAGE = 4096
REWRITES, IN_PLACE, ROW_BY_ROW = "by rewriting the file", "in place, not atomic", "row by row"


class Format(ABC):
    """An array in files.

    Parameters
    ----------
    folder : Path
        Where the files go.

    Attributes
    ----------
    label : str
    way : dict of str to str
        How an operation is done, where the format has none of its own or a weaker one.
    """

    label: ClassVar[str]
    way: ClassVar[dict[str, str]]

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"x.{self.label.strip('.').lower().replace(' ', '-')}"

    @abstractmethod
    def save(self, array: Array) -> None:
        """Write an array over the previous one."""

    @abstractmethod
    def load(self) -> Array:
        """Read the array into new memory."""

    @abstractmethod
    def lazy(self) -> object:
        """Open the files, open the array without reading it, and release everything."""

    @abstractmethod
    def open(self) -> None:
        """Open the files for the following operations."""

    @abstractmethod
    def close(self) -> None:
        """Close the files and all mappings."""

    @abstractmethod
    def gather(self, rows: Array) -> Array:
        """Read some rows, in their order."""

    def append(self, values: Array) -> None:
        """Add rows."""
        self.close()  # reading the mapping of a truncated file raises SIGBUS
        self.save(np.concatenate([self.load(), values]))

    def replace(self, rows: Array, values: Array) -> None:
        """Write rows in place of others."""
        self.close()
        array = self.load()
        array[rows] = values
        self.save(array)

    def drop(self, rows: Array) -> None:
        """Remove rows."""
        self.close()
        self.save(np.delete(self.load(), rows, axis=0))

    def touch(self) -> None:  # noqa: B027 -- most formats have no mapping
        """Touch each page of a mapping that stays open, if there is one."""

    def files(self) -> list[Path]:
        """List the files."""
        if self.path.is_file():
            return [self.path]
        return [path for path in self.path.rglob("*") if path.is_file()]


class Store(Format):
    """numpack's store. Each change is an atomic commit."""

    label = "numpack"
    way: ClassVar = {}

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._npk = NumPack(self.path)
        self._npk.open()

    def save(self, array: Array) -> None:
        """Save, with checksums, in an open store."""
        self._npk.save({"x": array})

    def load(self) -> Array:
        """Load from an open store."""
        return self._npk.load("x")

    def lazy(self) -> LazyArray:
        """Open the store again, map, and release it."""
        npk = NumPack(self.path)
        npk.open()
        return npk.load("x", lazy=True)

    def lazy_and_close(self) -> LazyArray:
        """Open the store again, map, and close it, which checks its log again."""
        with NumPack(self.path) as npk:
            return npk.load("x", lazy=True)

    def lazy_again(self) -> LazyArray:
        """Map in an open store."""
        return self._npk.load("x", lazy=True)

    def open(self) -> None:
        """Open the store again."""
        self._npk = NumPack(self.path)
        self._npk.open()

    def close(self) -> None:
        """Close the store and its mappings."""
        self._npk.close()

    def gather(self, rows: Array) -> Array:
        """Read some rows."""
        return self._npk.getitem("x", rows)

    def append(self, values: Array) -> None:
        """Append."""
        self._npk.append({"x": values})

    def replace(self, rows: Array, values: Array) -> None:
        """Replace, through the journal."""
        self._npk.replace({"x": values}, rows)

    def drop(self, rows: Array) -> None:
        """Drop rows."""
        self._npk.drop("x", rows)

    def touch(self) -> None:
        """Touch the mapping that the open store caches."""
        _touch(self.lazy_again()[:])


class Npy(Format):
    """NumPy's own files."""

    label = ".npy"
    way: ClassVar = {"append": REWRITES, "drop": REWRITES, "replace": IN_PLACE}

    _map: Any = None

    def save(self, array: Array) -> None:
        """Save."""
        np.save(self.path, array)

    def load(self) -> Array:
        """Load."""
        loaded: Array = np.load(self.path)
        return loaded

    def lazy(self) -> Array:
        """Map."""
        mapped: Array = np.load(self.path, mmap_mode="r")
        return mapped

    def open(self) -> None:
        """Map for reading and writing, unless mapped."""
        if self._map is None:
            self._map = np.load(self.path, mmap_mode="r+")

    def close(self) -> None:
        """Release the mapping."""
        self._map = None

    def gather(self, rows: Array) -> Array:
        """Index the mapping."""
        gathered: Array = self._map[rows]
        return gathered

    def replace(self, rows: Array, values: Array) -> None:
        """Write through the mapping."""
        self._map[rows] = values

    def touch(self) -> None:
        """Touch the mapping."""
        _touch(self._map)


class Safetensors(Format):
    """safetensors files."""

    label = "safetensors"
    way: ClassVar = {
        **dict.fromkeys(("append", "drop", "replace"), REWRITES),
        "gather": ROW_BY_ROW,
    }

    _file: Any = None

    def save(self, array: Array) -> None:
        """Save."""
        save_file({"x": array}, self.path)

    def load(self) -> Array:
        """Load."""
        loaded: Array = load_file(self.path)["x"]
        return loaded

    def lazy(self) -> object:
        """Open the file and the tensor."""
        with safetensors.safe_open(self.path, "np") as file:
            return file.get_slice("x")

    def open(self) -> None:
        """Open the file."""
        self._file = safetensors.safe_open(self.path, "np")

    def close(self) -> None:
        """Release it."""
        self._file = None

    def gather(self, rows: Array) -> Array:
        """Read row by row: safetensors reads only ranges."""
        tensor = self._file.get_slice("x")
        gathered: Array = np.concatenate([tensor[row : row + 1] for row in rows.tolist()])
        return gathered


class Hdf5(Format):
    """HDF5 by h5py."""

    label = "HDF5"
    way: ClassVar = {"append": IN_PLACE, "drop": REWRITES, "replace": IN_PLACE}

    _file: Any = None

    def save(self, array: Array) -> None:
        """Save as a dataset that can grow."""
        grows, chunks = (None, *array.shape[1:]), _chunks(array)
        with h5py.File(self.path, "w") as file:
            file.create_dataset("x", data=array, maxshape=grows, chunks=chunks)

    def load(self) -> Array:
        """Load."""
        with h5py.File(self.path, "r") as file:
            loaded: Array = file["x"][:]
        return loaded

    def lazy(self) -> object:
        """Open the file and the dataset."""
        with h5py.File(self.path, "r") as file:
            return file["x"]

    def open(self) -> None:
        """Open the file."""
        self._file = h5py.File(self.path, "r+")

    def close(self) -> None:
        """Close it."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def gather(self, rows: Array) -> Array:
        """Read each row once, in the order of the file, as h5py requires."""
        found, places = np.unique(rows, return_inverse=True)
        gathered: Array = self._file["x"][found][places]
        return gathered

    def append(self, values: Array) -> None:
        """Resize, write, flush."""
        data = self._file["x"]
        known = len(data)
        data.resize(known + len(values), axis=0)
        data[known:] = values
        self._file.flush()

    def replace(self, rows: Array, values: Array) -> None:
        """Write, in the order of the file, and flush."""
        order = np.argsort(rows)
        self._file["x"][rows[order]] = values[order]
        self._file.flush()


class Zarr(Format):
    """Zarr 3 in a folder."""

    label = "Zarr 3"
    way: ClassVar = Hdf5.way

    _array: Any = None

    def save(self, array: Array) -> None:
        """Save."""
        made: Any = zarr.create_array(
            LocalStore(self.path),
            shape=array.shape,
            dtype=array.dtype,
            chunks=_chunks(array),
            compressors=None,
            overwrite=True,
        )
        made[:] = array

    def load(self) -> Array:
        """Load."""
        loaded: Array = self._opened("r")[:]
        return loaded

    def lazy(self) -> object:
        """Open the array."""
        return self._opened("r")

    def open(self) -> None:
        """Open the array for reading and writing."""
        self._array = self._opened("r+")

    def close(self) -> None:
        """Release it."""
        self._array = None

    def gather(self, rows: Array) -> Array:
        """Read some rows."""
        gathered: Array = self._array.oindex[rows]
        return gathered

    def append(self, values: Array) -> None:
        """Append."""
        self._array.append(values)

    def replace(self, rows: Array, values: Array) -> None:
        """Write rows, and so their whole chunks."""
        self._array.oindex[rows] = values

    def _opened(self, mode: Any) -> Any:
        return zarr.open_array(LocalStore(self.path), mode=mode)


FORMATS: tuple[type[Format], ...] = (Store, Npy, Safetensors, Hdf5, Zarr)


def _chunks(array: Array) -> tuple[int, ...]:
    return CHUNK // array[0].nbytes, *array.shape[1:]


def _touch(mapped: Array) -> None:
    mapped[:: max(1, PAGE // mapped[0].nbytes)].max(axis=0)
