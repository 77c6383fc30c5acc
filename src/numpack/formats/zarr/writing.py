"""Zarr hierarchies that are written: groups, arrays, and what zarr holds exactly."""

from __future__ import annotations

import contextlib
import functools
import importlib
import json
import os
import re
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np
import zarr

from ...errors import InvalidValueError
from ..common.attributes import DIMS, dims_of
from ..common.chunks import chunk_bytes, chunk_shape
from ..common.new_files import NewFile
from ..common.refusals import unsupported_array
from ..common.trees import refuse_name
from .files import LABEL, METADATA

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from contextlib import AbstractContextManager
    from pathlib import Path

    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from .._protocol import ArrayInfo, Part

DIMENSIONS = "_ARRAY_DIMENSIONS"  # of xarray, for version 2
_CHUNK_BYTES = 2 << 20  # each is a file
_AT_ONCE = 2  # chunks that are compressed or decompressed
_NAME_MAX = 255  # bytes of the name of a folder
_OF_ZARR = frozenset({*METADATA, ".zmetadata"})
_CHUNK = re.compile(r"(c|\d+)([./]\d+)*")  # the key of a chunk, in a folder of an array
_LEVELS = {"zstd": range(-131072, 23), "gzip": range(10), "blosc": range(10)}
_CODECS = {
    2: ("numcodecs", {"zstd": "Zstd", "gzip": "GZip", "blosc": "Blosc"}),
    3: ("zarr.codecs", {"zstd": "ZstdCodec", "gzip": "GzipCodec", "blosc": "BloscCodec"}),
}


class ZarrTarget:
    """A hierarchy that is being written."""

    def __init__(
        self,
        path: Path,
        arrays: Mapping[str, ArrayInfo],
        attrs: Mapping[str, Any],
        options: Mapping[str, Any],
    ) -> None:
        self._new = NewFile(path, is_folder=True)
        nbytes = chunk_bytes(len(arrays), _CHUNK_BYTES)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of types without a specification in version 3
                root = zarr.create_group(self._new.path, zarr_format=options["zarr_format"])
                self._rows = {
                    name: _ChunkRows(_create(root, name, info, nbytes, options))
                    for name, info in arrays.items()
                }
                _write_group_attributes(root, attrs)
        except BaseException:
            self._new.abort()
            raise

    def write(self, part: Part) -> None:
        """Write the next rows of some arrays, as soon as they fill chunks."""
        for name, rows in part.items():
            self._rows[name].write(rows)

    def commit(self) -> None:
        """Complete the hierarchy."""
        for rows in self._rows.values():
            rows.finish()
        self._new.commit()

    def abort(self) -> None:
        """Remove what was written."""
        self._new.abort()


class _ChunkRows:
    """An array that is written in rows of whole chunks."""

    def __init__(self, array: Any) -> None:
        self._array = array
        self._height = array.chunks[0] if array.shape else 1
        self._done = 0
        self._left: Array | None = None  # rows that do not fill a chunk yet

    def write(self, rows: Array) -> None:
        """Write the next rows."""
        if not self._array.shape:
            self._array[...] = rows
            return
        if self._left is not None:
            missing = self._height - len(self._left)
            head, rows = rows[:missing], rows[missing:]
            self._left = np.concatenate([self._left, head])
            if len(self._left) < self._height:
                return
            self._put(self._left)
            self._left = None
        whole = len(rows) - len(rows) % self._height
        if whole:
            self._put(rows[:whole])
        if whole < len(rows):
            self._left = rows[whole:].copy()

    def finish(self) -> None:
        """Write the last rows."""
        if self._left is not None:
            self._put(self._left)

    def _put(self, rows: Array) -> None:
        stop = self._done + len(rows)
        if stop > self._array.shape[0]:
            self._array.resize((stop, *self._array.shape[1:]))
        with few_at_once():
            self._array[self._done : stop] = rows
        self._done = stop


def few_at_once() -> AbstractContextManager[Any]:
    """Limit how many chunks zarr holds in memory at once, in this block."""
    limit: AbstractContextManager[Any] = zarr.config.set({"async.concurrency": _AT_ONCE})
    return limit


def _create(
    root: Any, name: str, info: ArrayInfo, nbytes: int, options: Mapping[str, Any]
) -> Any:
    attrs = dict(info.attrs)
    dims = dims_of(attrs, len(info.shape))
    more: dict[str, Any] = {}
    if dims is not None and info.shape:
        del attrs[DIMS]
        if options["zarr_format"] == 3:
            more["dimension_names"] = dims
        else:
            attrs[DIMENSIONS] = dims
    if options["zarr_format"] == 2:
        more["fill_value"] = None  # xarray would take another one for missing values
    return root.create_array(
        name,
        shape=tuple(extent or 0 for extent in info.shape),
        dtype=info.dtype,
        chunks=chunk_shape(info, nbytes) if info.shape else (),
        compressors=options["compressors"],
        attributes=attrs,
        config={"write_empty_chunks": True},  # -0.0 would become the fill value
        **more,
    )


