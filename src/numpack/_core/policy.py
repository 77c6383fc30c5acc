"""The copy policy, and :class:`Route`: the only place that warns about or refuses a copy.

A framework's module looks at an array and returns a :class:`Plan`: what stands in the way
of sharing it, if anything, and how to get the result. :func:`carry_out` turns a plan into
a result under ``copy=None | False | True``; :class:`Route` tells the same plan to a person.
Because both read one plan, what `explain` says is what a conversion does.
"""

from __future__ import annotations

import os
import sys
import warnings
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, NoReturn, TypeVar

import numpy as np

from ..errors import (
    CopyWarning,
    InvalidValueError,
    ReadOnlyWarning,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

NULLS = ("convert", "mask", "raise")
MASK_OR_FILL = (
    "pass nulls='mask' for a masked array over the same memory, or fill them first for a "
    "framework that has no masks"
)
_PACKAGE = f"{os.path.dirname(os.path.dirname(__file__))}{os.sep}"


class Obstacle(NamedTuple):
    """What keeps memory from being shared, and what to change so that it can be."""

    reason: str
    fix: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan(Generic[T]):
    """One hand-over, decided but not done.

    Attributes
    ----------
    direction : str
        For messages: ``"to torch"``, ``"from Arrow"``.
    describe : callable
        Describes what came; called only when a message is needed.
    nbytes : int
        Bytes that a copy takes.
    result : callable
        Makes the result at the lowest cost: shares, or where `obstacle` is set, copies.
    independent : callable
        Makes the result in writable memory of its own, copying once.
    obstacle : Obstacle or None
        Why memory cannot be shared; ``None`` where it is.
    action : str
        How memory is shared, for a person.
    caution : str
        What to warn about though memory is shared; empty for nothing.
    preview : callable
        Gives what the result will hold without moving data, so that `explain` can plan the
        next hand-over; by default the result itself, which is free when shared.
    result_spec : tuple of shape and dtype, or None
        Of a result that is costly to make, and will lie in C order; for `explain` zeros
        stand in for it where the next hand-over does not look at values (objects it does).
    regular : callable or None
        Returns the fix in the words of the source where the result is an array of objects
        that the target refuses: how the source keeps them as an array of numbers; or nothing.
    """

    direction: str
    describe: Callable[[], str]
    nbytes: int
    result: Callable[[], T]
    independent: Callable[[], T]
    obstacle: Obstacle | None = None
    action: str = "shared"
    caution: str = ""
    preview: Callable[[], T] | None = None
    result_spec: tuple[tuple[int, ...], np.dtype[Any]] | None = None
    regular: Callable[[], str] | None = None


def carry_out(plan: Plan[T], copy: bool | None) -> T:
    """Do what `plan` says under the copy policy.

    Parameters
    ----------
    plan : Plan
    copy : bool or None
        ``None``: share, else copy once with `CopyWarning`. ``False``: share, else raise
        `ZeroCopyError`. ``True``: independent, writable memory.
    """
    if copy is None:
        if plan.obstacle is not None:
            warn(_cannot_share(plan, plan.obstacle), CopyWarning)
        elif plan.caution:
            warn(plan.caution, ReadOnlyWarning)
        return plan.result()
    check_copy(copy)
    if copy:
        return plan.independent()
    if plan.obstacle is not None:
        raise ZeroCopyError(_cannot_share(plan, plan.obstacle))
    if plan.caution:
        warn(plan.caution, ReadOnlyWarning)
    return plan.result()


def check_copy(copy: object) -> None:
    """Raise `InvalidValueError` unless `copy` is one of the policy's three values."""
    if copy is not None and not isinstance(copy, bool | np.bool_):
        msg = f"copy must be None, False or True, not {copy!r}"
        raise InvalidValueError(msg)


def check_nulls(nulls: object) -> None:
    """Raise `InvalidValueError` unless `nulls` says what NumPy gets for a null."""
    if nulls not in NULLS:
        msg = f"nulls must be one of {', '.join(map(repr, NULLS))}, not {nulls!r}"
        raise InvalidValueError(msg)


def refuse(direction: str, given: str, why: str, fix: str) -> NoReturn:
    """Raise `UnsupportedError`: no faithful result exists under any policy."""
    msg = f"Zero-copy conversion {direction} failed: {given}, {why}; {fix}"
    raise UnsupportedError(msg, reason=why, fix=fix, direction=direction)


def wrong_type(function: str, expected: str, got: object, fix: str) -> NoReturn:
    """Raise `WrongTypeError` naming what was expected and what came."""
    kind = type(got)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    raise WrongTypeError(f"{function} expects {expected}, got {name}; {fix}")


def warn(message: str, category: type[Warning]) -> None:
    """Warn, pointing at the line outside of this package that made the call."""
    warnings.warn(message, category, stacklevel=_caller_level())


def describe(array: np.ndarray[tuple[int, ...], Any]) -> str:
    """Say what array came: ``float32 array of shape (3, 4)``."""
    kind = "array" if type(array) is np.ndarray else type(array).__name__
    dtype, shape = np.ndarray.dtype.__get__(array), np.ndarray.shape.__get__(array)
    name = "string" if dtype.kind == "T" else str(dtype)
    if dtype.kind in "SU" or not dtype.isnative:
        name = dtype.str
    return f"{name} {kind} of shape {shape}"


def did_you_mean(name: str, known: list[str]) -> str:
    """Suggest the nearest of the known names, for the end of a message; empty if none is."""
    import difflib  # noqa: PLC0415 -- takes a millisecond to import, for messages alone

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _cannot_share(plan: Plan[Any], obstacle: Obstacle) -> str:
    return (
        f"Zero-copy conversion {plan.direction} failed: {plan.describe()}, {obstacle.reason}; "
        f"a copy takes {plan.nbytes:,} bytes; {obstacle.fix}"
    )


def _caller_level() -> int:
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 -- the documented way to the caller
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        level, frame = level + 1, frame.f_back
    return level


@dataclass(frozen=True, slots=True)
class Step:
    """One hand-over of a :class:`Route`.

    Attributes
    ----------
    direction : str
        ``"to torch"``, ``"from Arrow"``.
    action : str
        ``"shared"``, ``"mapped copy-on-write"``, ``"copied"`` or ``"refused"``.
    nbytes : int
        Bytes that this step copies; 0 where memory is shared.
    reason, fix : str
        Why it is not shared and what to change; empty where it is.
    caution : str
        The text of the `ReadOnlyWarning` that comes with the shared memory; empty for none.
    """

    direction: str
    action: str
    nbytes: int = 0
    reason: str = ""
    fix: str = ""
    caution: str = ""

    @classmethod
    def of(cls, plan: Plan[Any]) -> Step:
        """Tell what `plan` will do."""
        if plan.obstacle is None:
            return cls(plan.direction, plan.action, caution=plan.caution)
        return cls(
            plan.direction, "copied", plan.nbytes, plan.obstacle.reason, plan.obstacle.fix
        )

    def __str__(self) -> str:
        """Give one line for a person."""
        if self.action == "refused":
            return f"{self.direction}: refused, {self.reason}; {self.fix}"
        if self.nbytes or self.reason:
            return f"{self.direction}: {self.nbytes:,} bytes copied, {self.reason}; {self.fix}"
        line = f"{self.direction}: {self.action}"
        return f"{line}; but a write changes read-only memory" if self.caution else line


@dataclass(frozen=True, slots=True)
class Route:
    """What a conversion will do, and why.

    Attributes
    ----------
    source, target : str
        The frameworks, as `share` names them.
    shares_memory : bool
        Whether the result uses the memory of the source. Memory that is a file mapped
        again copy-on-write counts: no byte is copied until one side writes.
    supported : bool
        Whether there is a faithful result at all.
    reason : str
        Why memory is not shared; empty where it is.
    fix : str
        What to change so that it is; empty where it is.
    nbytes : int
        Bytes that the conversion copies; 0 where memory is shared.
    steps : tuple of Step
        The hand-overs on the way, in order.
    """

    source: str
    target: str
    shares_memory: bool
    supported: bool
    reason: str
    fix: str
    nbytes: int
    steps: tuple[Step, ...] = field(default=())

    @classmethod
    def of(cls, source: str, target: str, steps: tuple[Step, ...]) -> Route:
        """Sum up the steps."""
        hindered = [step for step in steps if step.reason]
        return cls(
            source=source,
            target=target,
            shares_memory=not hindered,
            supported=all(step.action != "refused" for step in steps),
            reason="; ".join(step.reason for step in hindered),
            fix="; ".join(step.fix for step in hindered),
            nbytes=sum(step.nbytes for step in steps),
            steps=steps,
        )

    @property
    def cautions(self) -> tuple[str, ...]:
        """What `share` warns about though memory is shared, in the order of the steps."""
        return tuple(step.caution for step in self.steps if step.caution)

    @property
    def verdict(self) -> str:
        """One phrase: shares memory, copies so many bytes, or is not supported."""
        if not self.supported:
            return "not supported"
        return "shares memory" if self.shares_memory else f"copies {self.nbytes:,} bytes"

    def __repr__(self) -> str:
        """Give the verdict and, a line each, the steps."""
        lines = [f"{self.source} -> {self.target}: {self.verdict}"]
        lines += [f"  {step}" for step in self.steps]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        import html  # noqa: PLC0415 -- for notebooks alone

        cells = "".join(
            "<tr>"
            + "".join(
                f"<td>{html.escape(text)}</td>"
                for text in (
                    step.direction,
                    step.action,
                    f"{step.nbytes:,}",
                    step.reason or step.caution,
                    step.fix,
                )
            )
            + "</tr>"
            for step in self.steps
        )
        head = "".join(f"<th>{name}</th>" for name in ("step", "memory", "bytes", "why", "fix"))
        title = html.escape(f"{self.source} → {self.target}: {self.verdict}")
        return f"<table><caption>{title}</caption><tr>{head}</tr>{cells}</table>"
