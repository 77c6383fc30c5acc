"""xarray: named dimensions over an array of NumPy or of another framework.

Source: the xarray documentation of duck arrays, of lazy indexing and of ``Variable``.
"""

from __future__ import annotations

import dataclasses
import operator
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import pandas as pd
import xarray as xr
from xarray.core.indexing import ExplicitlyIndexed, PandasIndexingAdapter

from .._core.memory import aligned_copy, normalize_strides, representation_obstacle
from .._core.plan_view import plan_view
from .._core.policy import Obstacle, Plan, check_nulls, describe, refuse, wrong_type
from .._dlpack.fast_table import register_export, register_import
from ..errors import InvalidValueError
from . import by_name, of_object
from ._columns import position
from ._options import ColumnOptions
from ._time_units import exact, unit_obstacle
from .numpy import base_array

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from .._core.memory import Array


class ToOptions(TypedDict, total=False):
    """Options of `from_numpy`, as of `xarray.DataArray`."""

    dims: str | Sequence[Hashable] | None
    coords: Sequence[Any] | Mapping[Any, Any] | None
    name: Hashable | None


LABEL = "xarray"
FROM_OPTIONS = ColumnOptions.__optional_keys__
TO_OPTIONS = ToOptions.__optional_keys__


def to_numpy(
    obj: Any, *, column: Hashable | None = None, nulls: str = "convert"
) -> Plan[Array]:
    """Plan the conversion from an xarray object to a NumPy array.

    `column` selects a variable of a Dataset.
    """
    check_nulls(nulls)
    if column is not None:
        obj = _select(obj, column)
    variable = _variable(obj)
    if isinstance(_stored(variable), np.ndarray):
        plan = _plan_ndarray(_stored(variable))
    elif _is_index(variable):
        plan = _plan_index(variable)
    else:
        plan = _plan_inner(variable, nulls)
        return dataclasses.replace(
            plan, direction="from xarray", describe=lambda: _describe(obj)
        )
    plan = dataclasses.replace(plan, direction="from xarray", describe=lambda: _describe(obj))
    if nulls == "convert":
        return plan
    from .pandas.importing import apply_nulls  # noqa: PLC0415 -- only here are NaN and NaT missing values

    return apply_nulls(plan, variable.values, nulls)


def from_numpy(
    array: Array, *, dims: Any = None, coords: Any = None, name: Hashable | None = None
) -> Plan[xr.DataArray]:
    """Plan the conversion from a NumPy array to an xarray.DataArray.

    The options are those of `xarray.DataArray`.
    """
    array = base_array(array, LABEL)
    values = normalize_strides(array)
    template = _template(values.shape, dims, coords)

    def view(memory: Array) -> xr.DataArray:
        # The constructor would copy strided or read-only times, and convert objects.
        variable = xr.Variable(template.dims, memory, fastpath=True)
        return xr.DataArray(variable, coords=template.coords, dims=template.dims, name=name)

    if array.dtype.kind not in "mM":
        return plan_view(array, LABEL, view)
    if np.datetime_data(array.dtype)[0] == "generic":
        refuse("to xarray", describe(array), "its times have no unit", "pass array.view('i8')")
    obstacle = unit_obstacle(array, LABEL)
    if obstacle is None:
        return plan_view(array, LABEL, view, obstacle=representation_obstacle(values))
    fresh = exact(values, LABEL)
    return Plan(
        direction="to xarray",
        describe=lambda: describe(array),
        nbytes=array.nbytes,
        result=lambda: view(fresh),
        independent=lambda: view(fresh),
        obstacle=obstacle,
    )


def _make(array: Array, name: str | None = None) -> xr.DataArray:
    """Make an array without coordinates, which needs none of the constructor's checks."""
    variable = xr.Variable(_DIMS[: array.ndim], array, fastpath=True)
    return xr.DataArray(variable, {}, name=name, indexes={}, fastpath=True)


_DIMS = tuple(f"dim_{axis}" for axis in range(64))  # the names that xarray chooses

register_import(
    "xarray", (xr.DataArray,), view=operator.attrgetter("variable._data"), named=True
)
register_import("xarray", (xr.Variable,), view=operator.attrgetter("_data"))
register_export("xarray", _make, dtypes="?bBhHiIlLqQefdFD", order="K", named=True)


def _bridge_export(route: str, obj: Any) -> Any:
    """Return the export of the framework that holds the values, for the same direct route."""
    if isinstance(obj, xr.Dataset) or isinstance(_stored(_variable(obj)), np.ndarray):
        return None
    data = _loaded_values(_variable(obj))
    owner = of_object(data)
    export = None if owner is None else getattr(owner.module(), "BRIDGE_EXPORTS", {}).get(route)
    return None if export is None else export(data)


