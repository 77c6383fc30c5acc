"""Exceptions of other libraries, translated into `UnsupportedError`.

A panic in a Rust library is raised as a ``BaseException`` by pyo3, so ``except Exception`` does
not catch it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from ..._core.policy import refuse
from ...errors import NumpackError

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")

_LIBRARIES = frozenset(
    {"pyo3_runtime", "polars", "pyarrow", "duckdb", "_duckdb", "arro3", "nanoarrow", "pandas"}
)
_GENERAL = (TypeError, ValueError, NotImplementedError, OverflowError, RuntimeError)
_CALLER_ERRORS = frozenset({"ConnectionException", "CatalogException"})  # of DuckDB


def translate_errors(
    make: Callable[..., T], direction: str, given: Callable[[], str]
) -> Callable[..., T]:
    """Wrap `make` so that exceptions of other libraries become `UnsupportedError`.

    Interrupts (`KeyboardInterrupt`, exceptions raised by signal handlers) propagate.
    """

    def wrapper(*args: Any) -> T:
        try:
            return make(*args)
        except BaseException as error:
            if not _is_foreign(error):
                raise
            lines = str(error).splitlines() or [type(error).__name__]
            why = f"{direction.partition(' ')[2]} does not accept it ({lines[0][:200]})"
            refuse(direction, given(), why, "cast it first, in pyarrow: column.cast(...)")

    return wrapper


def _is_foreign(error: BaseException) -> bool:
    """Check whether another library raised an exception, and raised it because of the data."""
    kind = type(error)
    if isinstance(error, NumpackError | Warning) or kind.__name__ in _CALLER_ERRORS:
        return False
    return kind in _GENERAL or kind.__module__.partition(".")[0] in _LIBRARIES
