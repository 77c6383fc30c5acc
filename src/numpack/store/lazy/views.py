"""Views of stored arrays that were pickled by reference."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..._core.view_layout import ViewLayout
from ...errors import MovedError
from ..format import data_files
from .array import LazyArray
from .locating import map_reference
from .reference import PickledReference

if TYPE_CHECKING:
    from ..._core.dtypes import DType
    from ..._core.memory import Array


def map_view(reference: Any, dtype: DType, layout: Any) -> Array:
    """Map a view of the rows that a reference refers to; it is read-only.

    Raises
    ------
    MovedError
        The rows cannot be found; its ``reason`` says why.
    """
    stored, found, _ = map_reference(PickledReference(*reference), dtype)
    memory = data_files.as_bytes(stored)
    try:
        view = ViewLayout(*layout).view(memory, memory.nbytes)
    except (TypeError, ValueError):
        msg = "the pickle of a view of a stored array is damaged; pickle the array again"
        raise MovedError(msg) from None
    private: Array = LazyArray(stored, found, None)._private_view(view)  # noqa: SLF001 -- of this package
    return private
