"""Datasets of Hugging Face: tables, and indices of the selected rows."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from numpack import (
    CopyWarning,
    WrongTypeError,
    ZeroCopyError,
    explain,
    share,
)


class Dataset:
    """Stand-in for a Hugging Face dataset: a table and the indices of the selected rows."""

    __module__ = "datasets.arrow_dataset"

    def __init__(self, table, indices=None):
        self.data = type("Table", (), {"table": table})()
        self._indices = indices

    def with_format(self, kind):
        assert kind == "arrow"
        return self

    def __getitem__(self, key):
        return self.data.table.take(self._indices) if isinstance(key, slice) else None

    def flatten_indices(self):
        return Dataset(self[:])

    def __len__(self):
        return len(self.data.table if self._indices is None else self._indices)


class Column:
    __module__ = "datasets.arrow_dataset"

    def __init__(self, source, column_name):
        self.source, self.column_name = source, column_name

    def __len__(self):
        return len(self.source)


TABLE = pa.table({"a": [1, 2, 3], "s": [{"u": 1.5}, None, {"u": 2.5}]})


def test_datasets_share_their_table():
    whole = Dataset(TABLE)
    assert share(whole, "arrow", copy=False) is TABLE
    for column in (Column(whole, "a"), Dataset(TABLE.select(["a"]))):
        array = share(column, "numpy", copy=False)
        assert array.tolist() == [1, 2, 3]
        assert array.ctypes.data == TABLE["a"].chunk(0).buffers()[1].address
        assert explain(column, "torch").shares_memory
    assert share(whole, "numpy", column="a", copy=False).tolist() == [1, 2, 3]
    nested = share(Column(Column(whole, "s"), "u"), "arrow", copy=False)
    assert nested.to_pylist() == [1.5, None, 2.5]
    with pytest.raises(WrongTypeError, match="column="):
        share(whole, "numpy")


def test_selected_rows_of_a_dataset_are_gathered_with_a_warning():
    chosen = Dataset(TABLE, pa.array([2, 0]))
    for x, options in ((chosen, {"column": "a"}), (Column(chosen, "a"), {})):
        route = explain(x, "numpy", **options)
        assert not route.shares_memory
        assert "flatten_indices()" in route.fix
        with pytest.raises(ZeroCopyError, match="gathered"):
            share(x, "numpy", copy=False, **options)
        with pytest.warns(CopyWarning):
            assert share(x, "numpy", **options).tolist() == [3, 1]
        own = share(x, "numpy", copy=True, **options)
        assert (own.tolist(), own.flags.writeable) == ([3, 1], True)
    assert not explain(chosen, "polars").shares_memory
    with pytest.warns(CopyWarning):
        assert share(chosen, "polars")["a"].to_list() == [3, 1]
    assert explain(chosen.flatten_indices(), "arrow").shares_memory


def test_other_objects_of_datasets_are_refused():
    stream = type("IterableDataset", (), {"__module__": "datasets.iterable_dataset"})()
    with pytest.raises(WrongTypeError, match="collect its rows"):
        share(stream, "numpy")


def column():
    return pa.chunked_array([pa.array(np.arange(3.0) + 1)])
