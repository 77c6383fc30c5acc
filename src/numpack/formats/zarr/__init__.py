"""Zarr (``.zarr``), versions 2 and 3, in folders and ZIP files, through zarr.

Arrays in groups have paths as names, such as ``group/x``; the names of their dimensions are the
attribute `dims`. Links out of the folder are not followed, and nothing is unpickled.

Source: the zarr documentation, and the Zarr specifications.
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
import warnings
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import zarr

from ...adapters._safetensors_header import open_regular
from ...errors import InvalidValueError, NumpackError
from ...store.format.naming import quoted
from .._protocol import ArrayInfo
from ..common.attributes import DIMS, LateAttributes, dims_of, json_attributes
from ..common.blocks import Blocks, Chunked
from ..common.trees import TreeSource, check_expansion, checked_paths, refuse_read
from .files import LABEL as _LABEL
from .files import Archive, Files, Folder, Node, uses_pickle, walk
from .writing import (
    DIMENSIONS,
    ZarrTarget,
    check_parts,
    compressors_of,
    few_at_once,
    require_exact,
    require_replaceable,
)

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
        Whether to read arrays of more than 1 GiB of which less than a 10,000th is stored; by
        default they are refused.
    """

    sparse: bool


class WriteOptions(TypedDict, total=False):
    """Options of `create_target`.

    Attributes
    ----------
    zarr_format : int
        3 by default, or 2.
    compression : str or None
        ``"auto"``, what zarr chooses, by default; ``"zstd"``, ``"gzip"`` or ``"blosc"``;
        ``None`` for none.
    level : int
        Of the compression.
    """

    zarr_format: int
    compression: str | None
    level: int | None


LABEL = _LABEL
READ_OPTIONS = ReadOptions.__optional_keys__
WRITE_OPTIONS = WriteOptions.__optional_keys__
TOGETHER = False
NEEDS_LENGTHS = False

_STRINGS = 10_000  # read at once to find the longest one


def open_source(path: Path, /, *, sparse: bool = False) -> ZarrSource:
    """Open a hierarchy, or a single array.

    Raises
    ------
    InvalidValueError
        It is not one, damaged, or not safe to read.
    OSError
        It cannot be opened.
    """
    if not path.is_dir():
        os.close(open_regular(path))
    files: Files = Folder(path) if path.is_dir() else Archive(path)
    return ZarrSource(files, path, sparse=sparse)


def create_target(
    path: Path,
    arrays: Mapping[str, ArrayInfo],
    attrs: Mapping[str, Any],
    /,
    *,
    zarr_format: int = 3,
    compression: str | None = "auto",
    level: int | None = None,
) -> ZarrTarget:
    """Begin to write a hierarchy into a folder.

    Raises
    ------
    UnsupportedError
        Zarr cannot hold a dtype or a name.
    InvalidValueError
        An option is wrong, or there is a folder that is not one of Zarr.
    """
    if zarr_format not in (2, 3):
        msg = f"zarr_format must be 2 or 3, not {zarr_format!r}"
        raise InvalidValueError(msg)
    compressors = compressors_of(zarr_format, compression, level)
    checked_paths(arrays, LABEL, reserved="__" if zarr_format == 3 else ".z")
    check_parts(arrays)
    require_replaceable(path)
    for name, info in arrays.items():
        require_exact(name, info.dtype, zarr_format)
    options = {"zarr_format": zarr_format, "compressors": compressors}
    return ZarrTarget(path, arrays, attrs, options)


