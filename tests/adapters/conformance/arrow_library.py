"""Libraries that hold Arrow memory and exchange it by the PyCapsule interface."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.each import assert_each
from support.oracles import oracle

from numpack import CopyWarning, UnsupportedError, WrongTypeError, explain, share

COLUMNS = (
    pa.array(np.arange(5.0)),
    pa.array(np.arange(9.0)).slice(3, 4),
    pa.array([1, 2], pa.timestamp("s", "UTC")),
    pa.array([[1, 2], [3, 4]], pa.list_(pa.int8(), 2)),
    pa.array([b"a\0", b"bc"], pa.binary(2)),
)


class ArrowLibrary:
    """Conversions between Arrow columns and the objects of a library."""

    name: str

    def array(self, column: pa.Array) -> Any:
        """Make the library's array of a column."""
        raise NotImplementedError

    def chunked(self, column: pa.ChunkedArray) -> Any:
        """Make the library's array of a column in chunks."""
        return self.array(column)

    def table(self, table: pa.Table) -> Any:
        """Make the library's table of a table."""
        return self.array(table)

    @property
    def oracle(self) -> ModuleType:
        return oracle(self.name)

    def test_columns_are_shared_read_only(self):
        assert_each(COLUMNS, lambda column: self.check_column(self.array(column), column))

    def check_column(self, array: Any, column: pa.Array) -> None:
        found = share(array, "numpy", copy=False)
        assert explain(array, "numpy").shares_memory
        assert found.__array_interface__["data"] == (self.oracle.arrow.address(column), True)
        own = share(array, "numpy", copy=True)
        assert own.flags.writeable
        assert not np.shares_memory(own, found)
        assert own.tolist() == found.tolist() == share(column, "numpy").tolist()

    def test_nulls_and_slices_take_the_direct_route(self):
        column = pa.array([1, None, 3, None, 5]).slice(1, 3)
        array = self.array(column)
        assert share(array, "arrow", copy=False).to_pylist() == [None, 3, None]
        shared = share(column, self.name, copy=False)
        assert self.oracle.address(shared) == self.oracle.arrow.address(column)
        masked = share(array, "numpy", nulls="mask", copy=False)
        assert masked.tolist() == [None, 3, None]
        message = f"from {self.name} failed.*2 of its values are null"
        with pytest.warns(CopyWarning, match=message):
            assert np.isnan(share(array, "numpy")).tolist() == [True, False, True]

    def test_chunks_are_kept_and_copied_only_for_numpy(self):
        array = self.chunked(pa.chunked_array([[1, 2], [3]]))
        assert share(array, "arrow", copy=False).num_chunks == 2
        with pytest.warns(CopyWarning, match="2 chunks"):
            assert share(array, "numpy").tolist() == [1, 2, 3]

    def test_structs_are_tables(self):
        table = self.table(pa.table({"a": [1, 2], "b": ["x", None]}))
        assert share(table, "numpy", column="a", copy=False).tolist() == [1, 2]
        found = share(table, "arrow", copy=False)
        assert found.to_pydict() == {"a": [1, 2], "b": ["x", None]}
        message = "select one with column=; the first columns are 'a'"
        with pytest.raises(WrongTypeError, match=message):
            share(table, "numpy")
        one = self.table(pa.table({"only": [1, 2]}))
        assert share(one, "numpy", copy=False).tolist() == [1, 2]

    def test_structs_with_nulls_are_not_tables(self):
        found = share(self.array(pa.array([{"a": 1}, None])), "arrow", copy=False)
        assert found.to_pylist() == [{"a": 1}, None]

    def test_options_of_arrow_are_accepted(self):
        bools = np.array([True, False])
        shared = share(bools, self.name, type=pa.bool8(), copy=False)
        assert self.oracle.address(shared) == bools.ctypes.data
        rows = share(np.zeros((3, 2)), self.name, layout="list", copy=False)
        assert pa.array(rows).type == pa.list_(pa.float64(), 2)

    def test_refusal_names_the_direction(self):
        array = np.zeros(3, "c8")
        assert explain(array, self.name).steps[-1].direction == f"to {self.name}"
        with pytest.raises(UnsupportedError, match=f"to {self.name} failed: complex64 array"):
            share(array, self.name)
