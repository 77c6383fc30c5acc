"""nanoarrow: Arrow memory behind the PyCapsule interface, shared both ways.

Source: the nanoarrow documentation of ``nanoarrow.Array`` and ``nanoarrow.ArrayStream``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import nanoarrow

from .arrow.bridge import by_arrow, imported, over, to_hub

if TYPE_CHECKING:
    from .._memory import Array
    from .._policy import Plan
    from .arrow.bridge import Columns

LABEL = "nanoarrow"
FROM_OPTIONS = frozenset({"nulls", "column"})
TO_OPTIONS = frozenset({"layout", "type"})


def from_numpy(array: Array, *, layout: str = "flat", type: Any = None) -> Plan[Any]:  # noqa: A002 -- pyarrow's name
    """Plan the way from the hub to a `nanoarrow.Array`, with the options of Arrow."""
    return by_arrow(array, LABEL, nanoarrow.Array, layout=layout, wanted=type)


def to_numpy(
    obj: Any, *, nulls: str = "convert", column: str | int | None = None
) -> Plan[Array]:
    """Plan the way to the hub from an array, or a column of structs; it is read-only."""
    return to_hub(imported(obj, LABEL), LABEL, nulls, column)


def _departing(obj: Any) -> Columns:
    return imported(obj, LABEL)


def _arriving(columns: Columns) -> Plan[Any]:
    return over(columns, LABEL, nanoarrow.Array)


DEPARTURES = {"arrow": _departing}
ARRIVALS = {"arrow": _arriving}
