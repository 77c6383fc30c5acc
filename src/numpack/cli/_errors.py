"""Errors as one line of text."""

from __future__ import annotations

import sys

from ..errors import NumpackError
from ._text import escaped
from ._wording import worded


class UsageError(NumpackError, ValueError):
    """The arguments are of the right form, and do not fit each other or the store."""


def message_of(error: BaseException, command: str = "") -> str:
    """Return what an error says, in one line and without control characters.

    An error that neither this package nor the system has raised is named by its type: it is
    an error of the package, or of a library.
    """
    text = " ".join(str(error).split())
    if isinstance(error, OSError) and not isinstance(error, NumpackError):
        text = _of_system(error)
    elif isinstance(error, MemoryError) and not isinstance(error, NumpackError):
        text = f"there is not enough memory{f': {text}' if text else ''}"
    elif not isinstance(error, NumpackError):
        text = f"unexpected {type(error).__name__}: {text}; please report it"
    else:
        text = worded(text, command)
    return escaped(text)


def complain(message: str) -> None:
    """Write one line to standard error, which may be closed."""
    try:
        sys.stderr.write(f"numpack: {message}\n")
        sys.stderr.flush()
    except (OSError, ValueError, AttributeError):
        pass


def _of_system(error: OSError) -> str:
    """Return the file and what the system says, without the number of the error."""
    reason = error.strerror or " ".join(str(error).split()) or type(error).__name__
    names = [str(name) for name in (error.filename, error.filename2) if name is not None]
    return ": ".join([" -> ".join(names), reason] if names else [reason])
