"""The public interface: tables, `ZeroCopyArray`, `share` and `explain`."""

from __future__ import annotations

import inspect
from typing import get_args

import ml_dtypes
import numpy as np
import pyarrow as pa
import pytest
import torch
from support.memory import address
from support.oracles import oracle

import numpack
from numpack import (
    CopyWarning,
    IndexRangeError,
    InvalidValueError,
    MissingDependencyError,
    NotFoundError,
    NullError,
    NumPack,
    ReadOnlyWarning,
    Route,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyArray,
    ZeroCopyError,
    explain,
    share,
)
from numpack.adapters import FRAMEWORKS
from numpack.io import (
    arrow_to_numpy_zero_copy,
    from_dlpack,
    numpy_to_arrow_zero_copy,
    numpy_to_torch_zero_copy,
    table_to_numpy_zero_copy,
    to_dlpack,
    wrap_for_zero_copy,
)

# Tables

TABLE = pa.table({"x": np.arange(4.0), "y": np.arange(4), "s": ["a", "b", "c", "d"]})


class Stream:
    """A table of another library."""

    def __init__(self, table):
        self.table = table

    def __arrow_c_stream__(self, requested_schema=None):
        return self.table.__arrow_c_stream__(requested_schema)


@pytest.mark.parametrize(
    "table",
    [TABLE, TABLE.to_batches()[0], Stream(TABLE), TABLE.slice(0)],
    ids=["table", "batch", "stream", "slice"],
)
@pytest.mark.parametrize("column", ["y", 1, -2])
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


# ZeroCopyArray


def test_wrapper_exports_share_memory():
    a = np.arange(6.0).reshape(2, 3)
    wrapper = wrap_for_zero_copy(a)
    expected = address(a)
    assert address(wrapper.to_numpy()) == expected
    assert wrapper.to_torch(copy=False).data_ptr() == expected
    assert wrapper.to_arrow(copy=False).buffers()[1].address == expected
    assert address(np.from_dlpack(wrapper.to_dlpack(copy=False))) == expected
    assert address(np.from_dlpack(wrapper)) == expected
    assert torch.from_dlpack(wrapper).data_ptr() == expected
    assert pa.array(wrapper).buffers()[1].address == expected
    assert address(np.asarray(wrapper)) == expected
    assert share(wrapper, "torch", copy=False).data_ptr() == expected
    assert numpy_to_torch_zero_copy(wrapper, copy=False).data_ptr() == expected


def test_wrapper_copies_on_request():
    a = np.arange(6.0).reshape(2, 3)
    wrapper = ZeroCopyArray(a)
    for copied in (
        wrapper.to_numpy(copy=True),
        wrapper.to_torch(copy=True).numpy(),
        ZeroCopyArray(a, copy=True).array,
        np.array(wrapper),
        np.asarray(wrapper, copy=True),
        np.asarray(wrapper, dtype="f4"),
    ):
        assert copied.tolist() == a.tolist()
        assert not np.shares_memory(copied, a)
        assert copied.flags.writeable
    with pytest.raises(ValueError, match="copy"):
        np.asarray(wrapper, dtype="f4", copy=False)


def test_wrapper_has_the_attributes_of_its_array():
    a = np.zeros((2, 3), "f4")
    wrapper = ZeroCopyArray(a)
    assert (
        wrapper.shape,
        wrapper.dtype,
        wrapper.ndim,
        wrapper.size,
        wrapper.nbytes,
        len(wrapper),
    ) == (
        a.shape,
        a.dtype,
        a.ndim,
        a.size,
        a.nbytes,
        len(a),
    )
    assert repr(wrapper) == "ZeroCopyArray(float32 array of shape (2, 3), 24 bytes)"
    assert wrapper.__dlpack_device__() == (1, 0)
    with pytest.raises(TypeError):
        len(ZeroCopyArray(np.array(1.0)))


def test_wrapper_from_other_frameworks():
    t = torch.arange(6.0).reshape(2, 3)
    assert address(ZeroCopyArray.from_torch(t, copy=False).array) == t.data_ptr()
    array = pa.array([1.0, 2.0])
    assert (
        address(ZeroCopyArray.from_arrow(array, copy=False).array) == array.buffers()[1].address
    )
    assert address(ZeroCopyArray.from_dlpack(t, copy=False).array) == t.data_ptr()
    masked = ZeroCopyArray.from_arrow(pa.array([1, None]), nulls="mask", copy=False)
    assert masked.array.tolist() == [1, None]
    with pytest.raises(ZeroCopyError, match="not C-contiguous"):
        ZeroCopyArray.from_torch(t.t(), copy=False)
    assert ZeroCopyArray.from_torch(t.t(), order="K", copy=False).array.shape == (3, 2)
    assert ZeroCopyArray.from_torch(t, copy=True).array.ctypes.data != t.data_ptr()


