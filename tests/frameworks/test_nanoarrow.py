"""nanoarrow: Arrow memory by the PyCapsule interface, in both directions."""

from __future__ import annotations

import gc
import threading
import weakref

import nanoarrow
import nanoarrow.device
import numpy as np
import pyarrow as pa
import pytest
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
from support.oracles import nanoarrow as oracle

from numpack import CopyWarning, UnsupportedError, WrongTypeError, explain, share


def expected(name: str, layout: str) -> str:
    """Return the result documented for Arrow, which nanoarrow shares."""
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
def test_to_nanoarrow(name, layout, tmp_path):
    array = make(name, layout, tmp_path, readonly=True)
    check_cell(array, "nanoarrow", expected(name, layout), oracle, pa.chunked_array)


@pytest.mark.parametrize("make_array", [nanoarrow.Array, nanoarrow.c_array])
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
def test_from_nanoarrow_is_shared_and_read_only(make_array, column):
    array = make_array(column)
    found = share(array, "numpy", copy=False)
    assert explain(array, "numpy").shares_memory
    assert found.__array_interface__["data"] == (oracle.arrow.address(column), True)
    own = share(array, "numpy", copy=True)
    assert own.flags.writeable
    assert not np.shares_memory(own, found)
    assert own.tolist() == found.tolist() == share(column, "numpy").tolist()


def test_nulls_and_slices_take_the_direct_route():
    column = pa.array([1, None, 3, None, 5]).slice(1, 3)
    array = nanoarrow.Array(column)
    assert share(array, "arrow", copy=False).to_pylist() == [None, 3, None]
    assert oracle.address(share(column, "nanoarrow", copy=False)) == oracle.arrow.address(
        column
    )
    masked = share(array, "numpy", nulls="mask", copy=False)
    assert masked.tolist() == [None, 3, None]
    with pytest.warns(CopyWarning, match="from nanoarrow failed.*2 of its values are null"):
        assert np.isnan(share(array, "numpy")).tolist() == [True, False, True]


def test_chunks_are_kept_and_copied_only_for_numpy():
    array = nanoarrow.Array(pa.chunked_array([[1, 2], [3]]))
    assert share(array, "arrow", copy=False).num_chunks == 2
    with pytest.warns(CopyWarning, match="2 chunks"):
        assert share(array, "numpy").tolist() == [1, 2, 3]


def test_structs_are_tables():
    array = nanoarrow.Array(pa.table({"a": [1, 2], "b": ["x", None]}))
    assert share(array, "numpy", column="a", copy=False).tolist() == [1, 2]
    assert share(array, "arrow", copy=False).to_pydict() == {"a": [1, 2], "b": ["x", None]}
    with pytest.raises(
        WrongTypeError, match="select one with column=; the first columns are 'a'"
    ):
        share(array, "numpy")
    one = nanoarrow.Array(pa.table({"only": [1, 2]}))
    assert share(one, "numpy", copy=False).tolist() == [1, 2]


def test_structs_with_nulls_are_not_tables():
    column = pa.array([{"a": 1}, None])
    found = share(nanoarrow.Array(column), "arrow", copy=False)
    assert found.to_pylist() == [{"a": 1}, None]


def test_stream_is_read_once_and_not_by_explain():
    stream = nanoarrow.ArrayStream(pa.array([1, 2]))
    with pytest.raises(WrongTypeError, match="read more than once"):
        explain(stream, "numpy")
    assert share(stream, "numpy", copy=False).tolist() == [1, 2]
    with pytest.warns(CopyWarning, match="null"):
        share(nanoarrow.ArrayStream(pa.array([1, None])), "arrow", layout="flat")


@pytest.mark.parametrize("target", ["numpy", "arrow", "pandas", "polars", "arro3", "torch"])
def test_stream_is_read_once_through_numpy(target):
    options = {"arrow": {"layout": "flat"}, "torch": {}}.get(target, {"nulls": "mask"})
    for _ in range(2):
        stream = nanoarrow.ArrayStream(pa.array([1.5, None]))
        values = share(stream, target, copy=True, **options)
        assert share(values, "numpy", copy=True)[0] == 1.5
    table = nanoarrow.ArrayStream(pa.table({"a": [1.5], "b": [2.5]}))
    values = share(table, target, column="b", copy=True)
    assert share(values, "numpy", copy=True)[0] == 2.5


VIEWS = [
    pa.array(["x", "a string of more than twelve bytes"], pa.string_view()),
    pa.array([b"x"], pa.binary_view()),
    pa.array([["x"]], pa.list_(pa.string_view())),
    pa.table({"a": [1], "b": pa.array(["x"], pa.string_view())}),
    pa.DictionaryArray.from_arrays(pa.array([0]), pa.array(["x"], pa.string_view())),
]


@pytest.mark.parametrize("column", VIEWS, ids=lambda each: str(getattr(each, "type", "table")))
def test_string_views_are_refused(column):
    assert not explain(column, "nanoarrow").supported
    with pytest.raises(UnsupportedError, match="to nanoarrow failed.*cast them to string"):
        share(column, "nanoarrow", copy=True)


def test_stream_of_views_is_refused_before_it_is_read():
    class Views:
        schema = nanoarrow.c_schema(pa.string_view())

    Views.__module__ = "nanoarrow"  # creating a real one would already corrupt memory
    assert not explain(Views(), "numpy").supported
    for target in ("numpy", "arrow", "polars"):
        with pytest.raises(
            UnsupportedError, match="from nanoarrow failed.*cast them to string"
        ):
            share(Views(), target)


def test_device_array_on_the_host_is_shared():
    column = pa.array([1, 2])
    array = nanoarrow.device.c_device_array(column)
    found = share(array, "numpy", copy=False)
    assert found.__array_interface__["data"][0] == oracle.arrow.address(column)


@pytest.mark.parametrize(
    "obj",
    [nanoarrow.int32(), nanoarrow.c_buffer(b"abc"), nanoarrow.c_schema(nanoarrow.int8())],
)
def test_other_objects_are_refused(obj):
    with pytest.raises(WrongTypeError, match="an array or a table of nanoarrow"):
        share(obj, "numpy")


def test_options_of_arrow_are_accepted():
    bools = np.array([True, False])
    shared = share(bools, "nanoarrow", type=pa.bool8(), copy=False)
    assert oracle.address(shared) == bools.ctypes.data
    rows = share(np.zeros((3, 2)), "nanoarrow", layout="list", copy=False)
    assert pa.array(rows).type == pa.list_(pa.float64(), 2)


def test_refusal_names_the_direction():
    route = explain(np.zeros(3, "c8"), "nanoarrow")
    assert route.steps[-1].direction == "to nanoarrow"
    with pytest.raises(UnsupportedError, match="to nanoarrow failed: complex64 array"):
        share(np.zeros(3, "c8"), "nanoarrow")


def test_result_keeps_only_its_source_alive():
    owner = Owner(10)
    seen = weakref.ref(owner)
    box = [share(np.asarray(owner), "nanoarrow", copy=False)]
    del owner
    gc.collect()
    assert seen() is not None
    assert box[0].to_pylist() == list(range(10))
    thread = threading.Thread(target=box.clear)
    thread.start()
    thread.join()
    gc.collect()
    assert seen() is None
