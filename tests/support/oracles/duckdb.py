"""DuckDB: relations of one column."""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from . import arrow


def make(values: np.ndarray) -> duckdb.DuckDBPyRelation | None:
    if values.dtype.kind in "mS" or values.dtype == np.float16:
        return None
    column = arrow.make(values)
    return None if column is None else duckdb.from_arrow(pa.table({"value": column}))


def address(relation: duckdb.DuckDBPyRelation) -> None:
    return None


def values(relation: duckdb.DuckDBPyRelation) -> np.ndarray:
    column = relation.to_arrow_table().column(0).combine_chunks()
    shape = [len(column)]
    while pa.types.is_fixed_size_list(column.type):
        shape.append(column.type.list_size)
        column = column.flatten()
    return column.to_numpy(zero_copy_only=False).reshape(shape)