METHODS = {
    "jax": ZeroCopyArray.to_jax,
    "tensorflow": ZeroCopyArray.to_tensorflow,
    "pandas": ZeroCopyArray.to_pandas,
    "polars": ZeroCopyArray.to_polars,
    "torch": ZeroCopyArray.to_torch,
}


@pytest.mark.parametrize("name", METHODS)
def test_wrapper_to_other_frameworks(name):
    wrapper = ZeroCopyArray(np.arange(6, dtype="f4"), copy=True)  # 64-byte aligned
    where = address(wrapper.array)
    for convert in (METHODS[name], lambda wrapper, **options: wrapper.to(name, **options)):
        assert oracle(name).address(convert(wrapper, copy=False)) == where
        assert oracle(name).address(convert(wrapper, copy=True)) != where
        assert oracle(name).values(convert(wrapper)).tolist() == [0, 1, 2, 3, 4, 5]


def test_wrapper_passes_options_on():
    wrapper = ZeroCopyArray(np.arange(6.0).reshape(3, 2))
    with pytest.warns(CopyWarning, match="it has to be cast to float32") as caught:
        assert wrapper.to_jax(dtype="float32").dtype == "float32"
    assert caught[0].filename == __file__
    assert wrapper.to("polars", schema=["a", "b"], copy=True).columns == ["a", "b"]
    with pytest.raises(WrongTypeError, match="there is no option 'schema'"):
        wrapper.to("torch", schema=["a"])
    with pytest.raises(InvalidValueError, match="no framework is called 'spark'"):
        wrapper.to("spark")


def test_wrapper_to_cupy_reports_what_is_missing():
    with pytest.raises((MissingDependencyError, UnsupportedError), match="[Cc]u[Pp]y"):
        ZeroCopyArray(np.zeros(3)).to_cupy()


def test_wrapper_keeps_a_mask_or_refuses():
    a = np.ma.array([[1, 2], [3, 4]], mask=[[0, 1], [0, 0]])
    wrapper = ZeroCopyArray(a.T, order="C", copy=True)
    assert wrapper.array.tolist() == a.T.tolist()
    assert wrapper.to_arrow(layout="list").to_pylist() == a.T.tolist()
    with pytest.raises(UnsupportedError, match="would drop its mask"):
        np.asarray(wrapper)


def test_wrapper_over_read_only_memory():
    a = np.zeros(3)
    a.flags.writeable = False
    assert not np.from_dlpack(ZeroCopyArray(a)).flags.writeable
    assert ZeroCopyArray(a, copy=True).array.flags.writeable


@pytest.mark.parametrize("wrong", [[1], 1.0, torch.zeros(2), None, np.float64(1)])
def test_wrapper_refuses_other_objects(wrong):
    with pytest.raises(WrongTypeError, match="ZeroCopyArray expects a numpy.ndarray, got"):
        ZeroCopyArray(wrong)


# share and explain


SOURCES = "numpy torch arrow chunked dlpack capsule lazy wrapper".split()


def sources():
    with NumPack("sources.npk") as npk:
        npk.save({"x": np.arange(6.0)})
        lazy = npk.load("x", lazy=True)
    return {
        "numpy": np.arange(6.0),
        "torch": torch.arange(6.0, dtype=torch.float64),
        "arrow": pa.array(np.arange(6.0)),
        "chunked": pa.chunked_array([np.arange(6.0)]),
        "dlpack": numpack.io.to_dlpack(np.arange(6.0)),
        "capsule": numpack.io.to_dlpack(np.arange(6.0)).__dlpack__(),
        "lazy": lazy,
        "wrapper": ZeroCopyArray(np.arange(6.0)),
    }


@pytest.mark.parametrize("target", ["numpy", "torch", "arrow", "dlpack"])
@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.filterwarnings("ignore::numpack.ReadOnlyWarning")
def test_all_sources_to_all_targets(source, target):
    x = sources()[source]
    route = explain(x, target)
    assert route.shares_memory
    assert route.supported
    assert (route.reason, route.fix, route.nbytes) == ("", "", 0)
    result = share(x, target, copy=False)
    assert share(result, "numpy").tolist() == list(range(6))
    if source != "capsule":
        copied = share(share(x, target, copy=True), "numpy")
        assert copied.tolist() == list(range(6))
        assert not np.shares_memory(copied, share(result, "numpy"))


