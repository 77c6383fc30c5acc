"""The copy policy and :class:`Route`: the only place that warns about or forbids a copy.

An adapter inspects an array and returns a :class:`Plan`: the reason why its memory cannot be
shared, if there is one, and how to compute the result. :func:`carry_out` executes a plan under
``copy=None | False | True``; :class:`Route` describes the same plan. Since both read one plan,
`explain` and the conversion agree.
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
PACKAGE = f"{os.path.dirname(os.path.dirname(__file__))}{os.sep}"


class Obstacle(NamedTuple):
    """Why memory cannot be shared, and the change that makes sharing possible."""

    reason: str
    fix: str


@dataclass(slots=True, kw_only=True, eq=False)  # a frozen one takes three times as long to make
class Plan(Generic[T]):
    """One conversion, planned but not executed.

    Attributes
    ----------
    direction : str
        For messages: ``"to torch"``, ``"from Arrow"``.
    describe : callable
        Returns a description of the input; called only when a message is needed.
    nbytes : int
        Size of the input in bytes, for messages about a copy.
    result : callable
        Computes the result at the lowest cost: shares memory, or copies if `obstacle` is set.
    independent : callable
        Computes the result in writable memory of its own, copying once.
    obstacle : Obstacle or None
        Why memory cannot be shared; ``None`` if it is.
    action : str
        How memory is shared, for display.
    caution : str
        The text of a warning although memory is shared; empty for none.
    preview : callable or None
        Returns the content of the result without moving data, so that `explain` can plan the
        next conversion; by default the result itself, which costs nothing when shared.
    result_spec : tuple of shape and dtype, or None
        Shape and dtype of a C-ordered result that is expensive to compute. `explain` replaces
        it by zeros if the next conversion does not depend on values (objects do).
    object_fix : callable or None
        Returns the fix in the source's terms if the result is an object array that the target
        refuses: how to make the source hold numbers instead. May return an empty string.
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
    object_fix: Callable[[], str] | None = None


def carry_out(plan: Plan[T], copy: bool | None) -> T:
    """Execute a plan under the copy policy.

    Parameters
    ----------
    plan : Plan
    copy : bool or None
        ``None``: share memory, or copy once with `CopyWarning`. ``False``: share memory, or
        raise `ZeroCopyError`. ``True``: return independent, writable memory.
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
    """Raise `InvalidValueError` unless `copy` is None, False or True."""
    if copy is not None and not isinstance(copy, bool | np.bool_):
        msg = f"copy must be None, False or True, not {copy!r}"
        raise InvalidValueError(msg)


def check_nulls(nulls: object) -> None:
    """Raise `InvalidValueError` unless `nulls` is one of `NULLS`."""
    if nulls not in NULLS:
        msg = f"nulls must be one of {', '.join(map(repr, NULLS))}, not {nulls!r}"
        raise InvalidValueError(msg)


def refuse(direction: str, described: str, reason: str, fix: str) -> NoReturn:
    """Raise `UnsupportedError`: a lossless result does not exist under any policy."""
    msg = f"Zero-copy conversion {direction} failed: {described}, {reason}; {fix}"
    raise UnsupportedError(msg, reason=reason, fix=fix, direction=direction)


def wrong_type(function: str, expected: str, got: object, fix: str) -> NoReturn:
    """Raise `WrongTypeError` with the expected and the actual type."""
    kind = type(got)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    raise WrongTypeError(f"{function} expects {expected}, got {name}; {fix}")


def warn(message: str, category: type[Warning]) -> None:
    """Issue a warning attributed to the caller's line outside of this package."""
    warnings.warn(message, category, stacklevel=_caller_level())


def describe(array: np.ndarray[tuple[int, ...], Any]) -> str:
    """Describe an array for messages: ``float32 array of shape (3, 4)``."""
    kind = "array" if type(array) is np.ndarray else type(array).__name__
    dtype, shape = np.ndarray.dtype.__get__(array), np.ndarray.shape.__get__(array)
    return describe_layout(dtype, shape, kind)


def describe_layout(dtype: np.dtype[Any], shape: tuple[int, ...], kind: str = "array") -> str:
    """Describe an array of a dtype and a shape, as `describe` does."""
    name = "string" if dtype.kind == "T" else str(dtype)
    if dtype.kind in "SU" or not dtype.isnative:
        name = dtype.str
    return f"{name} {kind} of shape {shape}"


def did_you_mean(name: str, known: list[str]) -> str:
    """Return a suggestion of the closest known name to append to a message, or ``""``."""
    import difflib  # noqa: PLC0415 -- a millisecond to import, needed for messages only

    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {near[0]!r}?" if near else ""


