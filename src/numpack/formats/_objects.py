"""Objects as sources: mappings of arrays, and tables whose columns become arrays."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.policy import wrong_type
from ..adapters import of_object
from ..errors import CopyWarning, InvalidValueError
from ..io import share
from ..store.checks import checked_name
from ..store.format.naming import quoted
from ._protocol import ArrayInfo
from .common.sources import SlicedSource

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import pyarrow as pa

    from .._core.memory import Array
    from ._protocol import Source
    from .columns.columns import Column
    from .columns.source import ColumnSource

LABEL = "an object"
# Those of `columns.source.ColumnOptions`, which needs pyarrow.
READ_OPTIONS = frozenset({"nulls", "types", "ragged", "strings"})

_TABLES = ("arrow", "polars", "duckdb", "datasets", "nanoarrow", "arro3")


def open_source(given: Any, /, **options: Any) -> Source:
    """Return the arrays of a mapping, or the columns of a table.

    Raises
    ------
    WrongTypeError
        It is neither.
    """
    framework = of_object(given)
    name = "" if framework is None else framework.name
    if name == "pandas" and hasattr(given, "columns"):
        return _of_pandas(given, options)
    if name in _TABLES:
        return _of_arrow(_shared(given, "arrow"), given, options)
    if isinstance(given, Mapping) and name != "xarray":
        for option in options:
            msg = f"the arrays of a mapping have no option {option!r}; leave it out"
            raise InvalidValueError(msg)
        arrays = {checked_name(each): _shared(given[each], "numpy") for each in given}
        return ArraysSource(arrays)
    fix = "pass a path, a store, a table, or a mapping of names to arrays: {name: array}"
    wrong_type("convert", "a source of named arrays", given, fix)


def _shared(given: Any, target: str) -> Any:
    """Convert an object; it does not matter whether that takes a copy."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CopyWarning)
        return share(given, target)  # type: ignore[call-overload]  # a name


class ArraysSource(SlicedSource):
    """Arrays in memory.

    Parameters
    ----------
    arrays : mapping of str to ndarray
    attrs : mapping, optional
    infos : mapping of str to ArrayInfo, optional
        Of arrays that have attributes.
    """

    def __init__(
        self,
        arrays: Mapping[str, Array],
        attrs: Mapping[str, Any] | None = None,
        infos: Mapping[str, ArrayInfo] | None = None,
    ) -> None:
        self._values = arrays
        known = infos or {}
        super().__init__(
            {
                name: known.get(name) or ArrayInfo(array.dtype, array.shape)
                for name, array in arrays.items()
            },
            attrs,
        )

    def read(self, name: str, start: int, stop: int) -> Array:
        """Return rows of an array, as a view."""
        array = self._values[name]
        return array[start:stop] if array.ndim else array

    def close(self) -> None:
        """Do nothing."""


def _of_arrow(table: Any, given: Any, options: Mapping[str, Any]) -> ColumnSource:
    """Return the columns of a table of Arrow."""
    from .columns.source import ColumnSource  # noqa: PLC0415 -- needs pyarrow

    if not hasattr(table, "schema"):
        fix = "pass a table, or a mapping of a name to it: {name: column}"
        wrong_type("convert", "a source of named arrays", given, fix)
    return ColumnSource(TableColumns(table), **options)


class TableColumns:
    """The columns of a table in memory; see `ColumnFile`."""

    one_pass = False

    def __init__(self, table: pa.Table | pa.RecordBatch) -> None:
        import pyarrow as pa  # noqa: PLC0415 -- not for mappings

        is_batch = isinstance(table, pa.RecordBatch)
        self._table = pa.Table.from_batches([table]) if is_batch else table
        self.schema: pa.Schema = table.schema
        self.rows: int | None = table.num_rows
        self.nbytes: int | None = table.nbytes

    def batches(self, tops: Sequence[str], rows: int) -> Iterator[pa.RecordBatch]:
        """Iterate over slices of the table."""
        yield from self._table.select(list(tops)).to_batches(max_chunksize=rows)

    def null_count(self, column: Column) -> int | None:
        """Return nothing, as the fields of a struct may be null where it is."""

    def close(self) -> None:
        """Do nothing."""


def _of_pandas(frame: Any, options: Mapping[str, Any]) -> ArraysSource:
    """Return the columns of a frame; levels of its index that have names are columns too."""
    if any(name is not None for name in frame.index.names):
        frame = frame.reset_index()
    names = list(map(str, frame.columns))
    if len(set(names)) < len(names):
        msg = f"the columns {names} do not have different names; rename them"
        raise InvalidValueError(msg)
    arrays: dict[str, Array] = {}
    infos: dict[str, ArrayInfo] = {}
    for number, name in enumerate(names):
        column = frame.iloc[:, number]
        if isinstance(column.dtype, np.dtype) and not column.dtype.hasobject:
            arrays[checked_name(name)] = _shared(column, "numpy")
        else:
            made, described = _via_arrow(name, column, options)
            if made.keys() & (set(names) - {name}):
                msg = f"two arrays would be called {quoted(next(iter(made)))}; rename a column"
                raise InvalidValueError(msg)
            arrays.update(made)
            infos.update(described)
    return ArraysSource(arrays, dict(frame.attrs), infos)


def _via_arrow(
    name: str, column: Any, options: Mapping[str, Any]
) -> tuple[dict[str, Array], Mapping[str, ArrayInfo]]:
    """Convert a column that NumPy has no dtype for, with its attributes."""
    from .._core.requirements import require  # noqa: PLC0415 -- on demand

    require("this column of pandas", "pyarrow>=18", "numpack[arrow]")
    import pyarrow as pa  # noqa: PLC0415

    source = _of_arrow(pa.table({name: _shared(column, "arrow")}), column, options)
    parts = list(source.parts(list(source), together=False))
    made = {each: np.concatenate([part[each] for part in parts]) for each in source}
    return made, dict(source)
