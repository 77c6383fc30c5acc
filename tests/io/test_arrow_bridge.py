"""Direct Arrow conversions: between Arrow libraries, and from unknown Arrow producers."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from support.each import for_each
from support.oracles import oracle

from numpack import ReadOnlyWarning, WrongTypeError, ZeroCopyError, explain, share
from numpack.adapters.arrow.direct import copy_columns

ARROW_LIBRARIES = ["arrow", "nanoarrow", "arro3", "polars"]
WITH_STRING_VIEWS = ["arrow", "arro3", "polars"]
NULLS = pa.array([1, None, 3, 4, None])


class OneArray:
    """An unknown class with ``__arrow_c_array__`` only."""

    def __init__(self, array):
        self.array = array

    def __arrow_c_array__(self, requested_schema=None):
        return self.array.__arrow_c_array__(requested_schema)


class Stream:
    """An unknown class with ``__arrow_c_stream__``, whose stream can be read once."""

    def __init__(self, reader):
        self.reader = reader

    def __arrow_c_stream__(self, requested_schema=None):
        return self.reader.__arrow_c_stream__(requested_schema)


class Both(OneArray):
    """An unknown class with both methods, which can be read repeatedly but has no length."""

    def __arrow_c_stream__(self, requested_schema=None):
        return pa.chunked_array([self.array]).__arrow_c_stream__(requested_schema)


@for_each("source", ARROW_LIBRARIES)
@for_each("target", ARROW_LIBRARIES)
def test_nulls_share_memory(source, target):
    given = share(NULLS, source, copy=False)
    assert explain(given, target).shares_memory
    found = share(given, target, copy=False)
    assert oracle(target).address(found) == oracle("arrow").address(NULLS)
    assert share(found, "arrow", copy=False).to_pylist() == NULLS.to_pylist()
    copied = share(given, target, copy=True)
    assert oracle(target).address(copied) != oracle("arrow").address(NULLS)
    assert share(copied, "arrow", copy=False).to_pylist() == NULLS.to_pylist()


@for_each("source", WITH_STRING_VIEWS)
@for_each("target", WITH_STRING_VIEWS)
def test_chunks_and_string_views_are_preserved(source, target):
    kind = pa.string_view()
    long = "a string of more than twelve bytes"
    column = pa.chunked_array([pa.array(["x", None, long], kind), pa.array(["yé"], kind)])
    found = share(share(column, source, copy=False), target, copy=False)
    back = share(found, "arrow", copy=False)
    assert back.num_chunks == 2
    assert back.to_pylist() == ["x", None, long, "yé"]


@for_each("source", ARROW_LIBRARIES)
@for_each("target", ARROW_LIBRARIES)
def test_chunks_of_numbers_are_preserved(source, target):
    column = pa.chunked_array([[1, None], [3]])
    back = share(share(share(column, source, copy=False), target, copy=False), "arrow")
    assert [len(chunk) for chunk in back.chunks] == [2, 1]
    assert back.to_pylist() == [1, None, 3]


@for_each("source", WITH_STRING_VIEWS)
@for_each("target", [*WITH_STRING_VIEWS, "duckdb"])
def test_tables_round_trip(source, target):
    table = pa.table({"a": [1, None], "b": pa.array(["x", None], pa.string_view())})
    found = share(share(table, source, copy=False), target, copy=False)
    back = share(found, "arrow", copy=True)
    assert back.to_pydict() == table.to_pydict()


TARGETS = ["numpy", "torch", *ARROW_LIBRARIES, "duckdb"]


@pytest.mark.parametrize("target", TARGETS)
@for_each("wrap", [OneArray, Both, Stream])
def test_array_of_an_unknown_producer(wrap, target):
    values = pa.array(np.arange(5.0))
    if wrap is Stream:
        values = pa.chunked_array([values])

    def given():
        return wrap(values)

    if wrap is Stream:
        with pytest.raises(WrongTypeError, match="read more than once"):
            explain(given(), target)
    else:
        assert explain(given(), target).shares_memory
    if target == "torch":
        with pytest.warns(ReadOnlyWarning):
            found = share(given(), target, copy=False)
    else:
        found = share(given(), target, copy=False)
    assert oracle(target).values(found).tolist() == [0, 1, 2, 3, 4]
    place = oracle(target).address(found)
    assert place in (None, oracle("arrow").address(values))


@for_each("target", ["arrow", "polars", "arro3", "nanoarrow", "duckdb"])
@for_each("wrap", [OneArray, Stream])
def test_table_of_an_unknown_producer(wrap, target):
    batch = pa.record_batch({"a": [1, 2], "b": [3.5, None]})
    given = wrap(batch if wrap is OneArray else pa.Table.from_batches([batch]).to_reader())
    found = share(given, target, copy=False)
    assert share(found, "arrow", copy=True).to_pydict() == batch.to_pydict()


@for_each("target", ["arrow", "arro3", "nanoarrow"])
def test_stream_is_read_once_with_options_that_require_numpy(target):
    stream = Stream(pa.chunked_array([np.arange(4)]))
    found = share(stream, target, layout="flat", copy=False)
    assert oracle(target).values(found).tolist() == [0, 1, 2, 3]


def test_column_of_an_unknown_record_batch():
    batch = OneArray(pa.record_batch({"a": [1, 2], "b": [3.5, 4.5]}))
    assert share(batch, "numpy", column="b", copy=False).tolist() == [3.5, 4.5]


OWNED = {
    "numbers": pa.array([1, 2, 3]),
    "nulls": NULLS,
    "slice": pa.array(np.arange(100000.0)).slice(7, 3),
    "bits": pa.array([True, None, False]).slice(1),
    "strings": pa.array(["x", None, "long enough not to be inline"]),
    "views": pa.array(["x", None, "long enough not to be inline"], pa.string_view()),
    "dictionary": pa.array(["a", None, "a"]).dictionary_encode(),
    "lists": pa.array([[1], None, [2, 3]]),
    "structs": pa.array([{"a": 1}, None]),
    "tensor": pa.FixedShapeTensorArray.from_numpy_ndarray(np.arange(8.0).reshape(2, 2, 2)),
    "chunks": pa.chunked_array([[1], [], [None]], pa.int64()),
    "none": pa.chunked_array([], pa.int64()),
    "table": pa.table({"a": [1, 2], "b": ["x", None]}),
    "batch": pa.record_batch({"a": [1, 2], "b": ["x", None]}),
}


def buffers(columns) -> dict[int, int]:
    """Map the address of each buffer, including those of a dictionary, to its size."""
    if isinstance(columns, pa.Table | pa.RecordBatch):
        return {at: size for each in columns.columns for at, size in buffers(each).items()}
    if isinstance(columns, pa.ChunkedArray):
        return {at: size for each in columns.chunks for at, size in buffers(each).items()}
    inside = columns.dictionary.buffers() if pa.types.is_dictionary(columns.type) else []
    return {b.address: b.size for b in (*columns.buffers(), *inside) if b and b.size}


@for_each("name", OWNED)
def test_copy_shares_nothing_and_is_trimmed_to_its_slice(name):
    columns = OWNED[name]
    copied = copy_columns(columns)
    assert type(copied) is type(columns)
    assert copied.equals(columns)
    assert not buffers(copied).keys() & buffers(columns).keys()
    if name == "slice":
        assert sum(buffers(copied).values()) < 100


def test_copy_to_polars_shares_none_of_the_buffers():
    column = pa.array([{"a": 1, "b": "x"}])
    with pytest.raises(ZeroCopyError):
        share(column, "polars", copy=False)
    copied = share(share(column, "polars", copy=True), "arrow", copy=False)
    assert not buffers(copied).keys() & buffers(column).keys()


def test_empty_chunked_array_round_trips():
    empty = pa.chunked_array([], pa.int64())
    for target in ARROW_LIBRARIES:
        assert share(share(empty, target), "arrow").to_pylist() == []
