"""`share` and `explain`: from any framework to any other, by way of the hub."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from typing import TYPE_CHECKING, Any

from .._core.memory import aligned_copy, alignment_obstacle, normalize_strides, preview
from .._core.policy import (
    Obstacle,
    Plan,
    Route,
    Step,
    carry_out,
    check_copy,
    refuse,
    wrong_type,
)
from .._dlpack.decorators import fast_share
from ..adapters import WRAPPER, Framework, by_name, fix_for, of_object, of_sequence
from ..adapters._foreign_errors import OWN, translate
from ..errors import UnsupportedError, WrongTypeError, ZeroCopyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_OVER_NUMPY = frozenset({"layout", "type"})  # options that lead over NumPy
_NAMED = frozenset({"pandas", "polars", "xarray"})  # whose one-dimensional arrays have names
_CASTS = frozenset({"dtype", "type"})  # options that ask for another dtype


class _Inherited(str):
    """The name of a source, which its target takes where it has a place for it."""

    __slots__ = ()


@fast_share
def share(x: Any, target: str, *, copy: bool | None = None, **options: Any) -> Any:
    """Hand an array of any framework over to any other.

    Parameters
    ----------
    x : array
        Of a framework that `frameworks` lists: a `numpy.ndarray`, `torch.Tensor`,
        `polars.Series`, … or a `LazyArray`; any object with ``__dlpack__``,
        ``__arrow_c_array__``, ``__arrow_c_stream__``, ``__array_interface__``,
        ``__cuda_array_interface__`` or the buffer protocol; a raw DLPack capsule.
    target : str
        The framework that gets it, by its name in `frameworks`: ``"numpy"``, ``"torch"``,
        ``"jax"``, ``"arrow"``, ``"polars"``, …
    copy : bool or None, default None
        ``None``: share memory, or copy once with `CopyWarning` where it cannot be shared.
        ``False``: share, or raise `ZeroCopyError`. ``True``: independent, writable memory.
    **options
        What the two frameworks take, such as ``device`` to torch, ``layout`` and ``type``
        to Arrow, ``dtype`` to JAX, ``nulls`` and ``column`` from what has columns.

    Returns
    -------
    array
        Of the framework `target`; it keeps the memory of `x` alive.

    Raises
    ------
    ZeroCopyError
        Memory cannot be shared and ``copy=False``.
    UnsupportedError
        The target cannot hold the values.
    WrongTypeError
        `x` is no array, or an option is not known.
    InvalidValueError
        No framework is called `target`, or an option has no such value.
    MissingDependencyError
        The target's package is not installed.

    Examples
    --------
    >>> import numpy as np, numpack
    >>> a = np.arange(4, dtype="f4")
    >>> t = numpack.share(a, "torch")
    >>> t[0] = 7
    >>> a
    array([7., 1., 2., 3.], dtype=float32)
    """
    check_copy(copy)
    try:
        return _share(x, target, copy, options)
    except OWN:
        raise
    except BaseException as error:  # noqa: BLE001 -- Rust's panics are no `Exception`
        translate(error, f"to {target}", x)


def _share(x: Any, target: str, copy: bool | None, options: dict[str, Any]) -> Any:
    sink = by_name(target)
    x, source = _source(x)
    leaving, arriving = _split(x, options, source, sink)
    x = _selected(_read(x, source), source, leaving)
    straight = None if leaving else _straight(x, source, sink, arriving)
    if straight is not None:
        return carry_out(straight, copy)
    _refuse_lost_zone(x, source, sink, arriving)
    first: Plan[Any] = source.module().to_numpy(x, **leaving)
    if sink.name == "numpy":
        return carry_out(first, copy)
    if copy is not None and not copy and first.obstacle is not None:
        with contextlib.suppress(ZeroCopyError):  # the first step's own is raised below
            _second(first, sink, arriving)  # may refuse, which is so under every policy
    if not copy:
        array = carry_out(first, copy)
        return carry_out(_onward(array, first, sink, arriving), copy)
    if first.obstacle is None:
        return _arrive(first.result(), first, sink, arriving).independent()
    return _arrive(first.independent(), first, sink, arriving).result()


def explain(x: Any, target: str, **options: Any) -> Route:
    """Tell whether `share` would copy, and why, without moving data.

    The verdict comes from the very plans that `share` carries out.

    Parameters
    ----------
    x : array
        As for `share`. A raw capsule is not consumed.
    target : str
    **options
        As for `share`.

    Returns
    -------
    Route
        With ``shares_memory``, ``supported``, ``reason``, ``fix``, ``nbytes`` and ``steps``.

    Raises
    ------
    WrongTypeError, InvalidValueError, MissingDependencyError
        As `share`. What `share` refuses with `UnsupportedError` is a route that is not
        ``supported``.

    Notes
    -----
    Where only the values decide they are looked at: objects and casts to Arrow are
    converted, and what comes from Arrow as another dtype is too if it goes on; so are times
    that were copied first, and what is asked for as another dtype.

    Examples
    --------
    >>> import numpy as np, numpack
    >>> numpack.explain(np.zeros((2, 3)), "torch")
    numpy -> torch: shares memory
      to torch: shared
    >>> route = numpack.explain(np.zeros(1000, bool), "arrow")
    >>> route.verdict, route.reason
    ('copies 1,000 bytes', 'Arrow packs booleans as bits')
    >>> route.fix
    'pass type=pa.bool8() to share the bytes'
    """
    source, sink, direction = None, by_name(target), f"to {target}"
    steps: list[Step] = []
    try:
        x, source = _source(x)
        _refuse_single_use(x)
        direction = f"from {source.module().LABEL}"
        leaving, arriving = _split(x, options, source, sink)
        for step in _steps(x, source, sink, leaving, arriving):
            steps.append(step)
            direction = f"to {sink.module().LABEL}"
    except UnsupportedError as error:
        way = error.direction or direction
        steps.append(Step(way, "refused", reason=error.reason, fix=error.fix))
    except ZeroCopyError as error:  # of a producer, as nothing here forbids a copy
        steps.append(Step(direction, "refused", reason=str(error), fix="pass a copy of it"))
    except OWN:
        raise
    except BaseException as error:  # noqa: BLE001 -- Rust's panics are no `Exception`
        steps.append(_failed(error, direction, x))
    return Route.of("object" if source is None else source.name, sink.name, tuple(steps))


def _steps(
    x: Any,
    source: Framework,
    sink: Framework,
    leaving: dict[str, Any],
    arriving: dict[str, Any],
) -> Iterator[Step]:
    x = _selected(x, source, leaving)
    straight = None if leaving else _straight(x, source, sink, arriving)
    if straight is not None:
        yield Step.of(straight)
        return
    _refuse_lost_zone(x, source, sink, arriving)
    first: Plan[Any] = source.module().to_numpy(x, **leaving)
    if source.name != "numpy" or sink.name == "numpy" or first.obstacle is not None:
        yield Step.of(first)
    if sink.name != "numpy":
        yield Step.of(_second(first, sink, arriving))


def _failed(error: BaseException, direction: str, given: object) -> Step:
    """Describe the refusal that `share` raises for an exception of another library."""
    try:
        translate(error, direction, given)
    except UnsupportedError as own:
        return Step(direction, "refused", reason=own.reason, fix=own.fix)


def _selected(x: Any, source: Framework, leaving: dict[str, Any]) -> Any:
    """Select the column that is asked for, so that it goes the way that it would go alone."""
    select = getattr(source.module(), "select_column", None)
    if select is None or leaving.get("column") is None:
        return x
    found = select(x, leaving["column"])
    if found is None:  # it is converted at each request, which only the whole object tells
        return x
    del leaving["column"]
    return found


def _refuse_lost_zone(
    x: Any, source: Framework, sink: Framework, arriving: dict[str, Any]
) -> None:
    """Refuse times with a zone over NumPy to a framework that has zones: NumPy has none."""
    zone = getattr(source.module(), "zone", None)
    if zone is None or sink.name == "numpy" or not getattr(sink.module(), "HAS_ZONES", False):
        return
    found = zone(x)
    if found is None or getattr(arriving.get("type"), "tz", None) is not None:
        return
    options = ", ".join(f"{name}=" for name in sorted(arriving.keys() & _OVER_NUMPY))
    fix = "share it with 'numpy' first, whose times are those of UTC, and share what it gives"
    if options:
        fix = f"leave out {options}, or {fix}"
    given = f"{type(x).__name__} with times in {found}"
    why = "the way leads over NumPy, whose times have no zone"
    refuse(f"to {sink.module().LABEL}", given, why, fix)


class _Read:
    """The contents of a stream, which can be requested any number of times."""

    def __init__(self, columns: Any) -> None:
        self._columns = columns

    def __len__(self) -> int:
        return len(self._columns)

    def __arrow_c_stream__(self, requested_schema: object = None) -> Any:
        return self._columns.__arrow_c_stream__(requested_schema)


def _read(x: Any, source: Framework) -> Any:
    """Read a stream, which can be read but once; anything else is returned as it is."""
    if not _is_single_use(x):
        return x
    departures = getattr(source.module(), "BRIDGE_EXPORTS", {})
    return _Read(departures["arrow"](x)) if "arrow" in departures else x


def _straight(
    x: object, source: Framework, sink: Framework, arriving: dict[str, Any]
) -> Plan[Any] | None:
    """Plan a way past the hub; ``None`` if both sides do not know one for this object."""
    departures = getattr(source.module(), "BRIDGE_EXPORTS", {})
    arrivals = getattr(sink.module(), "BRIDGE_IMPORTS", {})
    for bridge in departures.keys() & arrivals.keys():
        known = arrivals[bridge].__kwdefaults__ or {}
        crossing = departures[bridge](x) if arriving.keys() <= known.keys() else None
        if crossing is None:
            continue
        first = crossing if isinstance(crossing, Plan) else None
        plan: Plan[Any] | None = arrivals[bridge](
            first.result() if first else crossing, **arriving
        )
        if plan is not None and first is not None:
            return _computed(first, plan, functools.partial(arrivals[bridge], **arriving))
        if plan is not None:
            return plan
    return None


def _computed(first: Plan[Any], then: Plan[Any], arrive: Callable[[Any], Any]) -> Plan[Any]:
    """Plan what had to be made before it could cross.

    What the first step makes of nothing but copies belongs to nobody else; where it makes
    only a part, `independent` makes all.
    """
    independent = then.result
    if first.independent is not first.result:

        def independent() -> Any:
            return arrive(first.independent()).result()

    obstacle, nbytes = first.obstacle, first.nbytes
    if obstacle is None:
        obstacle, nbytes = then.obstacle, then.nbytes
    elif then.obstacle is not None:
        why = f"{obstacle.reason}, and {then.obstacle.reason}"
        obstacle = Obstacle(why, f"{obstacle.fix}; {then.obstacle.fix}")
        nbytes += then.nbytes
    return dataclasses.replace(
        then,
        direction=first.direction,
        describe=first.describe,
        nbytes=nbytes,
        obstacle=obstacle,
        independent=independent,
    )


def _second(first: Plan[Any], sink: Framework, arriving: dict[str, Any]) -> Plan[Any]:
    """Plan the way on from what a plan will result in."""
    array = preview(first)
    dtype = normalize_strides(array).dtype
    if dtype.kind in "mM" or not _CASTS.isdisjoint(arriving):  # the values may decide
        array = preview(first, exactly=True)
    return _onward(array, first, sink, arriving)


def _onward(
    array: Any, first: Plan[Any], sink: Framework, arriving: dict[str, Any]
) -> Plan[Any]:
    """Plan the way on from the hub.

    Where a copy came to lie is luck, and nobody else has it: what only stands in the way for
    that reason is mended by moving it, and is no second copy that a user could avoid.
    """
    plan = _arrive(array, first, sink, arriving)
    if first.obstacle is None or plan.obstacle is None:
        return plan
    settled = array.flags.c_contiguous and alignment_obstacle(array) is None
    if settled or array.dtype.hasobject:
        return plan
    moved = _arrive(aligned_copy(array), first, sink, arriving)
    return plan if moved.obstacle is not None else moved


def _arrive(
    array: Any, first: Plan[Any], sink: Framework, arriving: dict[str, Any]
) -> Plan[Any]:
    """Plan the way to the target; a refusal of objects names the source's own fix."""
    if array.ndim != 1 and isinstance(arriving.get("name"), _Inherited):
        arriving = {k: v for k, v in arriving.items() if k != "name"}  # what has columns
    try:
        plan: Plan[Any] = sink.module().from_numpy(array, **arriving)
    except UnsupportedError as error:
        fix = first.regular() if first.regular and array.dtype.kind == "O" else ""
        if not fix:
            raise
        refuse(error.direction, first.describe(), error.reason, fix)
    return plan


