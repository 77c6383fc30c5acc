"""xarray: named dimensions over whatever array it holds, of NumPy or of another framework.

Source: the xarray documentation of duck arrays, of lazy indexing and of ``Variable``.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any, TypedDict

import numpy as np
import pandas as pd
import xarray as xr
from xarray.core.indexing import ExplicitlyIndexed, PandasIndexingAdapter

from .._core.memory import aligned_copy, normalize_strides, representation_obstacle
from .._core.plan_view import plan_view
from .._core.policy import Obstacle, Plan, check_nulls, describe, refuse, wrong_type
from .._core.time_units import exact, unit_obstacle
from ..errors import InvalidValueError
from . import by_name, of_object
from ._columns import position
from ._options import ColumnOptions
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


def from_numpy(
    array: Array, *, dims: Any = None, coords: Any = None, name: Hashable | None = None
) -> Plan[xr.DataArray]:
    """Plan the way from the hub to a `xarray.DataArray`; the options are its own."""
    array = base_array(array, LABEL)
    values = normalize_strides(array)
    blank = _blank(values.shape, dims, coords)

    def view(memory: Array) -> xr.DataArray:
        # xarray itself would copy times that are strided or read-only, and convert objects
        variable = xr.Variable(blank.dims, memory, fastpath=True)
        return xr.DataArray(variable, coords=blank.coords, dims=blank.dims, name=name)

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


def to_numpy(
    obj: Any, *, column: Hashable | None = None, nulls: str = "convert"
) -> Plan[Array]:
    """Plan the way to the hub; `column` selects a variable of a Dataset."""
    check_nulls(nulls)
    if column is not None:
        obj = _selected(obj, column)
    variable = _variable(obj)
    if isinstance(_raw(variable), np.ndarray):
        plan = _shared(_raw(variable))
    elif _is_converted(variable):
        plan = _converted(variable)
    else:
        plan = _handed_on(variable, nulls)
        return dataclasses.replace(
            plan, direction="from xarray", describe=lambda: _describe(obj)
        )
    plan = dataclasses.replace(plan, direction="from xarray", describe=lambda: _describe(obj))
    if nulls == "convert":
        return plan
    from .pandas.inward import hiding  # noqa: PLC0415 -- where NaN and NaT count as missing

    return hiding(plan, variable.values, nulls)


def _blank(shape: tuple[int, ...], dims: Any, coords: Any) -> xr.DataArray:
    """Let xarray check the options, and find what they leave out."""
    try:
        return xr.DataArray(np.broadcast_to(np.uint8(0), shape), coords=coords, dims=dims)
    except (ValueError, TypeError) as error:
        msg = f"dims and coords must suit an array of shape {shape}: {error}"
        raise InvalidValueError(msg) from error


def _bridge_export(bridge: str, obj: Any) -> Any:
    """Let the framework that holds the values take them past the hub."""
    if isinstance(obj, xr.Dataset) or isinstance(_raw(_variable(obj)), np.ndarray):
        return None
    data = _data(_variable(obj))
    owner = of_object(data)
    departure = (
        None if owner is None else getattr(owner.module(), "BRIDGE_EXPORTS", {}).get(bridge)
    )
    return None if departure is None else departure(data)


def select_column(obj: Any, column: Hashable) -> xr.DataArray:
    """Select a variable of a Dataset, by name or by position."""
    return _selected(obj, column)


def zone(obj: Any) -> str | None:
    """Return the time zone of an index, or of what else holds the values."""
    if isinstance(obj, xr.Dataset) or isinstance(_raw(_variable(obj)), np.ndarray):
        return None
    data = _data(_variable(obj))
    owner = of_object(data)
    found = None if owner is None else getattr(owner.module(), "zone", None)
    return None if found is None else found(data)


HAS_ZONES = True  # of its indexes; but its arrays are NumPy's, so times with one are refused
BRIDGE_EXPORTS = {
    "device": lambda obj: _bridge_export("device", obj),
    "arrow": lambda obj: _bridge_export("arrow", obj),
}


def _selected(obj: Any, key: Hashable) -> xr.DataArray:
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


def _raw(variable: xr.Variable) -> Any:
    """Give what is held, which `data` would load."""
    return variable._data  # noqa: SLF001 -- it has no public name


def _data(variable: xr.Variable) -> Any:
    """Give the values as the framework has them that holds them; refuse to load them."""
    if _is_unloaded(variable):
        refuse("from xarray", _describe(variable), "its values are not loaded", "pass x.load()")
    if isinstance(_raw(variable), PandasIndexingAdapter):
        index = variable.to_index_variable().to_index()
        if isinstance(index, pd.RangeIndex | pd.MultiIndex):  # which keep no values
            return index
    return variable.data


def _is_unloaded(variable: xr.Variable) -> bool:
    raw = _raw(variable)
    if isinstance(raw, PandasIndexingAdapter) or not isinstance(raw, ExplicitlyIndexed):
        return False
    return not variable._in_memory  # noqa: SLF001 -- it has no public name


def _shared(values: Array) -> Plan[Array]:
    plan: Plan[Array] = by_name("numpy").module().to_numpy(values)
    return plan


def _is_converted(variable: xr.Variable) -> bool:
    """Tell whether xarray makes an ndarray out of what it holds, as it does for indexes."""
    return isinstance(_data(variable), np.ndarray)


def _converted(variable: xr.Variable) -> Plan[Array]:
    """Plan the values of an index, which xarray copies if pandas has them otherwise."""
    values, again = variable.data.view(), variable.data
    values.flags.writeable = False  # an index must not change
    plan = _shared(values)
    if values.size == 0 or np.may_share_memory(values, again):
        return plan
    obstacle = Obstacle("its index keeps the values in another form", "pass x.to_index()")
    return dataclasses.replace(
        plan, obstacle=obstacle, result=lambda: aligned_copy(values), preview=lambda: values
    )


def _handed_on(variable: xr.Variable, nulls: str) -> Plan[Array]:
    """Plan what the framework plans that holds the values."""
    data = _data(variable)
    owner = of_object(data)
    if owner is None or owner.name == LABEL:
        why, fix = f"it holds a {type(data).__name__}", "pass x.compute() or x.as_numpy()"
        refuse("from xarray", _describe(variable), why, fix)
    options = {"nulls": nulls} if "nulls" in owner.module().FROM_OPTIONS else {}
    plan: Plan[Array] = owner.module().to_numpy(data, **options)
    return plan


def _describe(obj: Any) -> str:
    return f"{obj.dtype} {type(obj).__name__} of shape {obj.shape}"