def _cannot_share(plan: Plan[Any], obstacle: Obstacle) -> str:
    return (
        f"Zero-copy conversion {plan.direction} failed: {plan.describe()}, {obstacle.reason}; "
        f"a copy takes {plan.nbytes:,} bytes; {obstacle.fix}"
    )


def _caller_level() -> int:
    level, frame = 1, sys._getframe(1)  # noqa: SLF001 -- documented, for the caller's frame
    while frame.f_back is not None and frame.f_code.co_filename.startswith(PACKAGE):
        level, frame = level + 1, frame.f_back
    return level


@dataclass(slots=True, unsafe_hash=True)  # a frozen one takes three times as long to make
class Step:
    """One conversion of a :class:`Route`.

    Attributes
    ----------
    direction : str
        ``"to torch"``, ``"from Arrow"``.
    action : str
        ``"shared"``, ``"mapped copy-on-write"``, ``"copied"`` or ``"refused"``.
    nbytes : int
        Number of bytes of the step's input that are copied or converted; 0 if memory is shared.
    reason, fix : str
        Why memory is not shared and what to change; empty if it is.
    caution : str
        The text of the `ReadOnlyWarning` that sharing raises; empty for none.
    """

    direction: str
    action: str
    nbytes: int = 0
    reason: str = ""
    fix: str = ""
    caution: str = ""

    @classmethod
    def of(cls, plan: Plan[Any]) -> Step:
        """Summarize a plan."""
        if plan.obstacle is None:
            return cls(plan.direction, plan.action, caution=plan.caution)
        return cls(
            plan.direction, "copied", plan.nbytes, plan.obstacle.reason, plan.obstacle.fix
        )

    def __str__(self) -> str:
        """Return a one-line summary."""
        if self.action == "refused":
            return f"{self.direction}: refused, {self.reason}; {self.fix}"
        if self.nbytes or self.reason:
            return f"{self.direction}: {self.nbytes:,} bytes copied, {self.reason}; {self.fix}"
        line = f"{self.direction}: {self.action}"
        return f"{line}; but a write changes read-only memory" if self.caution else line


@dataclass(slots=True, unsafe_hash=True)
class Route:
    """The steps, the cost and the reasons of a conversion.

    Attributes
    ----------
    source, target : str
        The frameworks, by their names in `share`.
    shares_memory : bool
        Whether the result uses the memory of the source. This includes a file that is mapped
        again copy-on-write: a page is copied only when it is written.
    supported : bool
        Whether a lossless result exists.
    reason : str
        Why memory is not shared; empty if it is.
    fix : str
        What to change to share memory; empty if it is shared.
    nbytes : int
        Number of bytes that are copied or converted, measured at the input of each step; 0 if
        memory is shared.
    steps : tuple of Step
        The conversions in order.

    Examples
    --------
    >>> import numpy as np
    >>> import numpack
    >>> route = numpack.explain(np.zeros(1000, bool), "arrow")
    >>> route.shares_memory, route.nbytes, route.fix
    (False, 1000, 'pass type=pa.bool8() to share the bytes')
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
        """Summarize the steps."""
        unshared = [step for step in steps if step.reason]
        if not unshared:
            return cls(source, target, True, True, "", "", 0, steps)
        return cls(
            source=source,
            target=target,
            shares_memory=not unshared,
            supported=all(step.action != "refused" for step in steps),
            reason="; ".join(step.reason for step in unshared),
            fix="; ".join(step.fix for step in unshared),
            nbytes=sum(step.nbytes for step in steps),
            steps=steps,
        )

    @property
    def cautions(self) -> tuple[str, ...]:
        """Texts of the warnings that `share` issues although memory is shared, in order."""
        return tuple(step.caution for step in self.steps if step.caution)

    @property
    def verdict(self) -> str:
        """``"shares memory"``, ``"copies … bytes"`` or ``"not supported"``."""
        if not self.supported:
            return "not supported"
        return "shares memory" if self.shares_memory else f"copies {self.nbytes:,} bytes"

    def __repr__(self) -> str:
        """Return the verdict followed by one line per step."""
        lines = [f"{self.source} -> {self.target}: {self.verdict}"]
        lines += [f"  {step}" for step in self.steps]
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        from .html import table  # noqa: PLC0415 -- needed in notebooks only

        rows: list[tuple[str, ...]] = [
            (
                step.direction,
                step.action,
                f"{step.nbytes:,}",
                step.reason or step.caution,
                step.fix,
            )
            for step in self.steps
        ]
        head: tuple[str, ...] = ("step", "memory", "bytes", "why", "fix")
        if not any(step.reason or step.caution for step in self.steps):
            rows, head = [row[:-2] for row in rows], head[:-2]
        return table(f"{self.source} → {self.target}: {self.verdict}", rows, head)