class ZarrSource(TreeSource):
    """An open hierarchy.

    Parameters
    ----------
    files : Files
    path : Path
        The name of a single array is that of the file without its suffix.
    sparse : bool
    """

    def __init__(self, files: Files, path: Path, *, sparse: bool) -> None:
        self._files, self._path, self._sparse = files, path, sparse
        self._nodes: dict[str, Node] = {}
        self._opened: dict[str, Any] = {}
        self._blocks = Blocks()
        makers: dict[str, Callable[[], ArrayInfo]] = {}
        groups: list[Node] = []
        for node in walk(files, path):
            if node.is_array:
                name = node.name or path.name.partition(".")[0] or path.name
                self._nodes[name] = node
                makers[name] = functools.partial(self.describe, name)
            else:
                groups.append(node)
        super().__init__(makers, LateAttributes(lambda: _group_attributes(groups)))

    def describe(self, name: str) -> ArrayInfo:
        """Return the description of an array; read its strings once to find the longest."""
        node = self._nodes[name]
        if uses_pickle(node.metadata):
            why = "its codec would unpickle what it reads, which can execute anything"
            raise refuse_read(name, LABEL, why, "leave it out with arrays=")
        with _translated(self._path, name):
            array = zarr.open_array(
                self._files.store, path=node.name, mode="r", zarr_format=node.version
            )
            dtype, shape = array.dtype, array.shape
            self._opened[name] = array
            size = math.prod(shape) * dtype.itemsize
            if not self._sparse and size > 1 << 30:
                check_expansion(name, size, array.nbytes_stored(), LABEL)
            if dtype.kind in "OT":
                dtype = np.dtype(f"U{_longest(name, array)}")
        attrs = LateAttributes(lambda: _array_attributes(name, node, len(shape)))
        return ArrayInfo(dtype, shape, attrs)

    def read(self, name: str, start: int, stop: int) -> Array:
        """Return rows of an array, if possible out of the chunks that were read last."""
        with _translated(self._path, name), few_at_once():
            return np.asarray(self._blocks.read(name, start, stop), self.arrays[name].dtype)

    def begin(self, names: Sequence[str]) -> int:
        """Prepare to read arrays; return the number of rows of a chunk."""
        arrays = {}
        for name in names:
            array, dtype = self._opened[name], self.arrays[name].dtype
            chunk = array.shards or array.chunks
            arrays[name] = Chunked(array, array.shape, chunk, dtype.itemsize)
        return self._blocks.begin(arrays)

    def _parts(self, names: Sequence[str]) -> Iterator[Part]:
        yield from super()._parts(names)
        self._blocks.end()

    def close(self) -> None:
        """Close the files."""
        self._blocks.end()
        self._opened.clear()
        self._files.store.close()


def _group_attributes(groups: Sequence[Node]) -> dict[str, Any]:
    """Return the attributes of the root, and those of groups after their paths."""
    found: dict[str, Any] = {}
    for node in groups:
        owner = f"the group {node.name!r}" if node.name else "the hierarchy"
        attrs = json_attributes(node.attrs.items(), owner)
        found.update({f"{node.name}/{key}" if node.name else key: attrs[key] for key in attrs})
    return found


def _array_attributes(name: str, node: Node, ndim: int) -> dict[str, Any]:
    names = node.metadata.get("dimension_names") if node.version == 3 else None
    names = node.attrs.get(DIMENSIONS) if names is None else names
    found = json_attributes(node.attrs.items(), quoted(name), frozenset({DIMENSIONS}))
    dims = dims_of({DIMS: names}, ndim)
    return {**found, DIMS: dims} if dims else found


def _longest(name: str, array: Any) -> int:
    """Return the number of characters of the longest string of an array, at least 1."""
    width, stored = 1, 0
    count = array.shape[0] if array.shape else 1
    height = (array.shards or array.chunks)[0] if array.shape else 1
    step = max(height, _STRINGS // max(1, math.prod(array.shape[1:])) // height * height)
    for start in range(0, count, step):
        values = array[start : start + step] if array.shape else array[...]
        strings = np.asarray(values).ravel().tolist()
        if not all(isinstance(each, str) for each in strings):
            why = "its values are Python objects other than strings"
            raise refuse_read(name, LABEL, why, "leave it out with arrays=")
        width = max(width, max(map(len, strings), default=0))
        stored += sum(map(len, strings))
    check_expansion(name, math.prod(array.shape) * width * 4, stored, LABEL)
    return width


@contextlib.contextmanager
def _translated(path: Path, name: str) -> Iterator[None]:
    """Raise the errors of zarr and its codecs for damaged files as `InvalidValueError`."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of types without a specification in version 3
            yield
    except (NumpackError, MemoryError):
        raise
    except OSError as error:
        if error.errno is not None:
            raise
        raise _damaged(path, name, error) from error
    except Exception as error:
        raise _damaged(path, name, error) from error


def _damaged(path: Path, name: str, error: Exception) -> InvalidValueError:
    what = str(error).partition("\n")[0][:300] or type(error).__name__
    return InvalidValueError(
        f"{quoted(name)} of {path} cannot be read as Zarr: {what}; restore the files, or leave "
        "it out with arrays="
    )