def test_route_reports_each_of_two_copies():
    source = torch.tensor([[1 + 1j, 2]]).conj().imag.t()
    route = explain(source, "arrow")
    assert [step.action for step in route.steps] == ["copied", "shared"]
    strided = torch.zeros(4, 6)[::2]
    route = explain(strided, "arrow")
    assert [step.action for step in route.steps] == ["shared", "copied"]
    assert route.nbytes == 48
    chunks = pa.chunked_array([[True], [False]])
    route = explain(chunks, "arrow", nulls="convert")  # through NumPy
    assert [step.action for step in route.steps] == ["copied", "copied"]
    with pytest.warns(CopyWarning) as caught:
        assert share(chunks, "arrow", nulls="convert").to_pylist() == [True, False]
    assert len(caught) == 2


def test_repr_of_a_route():
    route = explain(np.zeros(1000, bool), "arrow")
    assert isinstance(route, Route)
    assert repr(route) == (
        "numpy -> arrow: copies 1,000 bytes\n"
        "  to Arrow: 1,000 bytes copied, Arrow packs booleans as bits; "
        "pass type=pa.bool8() to share the bytes"
    )
    html = route._repr_html_()
    assert html.startswith("<table>")
    assert "Arrow packs booleans as bits" in html
    refused = explain(np.zeros(2, "M8[s]"), "torch")
    assert refused.verdict == "not supported"
    assert "array.view('i8')" in refused.fix
    assert "array.view(&#x27;i8&#x27;)" in refused._repr_html_()


@pytest.mark.parametrize("target", ["torch", "onnxruntime"])
def test_cautions_of_a_route_match_the_warnings_of_share(target):
    a = np.zeros(3)
    assert explain(a, target).cautions == ()
    a.flags.writeable = False
    route = explain(a, target)
    assert route.shares_memory
    assert (route.reason, route.fix) == ("", "")
    assert [step.caution for step in route.steps] == list(route.cautions)
    for copy in (None, False):
        with pytest.warns(ReadOnlyWarning) as caught:
            share(a, target, copy=copy)
        assert [str(w.message) for w in caught] == list(route.cautions)
    share(a, target, copy=True)
    assert repr(route).endswith("shared; but a write changes read-only memory")
    assert "pass copy=True for one that is safe to write" in route._repr_html_()


def test_copies_have_no_caution():
    a = np.zeros(6)[::-1]
    a.flags.writeable = False
    route = explain(a, "torch")
    assert (route.verdict, route.cautions) == ("copies 48 bytes", ())
    with pytest.warns(CopyWarning) as caught:
        share(a, "torch")
    assert len(caught) == 1
    arrow = pa.array([1.0, 2.0])
    assert [bool(step.caution) for step in explain(arrow, "torch").steps] == [False, True]
    assert explain(arrow, "numpy").cautions == ()


def test_explain_reports_the_bytes_of_a_copy():
    a = np.zeros((1000, 1000))[::-1]
    route = explain(a, "torch")
    assert route.nbytes == a.nbytes
    assert explain(torch.zeros(3).conj(), "torch").shares_memory


def test_options_reach_their_adapter():
    a = np.array([[True, False]])
    assert share(a, "arrow", type=pa.bool8(), layout="list").to_pylist() == [[True, False]]
    assert share(pa.array([1, None]), "numpy", nulls="mask").tolist() == [1, None]
    assert share(pa.array([1, None]), "arrow", nulls="mask").to_pylist() == [1, None]
    assert share(a.T, "dlpack", order="K").array.shape == (2, 1)
    assert share(a, "torch", device="cpu").shape == (1, 2)
    with pytest.raises(WrongTypeError, match="from numpy to torch there is no option 'layout'"):
        share(a, "torch", layout="list")
    with pytest.raises(WrongTypeError, match="the options are: none"):
        explain(a, "numpy", layout="list")


