"""Datasets of HDF5 that are written: their types, chunks and attributes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import h5py
import numpy as np

from ..._core import dtypes
from ...store.format.naming import quoted
from ..common.attributes import DIMS, dims_of, native_attribute, unwritable_text
from ..common.chunks import chunk_shape
from ..common.refusals import text_error
from .space import bytes_of_chunks
from .types import LABEL, RESERVED, TEXT_MARK, file_dtype

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from .._protocol import ArrayInfo

_OF_FILES = RESERVED | {"PYTABLES_FORMAT_VERSION"}  # by which files of PyTables are known


class DatasetPlan(NamedTuple):
    """How an array is written.

    Attributes
    ----------
    name : str
    dtype : dtype
        That h5py is told.
    shape : tuple of int
        With 0 rows where their number is not known yet.
    text : dtype or None
        Of the array, if it holds strings of Unicode.
    attrs : mapping
        As h5py writes them.
    dims : sequence of str
    options : mapping
        Of ``create_dataset``.
    """

    name: str
    dtype: DType
    shape: tuple[int, ...]
    text: DType | None
    attrs: Mapping[str, Any]
    dims: Sequence[str]
    options: Mapping[str, Any]

    @classmethod
    def of(
        cls, name: str, info: ArrayInfo, nbytes: int, options: Mapping[str, Any]
    ) -> DatasetPlan:
        """Plan how an array is written in chunks of about `nbytes`.

        Raises
        ------
        UnsupportedError
            HDF5 cannot hold it, or one of its attributes.
        """
        shape = tuple(extent or 0 for extent in info.shape)
        dims = dims_of(info.attrs, len(shape)) or []
        if any(map(unwritable_text, dims)):
            dims = []  # then refused as the attribute
        attrs = {
            key: native_attribute(quoted(name), key, value, info.dtype, LABEL, RESERVED)
            for key, value in info.attrs.items()
            if not (key == DIMS and dims)
        }
        if shape:
            empty = 0 in shape[1:]
            limits = (None,) * len(shape) if empty else (None, *shape[1:])
            chunks = chunk_shape(info, nbytes)
            options = {**options, "maxshape": limits, "chunks": chunks}
        else:
            options = {}
        dtype = file_dtype(name, info)
        text = info.dtype if info.dtype.kind == "U" else None
        return cls(name, dtype, shape, text, attrs, dims, options)

    def create(self, file: Any) -> Any:
        """Create the dataset and its attributes."""
        dataset = file.create_dataset(self.name, self.shape, self.dtype, **self.options)
        for key, value in self.attrs.items():
            dataset.attrs[key] = h5py.Empty("i1") if value is None else value
        for axis, dim in enumerate(self.dims):
            dataset.dims[axis].label = dim
        if self.text is not None:
            dataset.attrs[TEXT_MARK] = self.text.str
        return dataset

    def nbytes_of_chunks(self) -> int:
        """Return how many bytes HDF5 may keep of the dataset before it writes them."""
        if not self.shape:
            return self.dtype.itemsize
        return bytes_of_chunks(self.shape, self.options["chunks"], self.dtype.itemsize)

    def encoded(self, rows: Array) -> Array:
        """Return rows as h5py writes them."""
        if self.text is not None:
            try:
                encoded = np.char.encode(rows, "utf-8").astype(f"S{self.dtype.itemsize}")
            except UnicodeEncodeError as error:
                raise text_error(self.name, str(self.text), LABEL) from error
            return encoded.view(self.dtype)
        base = (self.dtype.subdtype or (self.dtype,))[0]
        return (
            np.ascontiguousarray(rows, dtypes.native(rows.dtype)).reshape(rows.shape).view(base)
        )


def attributes_of_groups(
    arrays: Iterable[str], attrs: Mapping[str, Any]
) -> dict[str, dict[str, Any]]:
    """Return the attributes of each group: those of a file, some of which begin with a path."""
    groups = {"/".join(each) for name in arrays for each in _parents(name.split("/"))}
    found: dict[str, dict[str, Any]] = {}
    for key, value in attrs.items():
        group, _, rest = key.rpartition("/")
        group, rest = (group, rest) if group in groups and rest else ("", key)
        native = native_attribute("the file", key, value, np.dtype("V1"), LABEL, _OF_FILES)
        found.setdefault(group, {})[rest] = h5py.Empty("i1") if native is None else native
    return found


def _parents(parts: list[str]) -> Iterator[list[str]]:
    return (parts[:count] for count in range(1, len(parts)))
