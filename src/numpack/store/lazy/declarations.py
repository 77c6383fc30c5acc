"""Decorators of the declarations in `methods`, which add bodies and examples."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, cast

from .operators import ArrayOperators, read_only_error

if TYPE_CHECKING:
    from collections.abc import Callable

    from .methods import ArrayMethods

Method = TypeVar("Method", bound="Callable[..., Any]")

_EXAMPLE = """{summary}; see `numpy.ndarray.{name}`.

Examples
--------
>>> import numpy as np
>>> from numpack import NumPack
>>> with NumPack("methods.npk") as npk:
...     npk.save({{"x": np.array([[1, 5, 3], [4, 2, 6]])}})
...     x = npk.load("x", lazy=True)
>>> {example}
{result}
"""


def _document(declared: Callable[..., Any], example: str, result: str) -> str:
    summary = (declared.__doc__ or "").rstrip(".")
    return _EXAMPLE.format(
        summary=summary, name=declared.__name__, example=example, result=result
    )


def forwarded(example: str, result: str) -> Callable[[Method], Method]:
    """Return a decorator of a declared method, which calls that of the mapping."""

    def decorate(declared: Method) -> Method:
        name = declared.__name__

        @functools.wraps(declared)
        def method(self: ArrayMethods, *args: Any, **options: Any) -> Any:
            if options:
                _refuse_out(options)
            return self._private_view(getattr(self._array, name)(*args, **options))

        method.__doc__ = _document(declared, example, result)
        return cast("Method", method)

    return decorate


def reduction(example: str, result: str) -> Callable[[Method], Method]:
    """Return a decorator of a reduction, which may need no copy of all live rows."""

    def decorate(declared: Method) -> Method:
        name = declared.__name__
        parameters = declared.__code__.co_varnames[1 : declared.__code__.co_argcount]

        @functools.wraps(declared)
        def method(self: ArrayMethods, *args: Any, **options: Any) -> Any:
            if options:
                _refuse_out(options)
            if self._deleted is not None:
                given = dict(zip(parameters, args, strict=False))
                if len(args) == len(given) and not given.keys() & options.keys():
                    found = self._reduce_live(name, given | options)
                    if found is not None:
                        return found
            return getattr(self._array, name)(*args, **options)

        method.__doc__ = _document(declared, example, result)
        return cast("Method", method)

    return decorate


def documented(example: str, result: str) -> Callable[[Method], Method]:
    """Add the reference to NumPy and an example to the docstring of a method."""

    def decorate(method: Method) -> Method:
        method.__doc__ = _document(method, example, result)
        return method

    return decorate


def in_place(name: str, fix: str) -> Callable[..., NoReturn]:
    """Return a method that refuses to change the array, and names what to call instead."""
    error = read_only_error(f"{name}() works in place: use {fix}")

    def method(self: ArrayMethods, *args: Any, **options: Any) -> NoReturn:  # noqa: ARG001
        raise read_only_error(error.fix)

    method.__name__, method.__qualname__ = name, f"ArrayMethods.{name}"
    method.__doc__ = f"Raise `UnsupportedError`: use {fix}"
    result = (
        f"Traceback (most recent call last):\n    ...\nnumpack.errors.UnsupportedError: {error}"
    )
    method.__doc__ = _document(method, f"x.{name}()", result)
    return method


def _refuse_out(options: dict[str, Any]) -> None:
    if isinstance(options.get("out"), ArrayOperators):
        raise read_only_error("pass an ndarray as out=")