BRIDGE_EXPORTS = {
    "device": lambda obj: _bridge_export("device", obj),
    "arrow": lambda obj: _bridge_export("arrow", obj),
}


def select_column(obj: Any, column: Hashable) -> xr.DataArray:
    """Select a variable of a Dataset by name or position."""
    return _select(obj, column)


def zone(obj: Any) -> str | None:
    """Return the time zone of an index, or of the values of another framework."""
    if isinstance(obj, xr.Dataset) or isinstance(_stored(_variable(obj)), np.ndarray):
        return None
    data = _loaded_values(_variable(obj))
    owner = of_object(data)
    found = None if owner is None else getattr(owner.module(), "zone", None)
    return None if found is None else found(data)


HAS_ZONES = True  # its indexes do; its arrays are NumPy's, so times with a zone are refused


def _select(obj: Any, key: Hashable) -> xr.DataArray:
    if not isinstance(obj, xr.Dataset):
        wrong_type("column", "a xarray.Dataset", obj, "leave out column=")
    if isinstance(key, bool):
        wrong_type("column", "a name or a position", key, "pass a name or an int")
    if key in obj.coords:
        return obj[key]
    names = list(obj.data_vars)
    return obj[names[position(key, names)]]


def _variable(obj: Any) -> xr.Variable:
    if isinstance(obj, xr.Dataset):
        why, fix = "it holds variables by name", f"pass column=, of {list(obj.data_vars)[:3]}"
        refuse("from xarray", f"Dataset of {len(obj.data_vars)} variables", why, fix)
    if isinstance(obj, xr.DataArray):
        return obj.variable
    if not isinstance(obj, xr.Variable):
        wrong_type(
            "share", "a DataArray, a Variable or a Dataset", obj, "pass x.to_dataarray()"
        )
    return obj


def _stored(variable: xr.Variable) -> Any:
    """Return the stored object; the attribute `data` would load it."""
    return variable._data  # noqa: SLF001 -- it has no public name


def _loaded_values(variable: xr.Variable) -> Any:
    """Return the values as an array of the framework that holds them; refuse to load them."""
    if _is_unloaded(variable):
        refuse("from xarray", _describe(variable), "its values are not loaded", "pass x.load()")
    if isinstance(_stored(variable), PandasIndexingAdapter):
        index = variable.to_index_variable().to_index()
        if isinstance(index, pd.RangeIndex | pd.MultiIndex):  # which store no values
            return index
    return variable.data


def _is_unloaded(variable: xr.Variable) -> bool:
    stored = _stored(variable)
    if isinstance(stored, PandasIndexingAdapter) or not isinstance(stored, ExplicitlyIndexed):
        return False
    return not variable._in_memory  # noqa: SLF001 -- it has no public name


def _plan_ndarray(values: Array) -> Plan[Array]:
    plan: Plan[Array] = by_name("numpy").module().to_numpy(values)
    return plan


def _is_index(variable: xr.Variable) -> bool:
    """Check whether xarray makes an ndarray of the stored object, as it does for indexes."""
    return isinstance(_loaded_values(variable), np.ndarray)


def _plan_index(variable: xr.Variable) -> Plan[Array]:
    """Plan the values of an index, which xarray copies if pandas stores another form."""
    values, again = variable.data.view(), variable.data
    values.flags.writeable = False  # an index must not change
    plan = _plan_ndarray(values)
    if values.size == 0 or np.may_share_memory(values, again):
        return plan
    obstacle = Obstacle("its index stores the values in another form", "pass x.to_index()")
    return dataclasses.replace(
        plan, obstacle=obstacle, result=lambda: aligned_copy(values), preview=lambda: values
    )


def _plan_inner(variable: xr.Variable, nulls: str) -> Plan[Array]:
    """Plan the conversion by the framework that holds the values."""
    data = _loaded_values(variable)
    owner = of_object(data)
    if owner is None or owner.name == LABEL:
        why, fix = f"it holds a {type(data).__name__}", "pass x.compute() or x.as_numpy()"
        refuse("from xarray", _describe(variable), why, fix)
    options = {"nulls": nulls} if "nulls" in owner.module().FROM_OPTIONS else {}
    plan: Plan[Array] = owner.module().to_numpy(data, **options)
    return plan


def _template(shape: tuple[int, ...], dims: Any, coords: Any) -> xr.DataArray:
    """Return an array with `dims` and `coords`, which xarray checks and completes."""
    try:
        return xr.DataArray(np.broadcast_to(np.uint8(0), shape), coords=coords, dims=dims)
    except (ValueError, TypeError) as error:
        msg = f"dims and coords must match an array of shape {shape}: {error}"
        raise InvalidValueError(msg) from error


def _describe(obj: Any) -> str:
    return f"{obj.dtype} {type(obj).__name__} of shape {obj.shape}"
