"""Datasets of HDF5: whether they are read, and how.

Source: the h5py documentation of low-level calls and of filters.
"""

from __future__ import annotations

import contextlib
import importlib
import math
from typing import TYPE_CHECKING, Any

import h5py

from ...errors import InvalidValueError, MissingDependencyError
from ...store.format.naming import quoted
from ..common.blocks import Chunked
from ..common.trees import check_expansion, refuse_read
from .types import LABEL

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_STRINGS = 10_000  # read at once to find the longest one
_SLOTS = 521  # of HDF5's hash table of chunks, at least
_LEAVE_OUT = "leave it out with arrays="


@contextlib.contextmanager
def translated(path: Path) -> Iterator[None]:
    """Raise the errors of h5py for damaged files as `InvalidValueError`.

    Those of the system, such as for a file that is not there, have a number and pass.
    """
    try:
        yield
    except InvalidValueError:
        raise
    except OSError as error:
        if error.errno is not None and "errno = 0" not in str(error):
            raise
        raise _damaged(path, error) from error
    except (RuntimeError, KeyError, ValueError, UnicodeDecodeError, AttributeError) as error:
        if isinstance(error, LookupError | AttributeError) and type(error) is not KeyError:
            raise
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> InvalidValueError:
    what = str(error.args[0] if error.args else error)[:300]
    return InvalidValueError(
        f"{path} cannot be read as HDF5: {what}; it is damaged, or of another format: get the "
        "complete file, or pass format="
    )


def require_readable(name: str, dataset: Any, *, sparse: bool) -> None:
    """Check that all values of a dataset are in its file, and can be decompressed.

    Raises
    ------
    UnsupportedError
        They are in other files, or there are none.
    MissingDependencyError
        A filter is not installed.
    InvalidValueError
        The dataset is large, and nearly all of it is not stored.
    """
    if dataset.shape is None:
        raise refuse_read(name, LABEL, "it has no values, not even an empty array", _LEAVE_OUT)
    properties = dataset.id.get_create_plist()
    if properties.get_layout() == h5py.h5d.VIRTUAL:
        why = "it is virtual: its values are in other datasets, perhaps of other files"
        raise refuse_read(name, LABEL, why, f"{_LEAVE_OUT}, or copy it with h5py")
    if properties.get_external_count():
        why = "its values are in other files, which are not opened"
        raise refuse_read(name, LABEL, why, f"{_LEAVE_OUT}, or copy it with h5py")
    for number in range(properties.get_nfilters()):
        code, _, _, label = properties.get_filter(number)
        if not h5py.h5z.filter_avail(code):
            _import_filters(name, code, label.decode(errors="replace"))
    if not sparse:
        size = math.prod(dataset.shape) * dataset.id.get_type().get_size()
        check_expansion(name, size, dataset.id.get_storage_size(), LABEL)


def _import_filters(name: str, code: int, label: str) -> None:
    with contextlib.suppress(ImportError):
        importlib.import_module("hdf5plugin")
    if not h5py.h5z.filter_avail(code):
        msg = (
            f"{quoted(name)} is compressed by the HDF5 filter {code} ({label}), which is not "
            f"installed; try: pip install hdf5plugin, or {_LEAVE_OUT}"
        )
        raise MissingDependencyError(msg)


def longest_string(name: str, dataset: Any) -> int:
    """Return the number of characters of the longest string of a dataset, at least 1.

    Raises
    ------
    UnsupportedError
        A string is not UTF-8.
    """
    width, stored = 1, 0
    strings = dataset.asstr()
    count = dataset.shape[0] if dataset.shape else 1
    step = max(1, _STRINGS // max(1, math.prod(dataset.shape[1:])))
    try:
        for start in range(0, count, step):
            found = strings[start : start + step].ravel() if dataset.shape else [strings[()]]
            width = max(width, max(map(len, found), default=0))
            stored += sum(map(len, found))
    except UnicodeDecodeError as error:
        why = f"a string is not UTF-8 ({error})"
        raise refuse_read(name, LABEL, why, _LEAVE_OUT) from error
    check_expansion(name, math.prod(dataset.shape) * width * 4, stored, LABEL)
    return width


def with_cache(file: Any, name: str, nbytes: int) -> Any:
    """Open a dataset with a cache that keeps the chunks of a row, if `nbytes` suffice.

    Otherwise it keeps a chunk, so that the next rows of the same one are not decompressed
    again.
    """
    dataset = file[name]
    if dataset.chunks is None:
        return dataset
    size = dataset.id.get_type().get_size()
    chunk = math.prod(dataset.chunks) * size
    row = Chunked(dataset, dataset.shape, dataset.chunks, size).width
    wanted = min(row, max(nbytes, chunk))
    access = h5py.h5p.create(h5py.h5p.DATASET_ACCESS)
    access.set_chunk_cache(max(_SLOTS, 10 * (wanted // max(1, chunk)) + 1), wanted, 1.0)
    return h5py.Dataset(h5py.h5d.open(file.id, name.encode(), access))
