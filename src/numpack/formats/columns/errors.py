"""Errors of pyarrow, translated into those of this package."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import pyarrow as pa

from ...errors import InvalidValueError, NumpackError, UnsupportedError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SHOWN = 300  # characters of a message


@contextlib.contextmanager
def translated(path: Path, label: str, fix: str) -> Iterator[None]:
    """Translate errors of pyarrow while it reads a file.

    Errors of the operating system pass: pyarrow raises `OSError` for damage too, but without
    their number.

    Parameters
    ----------
    path : Path
    label : str
        The name of the format.
    fix : str
        What to do about a file that is damaged.
    """
    try:
        yield
    except (NumpackError, MemoryError):
        raise
    except NotImplementedError as error:
        why = f"pyarrow does not read it ({_short(error)})"
        msg = f"{path} cannot be read: {why}; write it again with other types or encodings"
        raise UnsupportedError(msg, reason=why) from error
    except (pa.ArrowException, OSError, ValueError, TypeError, KeyError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        msg = f"{path} is not a complete {label} file: {_short(error)}; {fix}"
        raise InvalidValueError(msg) from error


def _short(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:_SHOWN]
