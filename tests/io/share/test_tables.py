"""Columns of tables: `table_to_numpy_zero_copy`."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from support.each import for_each
from support.memory import address

from numpack import (
    CopyWarning,
    IndexRangeError,
    NotFoundError,
    NullError,
    WrongTypeError,
    ZeroCopyError,
    share,
)
from numpack.io import (
    table_to_numpy_zero_copy,
)

TABLE = pa.table({"x": np.arange(4.0), "y": np.arange(4), "s": ["a", "b", "c", "d"]})


class Stream:
    """A table of another library."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


@for_each(
    "table",
    [TABLE, TABLE.to_batches()[0], Stream(TABLE), TABLE.slice(0)],
    ids=["table", "batch", "stream", "slice"],
)
@for_each("column", ["y", 1, -2])
def test_one_column_is_shared(table, column):
    result = table_to_numpy_zero_copy(table, column, copy=False)
    assert result.tolist() == [0, 1, 2, 3]
    assert address(result) == TABLE.column("y").chunk(0).buffers()[1].address


def test_all_columns_are_returned_in_order():
    with pytest.warns(CopyWarning) as caught:
        result = table_to_numpy_zero_copy(TABLE)
    assert [w.filename for w in caught] == [__file__]
    assert list(result) == ["x", "y", "s"]
    assert result["s"].tolist() == ["a", "b", "c", "d"]
    with pytest.raises(ZeroCopyError):
        table_to_numpy_zero_copy(TABLE, copy=False)
    assert all(a.flags.writeable for a in table_to_numpy_zero_copy(TABLE, copy=True).values())


def test_missing_column_suggests_the_nearest_name():
    table = pa.table({"label": [1], "features": [2]})
    with pytest.raises(NotFoundError, match="did you mean 'features'") as caught:
        table_to_numpy_zero_copy(table, "feature")
    assert isinstance(caught.value, KeyError)
    assert "['label', 'features']" in str(caught.value)
    with pytest.raises(NotFoundError) as caught:
        table_to_numpy_zero_copy(table, "zzz")
    assert "did you mean" not in str(caught.value)


def test_repeated_names_are_selected_by_position():
    table = pa.table([[1], [2]], names=["a", "a"])
    for call in (
        lambda: table_to_numpy_zero_copy(table, "a"),
        lambda: table_to_numpy_zero_copy(table),
    ):
        with pytest.raises(ValueError, match="columns are called 'a'"):
            call()
    assert table_to_numpy_zero_copy(table, 1).tolist() == [2]


@pytest.mark.parametrize("column", [3, -4, 10**30])
def test_column_position_out_of_range(column):
    with pytest.raises(IndexRangeError, match="is out of range: the table has 3 columns"):
        table_to_numpy_zero_copy(TABLE, column)


@pytest.mark.parametrize("column", [1.0, True, ["x"], b"x"])
def test_column_of_another_type(column):
    with pytest.raises(WrongTypeError, match="column expects a name or a position"):
        table_to_numpy_zero_copy(TABLE, column)


@pytest.mark.parametrize(
    "wrong", [{"x": [1]}, np.zeros(2), pa.array([1]), Stream(pa.chunked_array([[1]]))]
)
def test_other_objects_are_not_tables(wrong):
    with pytest.raises(
        WrongTypeError, match="table_to_numpy_zero_copy expects a pyarrow.Table"
    ):
        table_to_numpy_zero_copy(wrong)


def test_nulls_of_a_table():
    table = pa.table({"x": [1, None]})
    assert table_to_numpy_zero_copy(table, "x", nulls="mask", copy=False).tolist() == [1, None]
    with pytest.raises(NullError, match="1 of its values are null"):
        table_to_numpy_zero_copy(table, nulls="raise")


def test_share_refuses_a_table():
    with pytest.raises(
        WrongTypeError, match="pass one column, or use table_to_numpy_zero_copy"
    ):
        share(TABLE, "torch")
