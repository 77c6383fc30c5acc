"""Contents of data files that are about to be written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from ..format import data_files
from ..format.schema import decode_dtype, encode_dtype, storable_dtype
from .live_rows import read_live_chunks

if TYPE_CHECKING:
    from collections.abc import Iterable

    from ..._core.memory import Array
    from ..format.log.state import Entry
    from ..fs.directory import Folder
    from .deleted_rows import DeletedRows


class Content(NamedTuple):
    """Content of a new data file.

    Attributes
    ----------
    code : str, list or dict
        The dtype as `schema.encode_dtype` encodes it.
    shape : tuple of int
    chunks : iterable of ndarray
        The bytes, each chunk contiguous.
    """

    code: Any
    shape: tuple[int, ...]
    chunks: Iterable[Array]


def content_of(array: Array) -> Content:
    """Return the content of the data file that is to hold an array."""
    code = encode_dtype(storable_dtype(array))
    return Content(code, array.shape, data_files.chunks_of(array, decode_dtype(code)))


def live_content(folder: Folder, entry: Entry, deleted: DeletedRows | None) -> Content:
    """Return the live rows of an array; they are read while they are written."""
    return Content(entry.code, entry.shape, read_live_chunks(folder, entry, deleted))