def _write_group_attributes(root: Any, attrs: Mapping[str, Any]) -> None:
    """Write the attributes of a file; those that begin with the path of a group to it."""
    found: dict[str, dict[str, Any]] = {}
    for key, value in attrs.items():
        path, _, rest = key.rpartition("/")
        is_of_group = path and rest and isinstance(root.get(path), zarr.Group)
        path, rest = (path, rest) if is_of_group else ("", key)
        found.setdefault(path, {})[rest] = value
    for path, values in found.items():
        (root[path] if path else root).attrs.update(values)


def compressors_of(zarr_format: int, compression: str | None, level: int | None) -> Any:
    """Return the compressors that zarr is told.

    Raises
    ------
    InvalidValueError
        There is no such compression or level.
    """
    if compression in ("auto", None):
        if level is not None:
            msg = f"level={level!r} needs compression='zstd', 'gzip' or 'blosc'"
            raise InvalidValueError(msg)
        return compression
    levels = _LEVELS.get(compression)
    if levels is None:
        msg = (
            f"compression must be 'auto', 'zstd', 'gzip', 'blosc' or None, not {compression!r}"
        )
        raise InvalidValueError(msg)
    if level is not None and level not in levels:
        msg = f"level must be from {levels[0]} to {levels[-1]} for {compression}, not {level!r}"
        raise InvalidValueError(msg)
    module, names = _CODECS[zarr_format]
    codec = getattr(importlib.import_module(module), names[compression])
    keyword = "clevel" if compression == "blosc" else "level"
    return codec() if level is None else codec(**{keyword: level})


def check_parts(names: Iterable[str]) -> None:
    """Check that the parts of names can be those of folders of Zarr.

    Raises
    ------
    UnsupportedError
        One is that of a file of metadata, too long, or has a backslash, which zarr takes for a
        slash.
    """
    for name in names:
        for part in name.split("/"):
            if part in METADATA:
                refuse_name(name, LABEL, f"{part!r} is the name of a file of its own")
            if "\\" in part:
                refuse_name(name, LABEL, "zarr takes a backslash for a slash")
            if len(part.encode()) > _NAME_MAX:
                refuse_name(name, LABEL, f"a part of it takes more than {_NAME_MAX} bytes")


def require_replaceable(path: Path) -> None:
    """Check that a folder holds a hierarchy and nothing else before it is replaced.

    Raises
    ------
    InvalidValueError
        It holds another file or folder.
    """
    foreign = _foreign(path, None) if path.is_dir() else None
    if foreign is not None:
        msg = (
            f"the folder {path} is not replaced, because {foreign} in it is not of Zarr; "
            "choose another name, or move it away"
        )
        raise InvalidValueError(msg)


def _foreign(folder: Path, array: Path | None) -> Path | None:
    """Return the path of a file or a folder that is no part of a hierarchy."""
    with os.scandir(folder) as entries:
        found = {each.name: each.is_dir(follow_symlinks=False) for each in entries}
    files = {name for name, is_folder in found.items() if not is_folder}
    if array is None and not files & set(METADATA):
        return folder / min(found) if found else None
    for name in sorted(files - _OF_ZARR):
        key = (folder / name).relative_to(array or folder).as_posix()
        if not _CHUNK.fullmatch(key) or (folder / name).is_symlink():
            return folder / name
    is_array = array is None and _is_array(folder)
    array = folder if is_array else array
    for name in sorted(found.keys() - files):
        foreign = _foreign(folder / name, array)
        if foreign is not None:
            return foreign
    return None


def _is_array(folder: Path) -> bool:
    """Return whether a folder of Zarr is of an array, not of a group."""
    with contextlib.suppress(OSError, ValueError, RecursionError, AttributeError):
        text = (folder / METADATA[0]).read_bytes()
        return bool(json.loads(text).get("node_type") == "array")
    return (folder / METADATA[1]).is_file()


@functools.lru_cache(maxsize=256)
def _is_exact(dtype: DType, zarr_format: int) -> str:
    """Return why zarr does not give back a dtype as it was; empty if it does."""
    store = zarr.storage.MemoryStore()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            array = zarr.create_array(store, shape=(1,), dtype=dtype, zarr_format=zarr_format)
            array[:] = np.zeros(1, dtype)
            found = zarr.open_array(store, mode="r")
            found[:]
    except Exception as error:  # noqa: BLE001 -- of any kind
        return str(error)[:200]
    return "" if found.dtype == dtype else f"it would become {found.dtype}"


def require_exact(name: str, dtype: DType, zarr_format: int) -> None:
    """Check that zarr gives back a dtype as it was.

    Raises
    ------
    UnsupportedError
        It does not, or has no such dtype.
    """
    why = _is_exact(dtype, zarr_format)
    if why:
        fix = "cast it with dtype=, or choose another format, such as .npk"
        raise unsupported_array(name, str(dtype), LABEL, why, fix)
