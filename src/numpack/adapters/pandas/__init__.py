"""pandas: Series, indexes and frames over NumPy memory, over values and masks, over Arrow.

Source: the pandas documentation of copy-on-write, of nullable integers and of ``ArrowDtype``.
The two directions are in `inward` and `outward`, what stays Arrow on its way is in `columns`.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import pandas as pd

from ..._core.policy import check_nulls
from ...errors import InvalidValueError, MissingDependencyError
from .. import by_name
from .._options import ColumnOptions
from .._protocol import BridgeImport
from ..numpy import base_array
from .inward import plan_frame, plan_values, select
from .outward import check_backend, plan_pandas

if TYPE_CHECKING:
    from collections.abc import Hashable

    from ..._core.memory import Array
    from ..._core.policy import Plan


class ToOptions(TypedDict, total=False):
    """Options of `from_numpy`."""

    dtype_backend: Literal["pyarrow"] | None
    name: Hashable | None


LABEL = "pandas"
FROM_OPTIONS = ColumnOptions.__optional_keys__
TO_OPTIONS = ToOptions.__optional_keys__


def from_numpy(
    array: Array, *, dtype_backend: str | None = None, name: Hashable | None = None
) -> Plan[pd.Series | pd.DataFrame]:
    """Plan the way from the hub: a Series of 1-D, a frame of 2-D.

    `dtype_backend` is ``"pyarrow"`` for a Series of an ``ArrowDtype``, `name` that of a Series.
    """
    check_backend(dtype_backend)
    array = base_array(array, LABEL, masks=True)
    plan = plan_pandas(array) if dtype_backend is None else _columns().from_values(array)
    if name is not None and array.ndim != 1:
        msg = f"name= is of a Series, and {array.ndim} dimensions make a frame of columns"
        raise InvalidValueError(msg)
    return plan if name is None else _named(plan, name)


def _named(plan: Plan[Any], name: Hashable) -> Plan[Any]:
    return dataclasses.replace(
        plan,
        result=lambda: plan.result().rename(name),
        independent=lambda: plan.independent().rename(name),
    )


def to_numpy(
    obj: Any, *, nulls: str = "convert", column: Hashable | None = None
) -> Plan[Array]:
    """Plan the way to the hub; the result is read-only, because other Series may share it."""
    check_nulls(nulls)
    if column is not None:
        obj = select(obj, column)
    plan = plan_frame if isinstance(obj, pd.DataFrame) else plan_values
    return plan(obj, nulls)


def _bridge_export(obj: Any) -> Any:
    try:
        return _columns().departing(obj)
    except MissingDependencyError:  # the way by the hub needs no pyarrow
        return None


def _bridge_import(
    columns: Any, *, dtype_backend: str | None = None, name: Hashable | None = None
) -> Plan[Any] | None:
    """Take tables, which the hub has not, and single columns where Arrow is asked for."""
    check_backend(dtype_backend)
    whole = hasattr(columns, "schema")
    arrive = _columns().arriving if whole or dtype_backend else _columns().zoned
    plan: Plan[Any] | None = arrive(columns)
    return plan if plan is None or name is None or whole else _named(plan, name)


def _columns() -> Any:
    """Import what needs pyarrow, which pandas may be without."""
    by_name("arrow").module()
    from . import columns  # noqa: PLC0415 -- pandas may be without pyarrow

    return columns


def select_column(obj: Any, column: Hashable) -> pd.Series:
    """Select a column of a frame, by name or by position."""
    return select(obj, column)


def zone(obj: Any) -> str | None:
    """Return the time zone of a Series, an index or a column of a frame."""
    kinds = obj.dtypes if isinstance(obj, pd.DataFrame) else [getattr(obj, "dtype", None)]
    return next(filter(None, map(_zone_of, kinds)), None)


def _zone_of(dtype: Any) -> str | None:
    if isinstance(dtype, pd.CategoricalDtype):
        return zone(dtype.categories)
    if isinstance(dtype, pd.ArrowDtype):
        return _columns().zone_of([dtype.pyarrow_dtype])  # type: ignore[no-any-return]
    found = getattr(dtype, "tz", None)
    return None if found is None else str(found)


HAS_ZONES = True
BRIDGE_EXPORTS = {"arrow": _bridge_export}
BRIDGE_IMPORTS = {"arrow": BridgeImport(_bridge_import, TO_OPTIONS)}