@pytest.mark.parametrize("framework", FRAMEWORKS, ids=lambda framework: framework.name)
def test_declared_options_match_the_signatures(framework):
    if framework.name == "cupy":  # cannot be imported without a GPU
        return
    adapter = framework.module()
    for function, options in (
        (adapter.to_numpy, adapter.FROM_OPTIONS),
        (adapter.from_numpy, adapter.TO_OPTIONS),
    ):
        parameters = inspect.signature(function).parameters.values()
        assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == options
    for route in getattr(adapter, "BRIDGE_IMPORTS", {}).values():
        parameters = inspect.signature(route.plan).parameters.values()
        assert {p.name for p in parameters if p.kind is p.KEYWORD_ONLY} == route.options
        assert route.options <= adapter.TO_OPTIONS


def test_option_types_can_be_imported():
    assert get_args(numpack.io.Order) == ("C", "K")
    assert "torch" in get_args(numpack.io.Target)
    with pytest.raises(AttributeError, match="no attribute 'Layuot'"):
        _ = numpack.io.Layuot


def test_wrong_arguments_are_refused():
    with pytest.raises(
        InvalidValueError, match="no framework is called 'jx'; known are: array_interface"
    ):
        share(np.zeros(2), "jx")
    for wrong in ([1, 2], 1.0, True):
        for verb in (share, explain):
            with pytest.raises(WrongTypeError, match=r"pass np.asarray\(x\)"):
                verb(wrong, "torch")
    with pytest.raises(
        InvalidValueError, match="copy must be None, False or True, not 'never'"
    ):
        share(np.zeros(2), "torch", copy="never")


def test_copy_accepts_numpy_booleans():
    a = np.zeros(2)
    assert share(a, "torch", copy=np.False_).data_ptr() == address(a)
    assert share(a, "torch", copy=np.True_).data_ptr() != address(a)


def test_subclasses_belong_to_their_framework():
    class Mine(np.ndarray):
        pass

    a = np.arange(3.0).view(Mine)
    assert share(a, "torch", copy=False).data_ptr() == address(a)
    assert share(torch.nn.Parameter(torch.ones(2)), "numpy", copy=False).tolist() == [1, 1]


def test_store_saves_arrays_of_other_frameworks():
    with NumPack("any.npk") as npk:
        npk.save(
            {
                "torch": torch.ones(2, dtype=torch.bfloat16),
                "arrow": pa.array([1, 2]),
                "wrapper": ZeroCopyArray(np.arange(2)),
                "scalar": np.float32(1),
            }
        )
        assert npk.load("torch").dtype == ml_dtypes.bfloat16
        assert npk.load("arrow").tolist() == [1, 2]
        npk.append({"wrapper": torch.tensor([7])})
        assert npk.load("wrapper").tolist() == [0, 1, 7]
        npk.save({"again": npk.load("arrow", lazy=True)})
        assert npk.load("again").tolist() == [1, 2]
        with pytest.raises(WrongTypeError, match="pass np.asarray"):
            npk.save({"list": [1, 2]})


@pytest.mark.parametrize("kind", [np.longlong, np.ulonglong])
def test_integer_type_aliases_to_torch(kind):
    a = np.arange(3).astype(kind)
    frozen = a.copy()
    frozen.flags.writeable = False
    assert numpy_to_torch_zero_copy(a).tolist() == [0, 1, 2]
    assert numpy_to_torch_zero_copy(a, copy=True).tolist() == [0, 1, 2]
    with pytest.warns(ReadOnlyWarning):
        assert numpy_to_torch_zero_copy(frozen).tolist() == [0, 1, 2]


@pytest.mark.parametrize("copy", [None, False, True])
def test_dlpack_buffer_is_refused_as_an_array(copy):
    """It is refused on the fast path and on the planned one."""
    for convert in (numpy_to_torch_zero_copy, numpy_to_arrow_zero_copy):
        with pytest.raises(WrongTypeError, match=r"got numpack\.\S+\.DLPackBuffer"):
            convert(to_dlpack(np.zeros(3)), copy=copy)
    assert numpy_to_torch_zero_copy(ZeroCopyArray(np.zeros(3)), copy=copy).shape == (3,)


@pytest.mark.parametrize("size", [0, 3])
def test_arrays_over_arrow_memory_are_read_only(size):
    arrow = pa.array(np.zeros(size))
    for array in (
        arrow_to_numpy_zero_copy(arrow),
        arrow_to_numpy_zero_copy(arrow, nulls="mask"),
        from_dlpack(arrow),
    ):
        assert not array.flags.writeable
    assert arrow_to_numpy_zero_copy(arrow, copy=True).flags.writeable
