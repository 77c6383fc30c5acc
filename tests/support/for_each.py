"""Tests that check many values in one test case."""

from __future__ import annotations

import functools
import inspect
import traceback
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from .ids import stable_repr


def for_each(
    names: str | tuple[str, ...], values: Iterable[Any]
) -> Callable[..., Callable[..., Any]]:
    """Run a test for each value in one test case, as ``parametrize`` does in several.

    All values are tried. The error names those that failed, with what each of them raised. The
    fixtures are shared, so a test must not depend on a fresh folder for each value.

    Parameters
    ----------
    names : str or tuple of str
        The parameter that takes the value, or the parameters that take its items.
    values : iterable
        At least one value.
    """
    values = list(values)
    assert values

    def decorate(test: Callable[..., Any]) -> Callable[..., Any]:
        parameters = (names,) if isinstance(names, str) else names

        @functools.wraps(test)
        def run(*args: Any, **fixtures: Any) -> None:
            failed = []
            for number, value in enumerate(values):
                items = (value,) if isinstance(names, str) else value
                try:
                    test(*args, **fixtures, **dict(zip(parameters, items, strict=True)))
                except (Exception, pytest.fail.Exception) as error:
                    failed.append(_described(number, value, error))
            assert not failed, f"{len(failed)} of {len(values)} failed:\n" + "\n".join(failed)

        signature = inspect.signature(test)
        kept = [each for name, each in signature.parameters.items() if name not in parameters]
        run.__signature__ = signature.replace(parameters=kept)  # the fixtures
        return run

    return decorate


def _described(number: int, value: Any, error: BaseException) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{Path(last.filename).name}:{last.lineno}"
    text = f"{type(error).__name__} in {place}: {error}".replace("\n", "\n    ")
    return f"[{number}] {stable_repr(value):.200}: {text}"
