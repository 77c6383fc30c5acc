"""The pipeline under `share` and `explain`: plan a conversion from any framework to any other.

Both read one `Pipeline`, so a `Route` describes what a conversion does.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from .._core.memory import aligned_copy, alignment_obstacle, normalize_strides, preview
from .._core.policy import Obstacle, Plan, Step, carry_out, refuse, wrong_type
from ..adapters import WRAPPER, fix_for, of_object, of_sequence
from ..errors import UnsupportedError, WrongTypeError, ZeroCopyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from .._core.memory import Array
    from ..adapters import Declaration, Framework

_VIA_NUMPY = frozenset({"layout", "type"})  # options with which there is no direct route
_NAMED = frozenset({"pandas", "polars", "xarray"})  # whose 1-D arrays have names
_CASTS = frozenset({"dtype", "type"})  # options that ask for another dtype


class Pipeline:
    """A conversion in one step, or in two: to NumPy, and from NumPy to the target.

    Parameters
    ----------
    x : array
        As for `share`. A wrapper is replaced by the array it wraps.
    target : Framework

    Attributes
    ----------
    x : array
    source, target : Framework
    """

    __slots__ = ("_first", "_is_one_step", "_to_options", "source", "target", "x")

    def __init__(self, x: Any, target: Framework) -> None:
        self.target = target
        self.x, self.source = _unwrapped(x)

    def plan(self, options: dict[str, Any]) -> Self:
        """Plan the first step, which is the only one where there is a direct route.

        The plan of the second step depends on the result of the first: `carry_out` makes it
        from the result, `steps` from a preview of it.
        """
        x, source, target = self.x, self.source.declaration(), self.target
        from_options: dict[str, Any] = {}
        self._to_options: dict[str, Any] = {}
        first = None
        if options or self.source.name != "numpy":
            from_options, self._to_options = _split(x, options, self.source, target)
            x = _select_column(_read_stream(x, source), source, from_options)
            if not from_options:
                first = _direct_plan(x, source, target, self._to_options)
        self._is_one_step = first is not None or target.name == "numpy"
        if first is None:
            _refuse_lost_zone(x, source, target, self._to_options)
            first = source.to_numpy(x, **from_options)
        self._first: Plan[Any] = first
        return self

    def carry_out(self, copy: bool | None) -> Any:
        """Convert under the copy policy; what is copied twice warns twice."""
        first = self._first
        if self._is_one_step:
            return carry_out(first, copy)
        if copy is not None and not copy and first.obstacle is not None:
            with contextlib.suppress(ZeroCopyError):  # that of the first step is raised below
                self._preview_second()  # UnsupportedError precedes ZeroCopyError
        if not copy:
            array = carry_out(first, copy)
            return carry_out(self._second(array), copy)
        if first.obstacle is None:
            return self._from_numpy(first.result()).independent()
        return self._from_numpy(first.independent()).result()

    def values(self) -> Any:
        """Return the result of the first step without warnings, for a caller that copies it."""
        return self._first.result()

    def steps(self) -> Iterator[Step]:
        """Describe the steps without moving data; the first is left out if it does nothing."""
        first = self._first
        if self._is_one_step or self.source.name != "numpy" or first.obstacle is not None:
            yield Step.of(first)
        if not self._is_one_step:
            yield Step.of(self._preview_second())

    def _preview_second(self) -> Plan[Any]:
        """Plan the second step without carrying out the first."""
        first = self._first
        array = preview(first)
        dtype = array.dtype if type(array) is np.ndarray else normalize_strides(array).dtype
        if dtype.kind in "mM" or not _CASTS.isdisjoint(self._to_options):
            array = preview(first, exactly=True)  # the plan may depend on the values
        return self._second(array)

    def _second(self, array: Array) -> Plan[Any]:
        """Plan the second step.

        The layout and the alignment of a copy made by the first step are arbitrary, and no
        other object shares it. If they are the only obstacle, the copy is moved, which is not
        reported as a second copy because the caller cannot avoid it.
        """
        plan = self._from_numpy(array)
        if self._first.obstacle is None or plan.obstacle is None:
            return plan
        in_form = array.flags.c_contiguous and alignment_obstacle(array) is None
        if in_form or array.dtype.hasobject:
            return plan
        moved = self._from_numpy(aligned_copy(array))
        return plan if moved.obstacle is not None else moved

    def _from_numpy(self, array: Array) -> Plan[Any]:
        """Plan the conversion to the target; a refusal of objects names the source's fix."""
        first, options = self._first, self._to_options
        if array.ndim != 1 and isinstance(options.get("name"), _InheritedName):
            options = {k: v for k, v in options.items() if k != "name"}  # a frame has none
        try:
            return self.target.module().from_numpy(array, **options)
        except UnsupportedError as error:
            fix = first.object_fix() if first.object_fix and array.dtype.kind == "O" else ""
            if not fix:
                raise
            refuse(error.direction, first.describe(), error.reason, fix)


# The source and its options -----------------------------------------------------------------


def _unwrapped(x: Any) -> tuple[Any, Framework]:
    """Return an array, or the array that it wraps, with its framework."""
    framework = of_object(x)
    if framework is WRAPPER:
        wrapper: Any = WRAPPER.module()
        x = wrapper.unwrap(x)
        framework = of_object(x)
    elif framework is None and isinstance(x, list | tuple):
        framework = of_sequence(x)
    if framework is None or framework is WRAPPER:
        wrong_type(
            "share",
            "an array of a known framework, or an object with __dlpack__ or __arrow_c_array__",
            x,
            fix_for(x),
        )
    return x, framework