def _refuse_single_use(x: object) -> None:
    """Refuse to look into a stream: whoever looks has used it up."""
    if _is_single_use(x):
        fix = "read it first: pyarrow.chunked_array(x)"
        wrong_type("explain", "an array that can be looked at twice", x, fix)


def _is_single_use(x: object) -> bool:
    if not hasattr(x, "__arrow_c_stream__"):
        return False
    return not hasattr(x, "__len__") and not hasattr(x, "__arrow_c_array__")


def _source(x: Any) -> tuple[Any, Framework]:
    """Find the framework of an object, or of what the object wraps."""
    framework = of_object(x)
    if framework is WRAPPER:
        x = framework.module().unwrap(x)
        framework = of_object(x)
    elif framework is None and isinstance(x, list | tuple):
        framework = of_sequence(x)
    if framework is None or framework is WRAPPER:
        wrong_type(
            "share",
            "an array of a framework that it knows, or an object with __dlpack__ or "
            "__arrow_c_array__",
            x,
            fix_for(x),
        )
    return x, framework


def _split(
    x: Any, options: dict[str, Any], source: Framework, sink: Framework
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Give each option to the framework that takes it."""
    from_options: frozenset[str] = source.module().FROM_OPTIONS
    to_options: frozenset[str] = frozenset()
    if sink.name != "numpy":
        to_options = sink.module().TO_OPTIONS
    unknown = sorted(set(options) - from_options - to_options)
    if unknown:
        known = ", ".join(sorted(from_options | to_options)) or "none"
        msg = (
            f"from {source.name} to {sink.name} there is no option {unknown[0]!r}; "
            f"the options are: {known}"
        )
        raise WrongTypeError(msg)
    leaving = {k: v for k, v in options.items() if k in from_options and k not in to_options}
    arriving = {k: v for k, v in options.items() if k in to_options}
    if source.name in _NAMED and sink.name in _NAMED and "name" not in arriving:
        name = options.get("column", getattr(x, "name", None))
        if isinstance(name, str) and name and "schema" not in arriving:
            arriving["name"] = _Inherited(name)
    return leaving, arriving
