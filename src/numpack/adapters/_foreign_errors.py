"""Translation of exceptions of other libraries into this package's errors.

A producer or a consumer may raise anything, including a Rust panic, which is not an
`Exception`. A caller handles this package's errors only; the original exception is the cause.
"""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

from ..errors import NoMemoryError, NumpackError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Callable

    F = TypeVar("F", bound=Callable[..., Any])

# Not translated: this package's errors, warnings raised as errors, and program exits.
OWN = (NumpackError, Warning, KeyboardInterrupt, SystemExit, GeneratorExit)
_MAX_LENGTH = 300
_FIX = "convert it with its own library first, and share the result"


def translate_errors(direction: str) -> Callable[[F], F]:
    """Decorate a conversion to translate the exceptions that other libraries raise in it."""

    def decorate(function: F) -> F:
        @functools.wraps(function)
        def guard(*arguments: Any, **options: Any) -> Any:
            try:
                return function(*arguments, **options)
            except OWN:
                raise
            except BaseException as error:
                if _is_call_error(error):
                    raise
                translate(error, direction, next(iter((*arguments, *options.values())), None))

        return guard  # type: ignore[return-value]

    return decorate


def _is_call_error(error: BaseException) -> bool:
    """Check whether the arguments do not match the signature, so the function never ran."""
    frames = error.__traceback__
    return isinstance(error, TypeError) and frames is not None and frames.tb_next is None


def translate(error: BaseException, direction: str, given: object) -> NoReturn:
    """Raise this package's error for an exception of another library.

    Parameters
    ----------
    error : BaseException
        Not an instance of `OWN`.
    direction : str
        For the message: ``"from DLPack"``.
    given : object
        The object that was converted.
    """
    name = f"{type(given).__module__}.{type(given).__qualname__}".removeprefix("builtins.")
    why = f"its library raised {type(error).__name__}{_text(error)}"
    msg = f"Zero-copy conversion {direction} failed: {name}, {why}; {_FIX}"
    if isinstance(error, MemoryError):
        raise NoMemoryError(msg) from error
    raise UnsupportedError(msg, reason=why, fix=_FIX, direction=direction) from error


def _text(error: BaseException) -> str:
    """Return the first line of an exception's message, or an empty string."""
    try:
        lines = str(error).strip().splitlines()
    except Exception:  # noqa: BLE001 -- __str__ of another library may raise anything
        return ""
    return f": {lines[0][:_MAX_LENGTH]}" if lines else ""
