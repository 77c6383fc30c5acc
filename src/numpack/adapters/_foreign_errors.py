"""Exceptions of other libraries, which leave this one as its own.

A producer or a consumer may raise anything, a panic of a Rust library included, which is no
`Exception`. A caller of this package handles the package's errors; the original is the cause.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ..errors import NoMemoryError, NumpackError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., Any])

# The package's own, warnings that a user turned into errors, and what ends a program.
OWN = (NumpackError, Warning, KeyboardInterrupt, SystemExit, GeneratorExit)
_LONGEST = 300
_FIX = "convert it with its own library first, and share the result"


def guarded(direction: str) -> Callable[[F], F]:
    """Decorate a function of an array: what other libraries raise in it is translated."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def guard(*arguments: Any, **options: Any) -> Any:
            try:
                return function(*arguments, **options)
            except OWN:
                raise
            except BaseException as error:
                if _of_the_call(error):
                    raise
                translate(error, direction, next(iter((*arguments, *options.values())), None))

        return guard  # type: ignore[return-value]

    return decorate


def _of_the_call(error: BaseException) -> bool:
    """Return whether the arguments do not fit the function, which has not run at all."""
    frames = error.__traceback__
    return isinstance(error, TypeError) and frames is not None and frames.tb_next is None


def translate(error: BaseException, direction: str, given: object) -> NoReturn:
    """Raise the package's error for an exception that another library raised.

    Parameters
    ----------
    error : BaseException
        None of `OWN`.
    direction : str
        For the message: ``"from DLPack"``.
    given : object
        What was to be converted.
    """
    name = f"{type(given).__module__}.{type(given).__qualname__}".removeprefix("builtins.")
    why = f"its library raised {type(error).__name__}{_text(error)}"
    msg = f"Zero-copy conversion {direction} failed: {name}, {why}; {_FIX}"
    if isinstance(error, MemoryError):
        raise NoMemoryError(msg) from error
    raise UnsupportedError(msg, reason=why, fix=_FIX, direction=direction) from error


def _text(error: BaseException) -> str:
    """Return the first line of an exception's text, if it has a text that can be had."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # noqa: BLE001 -- the exception is another library's, its __str__ too
        return ""
    return f": {lines[0][:_LONGEST]}" if lines else ""
