"""Errors and warnings for what a format cannot hold."""

from __future__ import annotations

import contextlib
import warnings
from typing import TYPE_CHECKING, Any

from ...errors import AttributesWarning, InvalidValueError, NumpackError, UnsupportedError
from ...store.format.naming import quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from .._protocol import ArrayInfo


def unsupported_array(
    name: str, what: str, label: str, reason: str, fix: str
) -> UnsupportedError:
    """Return the error for an array that a format cannot hold.

    Parameters
    ----------
    name : str
        Of the array.
    what : str
        The dtype, or what else it is about the array: ``"complex64"``, ``"a 0-d array"``.
    label : str
        The format's name in messages.
    reason : str
        Why the format cannot hold it.
    fix : str
        What to do: another format, or ``dtype=``.
    """
    msg = f"{quoted(name)} is {what}, which {label} cannot hold: {reason}; {fix}"
    return UnsupportedError(msg, reason=reason, fix=fix, direction=f"to {label}")


def require_utf8_name(name: str, label: str) -> None:
    """Refuse a name that a format, whose names are UTF-8, cannot hold.

    Raises
    ------
    UnsupportedError
        The name has a surrogate.
    """
    try:
        name.encode()
    except UnicodeEncodeError as error:
        reason, fix = "its names are UTF-8", "give it another name with rename="
        raise unsupported_array(name, "a name with a surrogate", label, reason, fix) from error


def text_error(name: str, what: str, label: str) -> UnsupportedError:
    """Return the error for a string of an array that UTF-8 cannot encode."""
    why = "UTF-8 has no code for a surrogate, which one of its strings has"
    return unsupported_array(name, what, label, why, "replace it, or choose .npk or .npy")


def warn_of_attributes(
    arrays: Mapping[str, ArrayInfo], attrs: Mapping[str, Any], label: str
) -> None:
    """Warn that a format has no place for attributes, if there are any."""
    owners = [quoted(name) for name, info in arrays.items() if info.attrs]
    owners += ["the store"] if attrs else []
    if owners:
        msg = (
            f"the attributes of {', '.join(owners[:20])} are left out, because {label} has no "
            "place for them; attrs=False leaves them out without this warning"
        )
        warnings.warn(msg, AttributesWarning, stacklevel=2)


@contextlib.contextmanager
def reading(path: Path, label: str) -> Iterator[None]:
    """Translate errors of a library that reads a file.

    Errors of this package and of the system calls pass.

    Raises
    ------
    InvalidValueError
        The library finds the file damaged, or of another format.
    """
    try:
        yield
    except (NumpackError, MemoryError):
        raise
    except Exception as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        what = str(error) or type(error).__name__
        msg = (
            f"{path} is not {label}, or it is damaged: {what}; get the complete file, or name "
            "its format with format="
        )
        raise InvalidValueError(msg) from error
