"""arro3: Arrow memory by the PyCapsule interface, in both directions."""

from __future__ import annotations

import gc
import threading
import weakref

import numpy as np
import pyarrow as pa
import pytest
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
    CONTIGUOUS,
    LOWPREC,
    NATIVE,
    OTHERS,
    aligned,
    cells,
    dtype_of,
    make,
)
from support.cells import COPY, REFUSE, SHARE, TIMES, Owner, check_cell
from support.oracles import arro3 as oracle

from numpack import CopyWarning, UnsupportedError, WrongTypeError, explain, share


def expected(name: str, layout: str) -> str:
    """Return the result documented for Arrow, which arro3 shares."""
    kind = dtype_of(name).kind
    if kind == "c" or name in (*LOWPREC, "longdouble", "clongdouble", "struct"):
        return REFUSE
    if kind in "mM":
        unit, count = np.datetime_data(dtype_of(name))
        if unit in ("ps", "fs", "as", "generic") or (kind == "m" and unit in "YM"):
            return REFUSE
        if (unit, count) not in [(each, 1) for each in ("s", "ms", "us", "ns")]:
            return COPY
    if kind in "bUTO":
        return COPY
    shared = layout in CONTIGUOUS or (layout == "odd_bytes" and aligned(name, layout))
    return SHARE if shared else COPY


@pytest.mark.parametrize(("name", "layout"), cells([*NATIVE, *LOWPREC[:2], *TIMES, *OTHERS]))
def test_to_arro3(name, layout, tmp_path):
    array = make(name, layout, tmp_path, readonly=True)
    check_cell(array, "arro3", expected(name, layout), oracle, pa.chunked_array)


@pytest.mark.parametrize(
    "column",
    [
        pa.array(np.arange(5.0)),
        pa.array(np.arange(9.0)).slice(3, 4),
        pa.array([1, 2], pa.timestamp("s", "UTC")),
        pa.array([[1, 2], [3, 4]], pa.list_(pa.int8(), 2)),
        pa.array([b"a\0", b"bc"], pa.binary(2)),
    ],
    ids=str,
)
def test_from_arro3_is_shared_and_read_only(column):
    array = Array.from_arrow(column)
    found = share(array, "numpy", copy=False)
    assert explain(array, "numpy").shares_memory
    assert found.__array_interface__["data"] == (oracle.arrow.address(column), True)
    own = share(array, "numpy", copy=True)
    assert own.flags.writeable
    assert not np.shares_memory(own, found)
    assert own.tolist() == found.tolist() == share(column, "numpy").tolist()


def test_nulls_and_slices_take_the_direct_route():
    column = pa.array([1, None, 3, None, 5]).slice(1, 3)
    array = Array.from_arrow(column)
    assert share(array, "arrow", copy=False).to_pylist() == [None, 3, None]
    assert oracle.address(share(column, "arro3", copy=False)) == oracle.arrow.address(column)
    masked = share(array, "numpy", nulls="mask", copy=False)
    assert masked.tolist() == [None, 3, None]
    with pytest.warns(CopyWarning, match="from arro3 failed.*2 of its values are null"):
        assert np.isnan(share(array, "numpy")).tolist() == [True, False, True]


def test_chunks_are_kept_and_copied_only_for_numpy():
    array = ChunkedArray.from_arrow(pa.chunked_array([[1, 2], [3]]))
    assert share(array, "arrow", copy=False).num_chunks == 2
    with pytest.warns(CopyWarning, match="2 chunks"):
        assert share(array, "numpy").tolist() == [1, 2, 3]


def test_structs_are_tables():
    array = Table.from_arrow(pa.table({"a": [1, 2], "b": ["x", None]}))
    assert share(array, "numpy", column="a", copy=False).tolist() == [1, 2]
    assert share(array, "arrow", copy=False).to_pydict() == {"a": [1, 2], "b": ["x", None]}
    with pytest.raises(
        WrongTypeError, match="select one with column=; the first columns are 'a'"
    ):
        share(array, "numpy")
    one = Table.from_arrow(pa.table({"only": [1, 2]}))
    assert share(one, "numpy", copy=False).tolist() == [1, 2]


def test_structs_with_nulls_are_not_tables():
    column = pa.array([{"a": 1}, None])
    found = share(Array.from_arrow(column), "arrow", copy=False)
    assert found.to_pylist() == [{"a": 1}, None]


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


def test_options_of_arrow_are_accepted():
    bools = np.array([True, False])
    shared = share(bools, "arro3", type=pa.bool8(), copy=False)
    assert oracle.address(shared) == bools.ctypes.data
    rows = share(np.zeros((3, 2)), "arro3", layout="list", copy=False)
    assert pa.array(rows).type == pa.list_(pa.float64(), 2)


def test_refusal_names_the_direction():
    route = explain(np.zeros(3, "c8"), "arro3")
    assert route.steps[-1].direction == "to arro3"
    with pytest.raises(UnsupportedError, match="to arro3 failed: complex64 array"):
        share(np.zeros(3, "c8"), "arro3")


def test_result_keeps_only_its_source_alive():
    owner = Owner(10)
    seen = weakref.ref(owner)
    box = [share(np.asarray(owner), "arro3", copy=False)]
    del owner
    gc.collect()
    assert seen() is not None
    assert pa.array(box[0]).to_pylist() == list(range(10))
    thread = threading.Thread(target=box.clear)
    thread.start()
    thread.join()
    gc.collect()
    assert seen() is None
