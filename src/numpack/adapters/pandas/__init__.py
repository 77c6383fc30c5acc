"""pandas: Series, indexes and frames over NumPy arrays, values with masks, and Arrow columns.

`exporting` converts NumPy arrays to pandas, `importing` converts pandas objects to NumPy;
`direct` passes Arrow columns to and from pandas without NumPy.

Source: the pandas documentation of copy-on-write, of nullable integers and of ``ArrowDtype``.
"""

from __future__ import annotations

import dataclasses
import operator
from typing import TYPE_CHECKING, Any, Literal, TypedDict

import pandas as pd

from ..._core.policy import check_nulls
from ..._dlpack.fast_table import register_export, register_import
from ...errors import InvalidValueError, MissingDependencyError
from .. import by_name
from .._options import ColumnOptions
from .._protocol import BridgeImport
from ..numpy import base_array
from .exporting import check_backend, plan_pandas
from .importing import plan_frame, plan_values, select

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
    """Plan the conversion of a NumPy array to a Series (1-D) or a DataFrame (2-D).

    Parameters
    ----------
    array : ndarray
    dtype_backend : {None, "pyarrow"}
        ``"pyarrow"`` for a Series of an ``ArrowDtype``.
    name : hashable, optional
        The name of the Series.
    """
    check_backend(dtype_backend)
    array = base_array(array, LABEL, masks=True)
    plan = plan_pandas(array) if dtype_backend is None else _direct().from_values(array)
    if name is not None and array.ndim != 1:
        msg = (
            f"name= is the name of a Series, but an array of {array.ndim} dimensions becomes a "
            "frame of columns; leave out name="
        )
        raise InvalidValueError(msg)
    return plan if name is None else _named(plan, name)


def _make(array: Array, name: str | None = None) -> pd.Series | pd.DataFrame:
    if array.ndim == 1:
        return pd.Series(array, copy=False, name=name)
    return pd.DataFrame(array, copy=False)


register_import(
    "pandas",
    (pd.Series, pd.Index),
    view=operator.attrgetter("_values"),  # the ndarray; `values` makes a view by three calls
    dtypes="?bBhHiIlLqQefdFD",
    readonly=True,
    named=True,
)
register_export("pandas", _make, dtypes="?bBhHiIlLqQefdFD", order="K", ndim=(1, 2), named=True)


def _named(plan: Plan[Any], name: Hashable) -> Plan[Any]:
    return dataclasses.replace(
        plan,
        result=lambda: plan.result().rename(name),
        independent=lambda: plan.independent().rename(name),
    )


def to_numpy(
    obj: Any, *, nulls: str = "convert", column: Hashable | None = None
) -> Plan[Array]:
    """Plan the conversion to a NumPy array, read-only because other Series may share it."""
    check_nulls(nulls)
    if column is not None:
        obj = select(obj, column)
    plan = plan_frame if isinstance(obj, pd.DataFrame) else plan_values
    return plan(obj, nulls)


def _bridge_export(obj: Any) -> Any:
    try:
        return _direct().export_columns(obj)
    except MissingDependencyError:  # the route through NumPy does not need pyarrow
        return None


def _bridge_import(
    columns: Any, *, dtype_backend: str | None = None, name: Hashable | None = None
) -> Plan[Any] | None:
    """Plan the import of a table, or of one column if it is to stay Arrow or has a time zone.

    ``None`` for other columns, which are converted through NumPy.
    """
    check_backend(dtype_backend)
    is_table = hasattr(columns, "schema")
    convert = _direct().import_columns if is_table or dtype_backend else _direct().import_zoned
    plan: Plan[Any] | None = convert(columns)
    return plan if plan is None or name is None or is_table else _named(plan, name)


def _direct() -> Any:
    """Return the module of the direct route, or raise `MissingDependencyError`."""
    by_name("arrow").module()
    from . import direct  # noqa: PLC0415 -- pyarrow is optional

    return direct


def select_column(obj: Any, column: Hashable) -> pd.Series:
    """Return a column of a frame, by name or by position."""
    return select(obj, column)


def zone(obj: Any) -> str | None:
    """Return the time zone of a Series, an index or the first column of a frame with one."""
    dtypes = obj.dtypes if isinstance(obj, pd.DataFrame) else [getattr(obj, "dtype", None)]
    return next(filter(None, map(_zone_of, dtypes)), None)


def _zone_of(dtype: Any) -> str | None:
    if isinstance(dtype, pd.CategoricalDtype):
        return zone(dtype.categories)
    if isinstance(dtype, pd.ArrowDtype):
        return _direct().zone_of([dtype.pyarrow_dtype])  # type: ignore[no-any-return]
    found = getattr(dtype, "tz", None)
    return None if found is None else str(found)


HAS_ZONES = True
BRIDGE_EXPORTS = {"arrow": _bridge_export}
BRIDGE_IMPORTS = {"arrow": BridgeImport(_bridge_import, TO_OPTIONS)}
