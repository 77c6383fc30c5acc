"""`share` and `explain`: from any framework to any other, by way of the hub."""

from __future__ import annotations

import contextlib
import dataclasses
from typing import Any

from .._memory import aligned_copy, alignment_obstacle, foreseen
from .._policy import Plan, Route, Step, carry_out, check_copy, refuse, wrong_type
from .._quick import sharing
from ..errors import UnsupportedError, WrongTypeError, ZeroCopyError
from ..frameworks import Framework, by_name, of_object, way_out

_OVER_NUMPY = frozenset({"layout", "type"})  # options that lead over NumPy
_CASTS = frozenset({"dtype", "type"})  # options that ask for another dtype


@sharing
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
    source, sink = _source(x), by_name(target)
    leaving, arriving = _split(options, source, sink)
    x = _selected(x, source, leaving)
    straight, x = (None, x) if leaving else _straight(x, source, sink, arriving)
    if straight is not None:
        return carry_out(straight, copy)
    _refuse_lost_zone(x, source, sink, arriving)
    first: Plan[Any] = source.module().to_numpy(x, **leaving)
    if sink.name == "numpy":
        return carry_out(first, copy)
    arrive = sink.module().from_numpy
    if copy is not None and not copy and first.obstacle is not None:
        with contextlib.suppress(ZeroCopyError):  # the first step's own is raised below
            _second(first, sink, arriving)  # may refuse, which is so under every policy
    if not copy:
        array = carry_out(first, copy)
        return carry_out(_onward(array, first, sink, arriving), copy)
    if first.obstacle is None:
        return arrive(first.result(), **arriving).independent()
    return arrive(first.independent(), **arriving).result()


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
    _refuse_single_use(x)
    source, sink = _source(x), by_name(target)
    leaving, arriving = _split(options, source, sink)
    steps: list[Step] = []
    direction = f"from {source.module().LABEL}"
    try:
        x = _selected(x, source, leaving)
        straight, x = (None, x) if leaving else _straight(x, source, sink, arriving)
        if straight is not None:
            return Route.of(source.name, sink.name, (Step.of(straight),))
        _refuse_lost_zone(x, source, sink, arriving)
        first: Plan[Any] = source.module().to_numpy(x, **leaving)
        if source.name != "numpy" or sink.name == "numpy" or first.obstacle is not None:
            steps.append(Step.of(first))
        if sink.name != "numpy":
            direction = f"to {sink.module().LABEL}"
            steps.append(Step.of(_second(first, sink, arriving)))
    except UnsupportedError as error:
        way = error.direction or direction
        steps.append(Step(way, "refused", reason=error.reason, fix=error.fix))
    return Route.of(source.name, sink.name, tuple(steps))


def _selected(x: Any, source: Framework, leaving: dict[str, Any]) -> Any:
    """Select the column that is asked for, so that it goes the way that it would go alone."""
    select = getattr(source.module(), "select_column", None)
    if select is None or leaving.get("column") is None:
        return x
    return select(x, leaving.pop("column"))


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


def _straight(
    x: object, source: Framework, sink: Framework, arriving: dict[str, Any]
) -> tuple[Plan[Any] | None, Any]:
    """Plan a way past the hub; ``None`` if both sides do not know one for this object.

    With it comes what to take to the hub then: of a stream what was read of it.
    """
    departures = getattr(source.module(), "DEPARTURES", {})
    arrivals = getattr(sink.module(), "ARRIVALS", {})
    for bridge in departures.keys() & arrivals.keys():
        known = arrivals[bridge].__kwdefaults__ or {}
        crossing = departures[bridge](x) if arriving.keys() <= known.keys() else None
        if crossing is None:
            continue
        first = crossing if isinstance(crossing, Plan) else None
        plan: Plan[Any] | None = arrivals[bridge](
            first.result() if first else crossing, **arriving
        )
        if plan is not None:
            return (plan if first is None else _computed(first, plan)), x
        if _is_single_use(x):
            x = crossing
    return None, x


def _computed(first: Plan[Any], then: Plan[Any]) -> Plan[Any]:
    """Tell of what had to be made before it could cross, which then belongs to nobody else."""
    return dataclasses.replace(
        then,
        direction=first.direction,
        given=first.given,
        nbytes=first.nbytes,
        obstacle=first.obstacle,
        independent=then.result,
    )


def _second(first: Plan[Any], sink: Framework, arriving: dict[str, Any]) -> Plan[Any]:
    """Plan the way on from what a plan will result in."""
    array = foreseen(first)
    if array.dtype.kind in "mM" or not _CASTS.isdisjoint(arriving):  # the values may decide
        array = foreseen(first, exactly=True)
    return _onward(array, first, sink, arriving)


def _onward(
    array: Any, first: Plan[Any], sink: Framework, arriving: dict[str, Any]
) -> Plan[Any]:
    """Plan the way on from the hub.

    Where a copy came to lie is luck, and nobody else has it: what only stands in the way for
    that reason is mended by moving it, and is no second copy that a user could avoid.
    """
    arrive = sink.module().from_numpy
    plan: Plan[Any] = arrive(array, **arriving)
    settled = array.flags.c_contiguous and alignment_obstacle(array) is None
    if first.obstacle is None or plan.obstacle is None or settled or array.dtype.hasobject:
        return plan
    moved: Plan[Any] = arrive(aligned_copy(array), **arriving)
    return plan if moved.obstacle is not None else moved


def _refuse_single_use(x: object) -> None:
    """Refuse to look into a stream: whoever looks has used it up."""
    if _is_single_use(x):
        fix = "read it first: pyarrow.chunked_array(x)"
        wrong_type("explain", "an array that can be looked at twice", x, fix)


def _is_single_use(x: object) -> bool:
    again = hasattr(x, "__len__") or hasattr(x, "__arrow_c_array__")
    return hasattr(x, "__arrow_c_stream__") and not again


def _source(x: object) -> Framework:
    framework = of_object(x)
    if framework is None:
        wrong_type(
            "share",
            "an array of a framework that it knows, or an object with __dlpack__ or "
            "__arrow_c_array__",
            x,
            way_out(x),
        )
    return framework


def _split(
    options: dict[str, Any], source: Framework, sink: Framework
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
    return leaving, arriving
