"""Errors of other libraries, turned into a refusal of this one.

A panic of a library written in Rust is a ``BaseException`` of pyo3, which no ``except
Exception`` catches.
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
_OF_THE_CALLER = frozenset({"ConnectionException", "CatalogException"})  # DuckDB's


def translate_errors(
    make: Callable[..., T], direction: str, given: Callable[[], str]
) -> Callable[..., T]:
    """Return a function that refuses where `make` ends with an error of another library.

    What interrupts the process (`KeyboardInterrupt`, what a signal handler raises) passes.
    """

    def made(*args: Any) -> T:
        try:
            return make(*args)
        except BaseException as error:
            if not _is_foreign(error):
                raise
            lines = str(error).splitlines() or [type(error).__name__]
            why = f"{direction.partition(' ')[2]} does not take it ({lines[0][:200]})"
            refuse(direction, given(), why, "cast it first, in pyarrow: column.cast(...)")

    return made


def _is_foreign(error: BaseException) -> bool:
    """Tell whether an error tells of the values, in words that are not this package's."""
    kind = type(error)
    if isinstance(error, NumpackError | Warning) or kind.__name__ in _OF_THE_CALLER:
        return False
    return kind in _GENERAL or kind.__module__.partition(".")[0] in _LIBRARIES
