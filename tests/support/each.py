"""Tests of many cells: all are run in one test, and the message names those that fail."""

from __future__ import annotations

import functools
import inspect
import itertools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest

from support.ids import stable_repr


def assert_each(cells: Iterable[Any], check: Callable[..., object]) -> None:
    """Run a check for every cell; fail with the cells that failed and their errors.

    A cell that is a tuple is passed as separate arguments.
    """
    __tracebackhide__ = True
    arguments = (cell if isinstance(cell, tuple) else (cell,) for cell in cells)
    _run((", ".join(map(_label, each)), functools.partial(check, *each)) for each in arguments)


def for_each(
    names: str | tuple[str, ...],
    values: Iterable[Any],
    ids: Sequence[str] | Callable[[Any], str] | None = None,
) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Run a test for every value within one test case, otherwise as `pytest.mark.parametrize`.

    Several of these decorators run the test for the product of their values. The values share
    the fixtures, for example one folder. Several names are a tuple.
    """
    parameters = (names,) if isinstance(names, str) else names
    values = list(values)
    assert values, "there are no values"
    rows = [tuple(value) if len(parameters) > 1 else (value,) for value in values]
    if ids is None or callable(ids):
        labels = [", ".join(map(ids or _label, row)) for row in rows]
    else:
        labels = list(ids)
    axis = [
        (label, dict(zip(parameters, row, strict=True)))
        for label, row in zip(labels, rows, strict=True)
    ]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        test, axes = getattr(function, "_cells", (function, []))
        axes = [axis, *axes]
        taken = {name for each in axes for name in each[0][1]}

        @functools.wraps(test)
        def run(*args: Any, **fixtures: Any) -> None:  # `args`: of a method, the object
            _run(
                (
                    ", ".join(label for label, _ in cell),
                    functools.partial(
                        test,
                        *args,
                        **{k: v for _, each in cell for k, v in each.items()},
                        **fixtures,
                    ),
                )
                for cell in itertools.product(*axes)
            )

        signature = inspect.signature(test)
        kept = [each for each in signature.parameters.values() if each.name not in taken]
        run.__signature__ = signature.replace(parameters=kept)
        run._cells = test, axes
        return run

    return decorate


def _run(calls: Iterable[tuple[str, Callable[[], object]]]) -> None:
    __tracebackhide__ = True
    failures, last, count = [], None, 0
    for label, call in calls:
        count += 1
        try:
            call()
        except (Exception, pytest.fail.Exception) as error:
            failures.append(f"[{label}] {type(error).__name__}: {error}")
            last = error
    assert count, "there are no cells"
    if failures:
        summary = f"{len(failures)} of {count} cells failed"
        raise AssertionError("\n".join([summary, *failures])) from last


def _label(value: object) -> str:
    return value if isinstance(value, str) else stable_repr(value)[:80]
