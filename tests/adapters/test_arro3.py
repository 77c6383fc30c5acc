"""arro3: Arrow memory by the PyCapsule interface, in both directions."""

from __future__ import annotations

import pyarrow as pa
import pytest
from adapters.conformance import (
    COPY,
    SHARE,
    ArrowLibrary,
    FromNumpyToColumns,
    ToNumpy,
    arrow_verdict,
)
from arro3.core import (
    Array,
    Buffer,
    ChunkedArray,
    DataType,
    Field,
    RecordBatch,
    RecordBatchReader,
    Scalar,
    Schema,
    Table,
)
from support.arrays import (
    LOWPREC,
    NATIVE,
    OTHERS,
    values,
)
from support.exchange.cells import TIMES
from support.oracles import arro3 as oracle

from numpack import WrongTypeError, explain, share


def test_record_batches_and_scalars_are_imported():
    batch = RecordBatch.from_arrow(pa.record_batch({"a": [1, 2], "b": [3, 4]}))
    assert share(batch, "numpy", column="b", copy=False).tolist() == [3, 4]
    assert share(batch, "arrow", copy=False) == pa.record_batch({"a": [1, 2], "b": [3, 4]})
    assert share(Scalar(7, DataType.int64()), "numpy").tolist() == [7]


def test_tables_keep_their_type():
    table = pa.table({"a": [1, None], "b": ["x", None]})
    assert isinstance(share(table, "arro3", copy=False), Table)
    assert isinstance(share(table.to_batches()[0], "arro3", copy=False), RecordBatch)
    assert isinstance(share(table["a"], "arro3", copy=False), ChunkedArray)


def test_reader_is_read_once_and_not_by_explain():
    def reader():
        return RecordBatchReader.from_arrow(pa.table({"a": [1, None]}).to_reader())

    with pytest.raises(WrongTypeError, match="read more than once"):
        explain(reader(), "numpy")
    assert share(reader(), "numpy", nulls="mask", copy=False).tolist() == [1, None]
    assert share(reader(), "arrow", copy=False).to_pydict() == {"a": [1, None]}


@pytest.mark.parametrize(
    "obj",
    [DataType.int8(), Buffer(b"abc"), Field("a", DataType.int8()), Schema([])],
    ids=lambda obj: type(obj).__name__,
)
def test_other_objects_are_refused(obj):
    with pytest.raises(WrongTypeError, match="an array or a table of arro3"):
        share(obj, "numpy")


class TestFromNumpy(FromNumpyToColumns):
    target = "arro3"
    dtypes = (*NATIVE, *LOWPREC[:2], *TIMES, *OTHERS)

    def expected(self, name, layout, array):
        return arrow_verdict(name, layout, array)


class TestToNumpy(ToNumpy):
    source = "arro3"
    names = tuple(n for n in (*NATIVE, *LOWPREC) if oracle.make(values(n)) is not None)
    keeps_shape = False

    def expected(self, name, shape):
        return COPY if name == "bool" else SHARE


class TestColumns(ArrowLibrary):
    name = "arro3"

    def array(self, column):
        return Array.from_arrow(column)

    def chunked(self, column):
        return ChunkedArray.from_arrow(column)

    def table(self, table):
        return Table.from_arrow(table)