class _InheritedName(str):
    """The name of a source, which the target takes where its arrays have one."""

    __slots__ = ()


def _split(
    x: Any, options: dict[str, Any], source: Framework, target: Framework
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split options into those of the source's adapter and those of the target's."""
    from_names = source.declaration().from_options
    to_names: frozenset[str] = frozenset()
    if target.name != "numpy":
        to_names = target.declaration().to_options
    unknown = options and options.keys() - from_names - to_names
    if unknown:
        known = ", ".join(sorted(from_names | to_names)) or "none"
        msg = (
            f"from {source.name} to {target.name} there is no option {min(unknown)!r}; "
            f"the options are: {known}"
        )
        raise WrongTypeError(msg)
    from_options = {k: v for k, v in options.items() if k in from_names and k not in to_names}
    to_options = {k: v for k, v in options.items() if k in to_names}
    if source.name in _NAMED and target.name in _NAMED and "name" not in to_options:
        name = options.get("column", getattr(x, "name", None))
        if isinstance(name, str) and name and "schema" not in to_options:
            to_options["name"] = _InheritedName(name)
    return from_options, to_options


def _select_column(x: Any, source: Declaration, from_options: dict[str, Any]) -> Any:
    """Select the requested column, so that it is converted as it would be by itself."""
    if source.select_column is None or from_options.get("column") is None:
        return x
    found = source.select_column(x, from_options["column"])
    if found is None:  # x exports other buffers at each request: `to_numpy` has to see all
        return x
    del from_options["column"]
    return found


# Streams ------------------------------------------------------------------------------------


class _ReadStream:
    """The contents of a single-use stream, which can be exported any number of times."""

    def __init__(self, columns: Any) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns)

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        return self._columns.__arrow_c_stream__(requested_schema)


def _read_stream(x: Any, source: Declaration) -> Any:
    """Read a single-use stream; return any other object unchanged."""
    if not _is_single_use(x):
        return x
    exports = source.exports
    return _ReadStream(exports["arrow"](x)) if "arrow" in exports else x


def refuse_single_use(x: object) -> None:
    """Refuse to explain a stream, because looking at its contents uses it up."""
    if _is_single_use(x):
        fix = "read it first: pyarrow.chunked_array(x)"
        wrong_type("explain", "an array that can be read more than once", x, fix)


def _is_single_use(x: object) -> bool:
    if type(x) is np.ndarray or not hasattr(x, "__arrow_c_stream__"):
        return False
    return not hasattr(x, "__len__") and not hasattr(x, "__arrow_c_array__")


# Direct routes ------------------------------------------------------------------------------


def _direct_plan(
    x: object, source: Declaration, target: Framework, to_options: dict[str, Any]
) -> Plan[Any] | None:
    """Plan a conversion that bypasses NumPy; ``None`` if there is no such route for `x`."""
    exports = source.exports
    if not exports:
        return None
    imports = target.declaration().imports
    for route in exports.keys() & imports.keys():
        plan_import, known = imports[route]
        exported = exports[route](x) if to_options.keys() <= known else None
        if exported is None:
            continue
        made = exported if isinstance(exported, Plan) else None
        plan = plan_import(made.result() if made else exported, **to_options)
        if plan is not None and made is not None:
            return _joined(made, plan, functools.partial(plan_import, **to_options))
        if plan is not None:
            return plan
    return None


def _joined(export: Plan[Any], then: Plan[Any], plan_import: Callable[[Any], Any]) -> Plan[Any]:
    """Join the plan of what the source makes for export and the plan of its import.

    Where the export is nothing but copies (``independent is result``) no other object shares
    them; where it copies only in part, `independent` copies all.
    """
    independent = then.result
    if export.independent is not export.result:

        def independent() -> Any:
            return plan_import(export.independent()).result()

    obstacle, nbytes = export.obstacle, export.nbytes
    if obstacle is None:
        obstacle, nbytes = then.obstacle, then.nbytes
    elif then.obstacle is not None:
        why = f"{obstacle.reason}, and {then.obstacle.reason}"
        obstacle = Obstacle(why, f"{obstacle.fix}; {then.obstacle.fix}")
        nbytes += then.nbytes
    return dataclasses.replace(
        then,
        direction=export.direction,
        describe=export.describe,
        nbytes=nbytes,
        obstacle=obstacle,
        independent=independent,
    )


def _refuse_lost_zone(
    x: Any, source: Declaration, target: Framework, to_options: dict[str, Any]
) -> None:
    """Refuse times with a zone by way of NumPy, which has none, to a framework with zones."""
    if source.zone is None or target.name == "numpy" or not target.declaration().has_zones:
        return
    found = source.zone(x)
    if found is None or getattr(to_options.get("type"), "tz", None) is not None:
        return
    options = ", ".join(f"{name}=" for name in sorted(to_options.keys() & _VIA_NUMPY))
    fix = "share it with 'numpy' first, whose times are in UTC, and share the result"
    if options:
        fix = f"leave out {options}, or {fix}"
    given = f"{type(x).__name__} with times in {found}"
    why = "it converts by way of NumPy, whose times have no zone"
    refuse(f"to {target.declaration().label}", given, why, fix)
