"""Nulls of Arrow in NumPy: converted, masked or refused."""

from __future__ import annotations

import datetime
import decimal
import warnings

import numpy as np
import pyarrow as pa
import pytest
from support.arrow.misread import MISREAD, extension
from support.each import for_each
from support.memory import address

from numpack import (
    CopyWarning,
    NullError,
    UnsupportedError,
    ZeroCopyError,
    explain,
    share,
)
from numpack.io import arrow_to_numpy_zero_copy

DAY = datetime.date(2020, 1, 2)


COPIED = {
    "bool": (pa.array([True, False, True]), [True, False, True]),
    "date32": (pa.array([DAY, DAY]), [DAY, DAY]),
    "time32": (pa.array([datetime.time(1)], pa.time32("s")), [datetime.time(1)]),
    "time64": (pa.array([datetime.time(1, 2)], pa.time64("ns")), [datetime.time(1, 2)]),
    "decimal": (pa.array([decimal.Decimal("1.50")]), [decimal.Decimal("1.50")]),
    "dictionary": (pa.array(["a", "b", "a"]).dictionary_encode(), ["a", "b", "a"]),
    "dictionary of numbers": (pa.array([5, 6, 5]).dictionary_encode(), [5, 6, 5]),
    "string": (pa.array(["a", "é\0b"]), ["a", "é\0b"]),
    "large_string": (pa.array(["a"], pa.large_string()), ["a"]),
    "string_view": (pa.array(["a"], pa.string_view()), ["a"]),
    "binary": (pa.array([b"a\0"]), [b"a\0"]),
    "struct": (pa.array([{"a": 1, "b": "x"}]), [{"a": 1, "b": "x"}]),
    "map": (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), [[("k", 1)]]),
    "run-end encoded": (pa.RunEndEncodedArray.from_arrays([2, 3], [5, 6]), [5, 5, 6]),
    "interval": (pa.array([pa.MonthDayNano([1, 2, 3])]), [pa.MonthDayNano([1, 2, 3])]),
    "list of intervals": (
        pa.array([[pa.MonthDayNano([1, 2, 3])]]),
        [[pa.MonthDayNano([1, 2, 3])]],
    ),
    "null": (pa.nulls(2), [None, None]),
    "bool8 of other bytes": (
        extension(pa.bool8(), pa.array([1, 0, -1, 2], pa.int8())),
        [True, False, True, True],
    ),
    "fixed-size list of bool": (
        pa.array([[True, False], [False, False]], pa.list_(pa.bool_(), 2)),
        [[True, False], [False, False]],
    ),
    "tensor of bool": (
        extension(
            pa.fixed_shape_tensor(pa.bool_(), [2, 1]),
            pa.array([[True, False], [False, True]], pa.list_(pa.bool_(), 2)),
        ),
        [[[True], [False]], [[False], [True]]],
    ),
    "json": (extension(pa.json_(pa.string()), pa.array(["{}"])), ["{}"]),
}
NULLS = {
    "int64": (pa.array([1, None, 3]), [1.0, np.nan, 3.0], "float64"),
    "uint8": (pa.array([1, None], pa.uint8()), [1.0, np.nan], "float64"),
    "float32": (pa.array([1, None], pa.float32()), [1.0, np.nan], "float32"),
    "timestamp": (pa.array([1, None], pa.timestamp("s")), [1, "NaT"], "M8[s]"),
    "duration": (pa.array([1, None], pa.duration("s")), [1, "NaT"], "m8[s]"),
    "date32": (pa.array([DAY, None]), [DAY, "NaT"], "M8[D]"),
    "bool": (pa.array([True, None]), [True, None], "O"),
    "string": (pa.array(["a", None]), ["a", None], "O"),
    "bool8": (extension(pa.bool8(), pa.array([1, None], pa.int8())), [True, None], "O"),
    "fixed-size binary": (pa.array([b"ab", None], pa.binary(2)), [b"ab", None], "O"),
}


def assert_copied(array, expected, **options):
    """Check a copy: with a warning, refused under False, silent and writable under True."""
    assert not explain(array, "numpy", **options).shares_memory
    with pytest.warns(CopyWarning, match="Zero-copy conversion from Arrow failed: ") as caught:
        result = arrow_to_numpy_zero_copy(array, **options)
    assert caught[0].filename == __file__
    with pytest.raises(ZeroCopyError, match="Zero-copy conversion from Arrow failed: "):
        arrow_to_numpy_zero_copy(array, copy=False, **options)
    independent = arrow_to_numpy_zero_copy(array, copy=True, **options)
    assert independent.flags.writeable
    for each in (result, independent):
        assert each.shape[0] == len(array)
        np.testing.assert_array_equal(each, expected)
    return result


@for_each("name", NULLS)
def test_nulls_are_converted_as_by_pyarrow(name):
    array, values, dtype = NULLS[name]
    expected = np.array(values, dtype)
    result = assert_copied(array, expected)
    assert result.dtype == expected.dtype


@for_each(
    "array",
    [
        pa.array([2**53 + 1, None]),
        pa.array([-(2**53) - 1, None]),
        pa.array([2**64 - 1, None], pa.uint64()),
        pa.array([2**60 + 1, None]).dictionary_encode(),
        pa.array([[2**60 + 1, None]]),
        pa.array([{"a": 2**60 + 1}, {"a": None}]),
        pa.chunked_array([[2**60 + 1], [None]]),
    ],
    ids=str,
)
def test_integers_that_float_would_round_are_refused(array):
    assert not explain(array, "numpy").supported
    with pytest.raises(UnsupportedError, match="would round its integers"):
        arrow_to_numpy_zero_copy(array)


@pytest.mark.parametrize("name", ["int64", "float32", "timestamp", "fixed-size binary"])
def test_masked_array_shares_values(name):
    array = NULLS[name][0]
    result = arrow_to_numpy_zero_copy(array, nulls="mask", copy=False)
    assert isinstance(result, np.ma.MaskedArray)
    assert result.mask.tolist() == [value is None for value in array.to_pylist()]
    assert address(result.data) == array.buffers()[1].address
    assert explain(array, "numpy", nulls="mask").shares_memory
    independent = arrow_to_numpy_zero_copy(array, nulls="mask", copy=True)
    assert independent.flags.writeable
    assert independent.compressed().tolist() == result.compressed().tolist()


def test_mask_of_a_slice_and_without_nulls():
    sliced = pa.array([None, 2**60 + 1, None, 4])[1:]
    result = arrow_to_numpy_zero_copy(sliced, nulls="mask", copy=False)
    assert result.tolist() == [2**60 + 1, None, 4]
    assert arrow_to_numpy_zero_copy(pa.array([1, 2]), nulls="mask").mask.tolist() == [
        False,
        False,
    ]


def test_mask_of_lists_covers_lists_and_values():
    lists = pa.array([[1, 2], None, [None, 4]], pa.list_(pa.int64(), 2))
    result = arrow_to_numpy_zero_copy(lists, nulls="mask", copy=False)
    assert result.tolist() == [[1, 2], [None, None], [None, 4]]


def test_mask_over_several_chunks_and_dictionaries():
    with pytest.warns(CopyWarning, match="2 chunks"):
        result = arrow_to_numpy_zero_copy(pa.chunked_array([[1, None], [3]]), nulls="mask")
    assert result.tolist() == [1, None, 3]
    with pytest.warns(CopyWarning):
        decoded = arrow_to_numpy_zero_copy(
            pa.array([2**60 + 1, None]).dictionary_encode(), nulls="mask"
        )
    assert decoded.tolist() == [2**60 + 1, None]


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1, None, None]),
        pa.chunked_array([[1, None], [None]]),
        pa.array([[1, None], [None, 2]], pa.list_(pa.int64(), 2)),
    ],
    ids=["array", "chunks", "lists"],
)
def test_null_error_reports_the_count(array):
    for copy in (None, False, True):
        with pytest.raises(NullError, match=r"from Arrow failed: .* 2 of its values are null"):
            arrow_to_numpy_zero_copy(array, nulls="raise", copy=copy)
    assert arrow_to_numpy_zero_copy(pa.array([1]), nulls="raise", copy=False).tolist() == [1]


def test_lists_with_nulls_match_pyarrow():
    lists = pa.array([[1.0, 2.0], None], pa.list_(pa.float64(), 2))
    with pytest.warns(CopyWarning, match="null"):
        result = arrow_to_numpy_zero_copy(lists)
    assert result[0].tolist() == [1.0, 2.0]
    assert result[1] is None


def test_explain_of_a_copy_does_not_convert():
    """The preview of the result has its dtype and shape, which later steps depend on."""
    for array, dtype in ((pa.array([1, None]), "float64"), (pa.array([True]), "bool")):
        route = explain(array, "torch")
        assert route.supported
        with pytest.warns(CopyWarning):
            assert arrow_to_numpy_zero_copy(array).dtype == dtype
    assert not explain(pa.array(["a"]), "torch").supported


@for_each(
    ("array", "target", "options"),
    [
        (pa.array([DAY] * 1000), "arrow", {"nulls": "convert"}),
        (
            pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())),
            "arrow",
            {"nulls": "convert"},
        ),
        (pa.array([1, None], pa.timestamp("s")), "arrow", {"layout": "tensor"}),
        (pa.array([[1.0, 2], [3, None]], pa.list_(pa.float32(), 2)), "torch", {}),
        (pa.array(["a", "b"]), "arrow", {"nulls": "convert"}),
        (pa.chunked_array([[1], [None]]), "torch", {}),
        (pa.array([True, None]), "torch", {}),
        (pa.chunked_array([["a"], ["b"]]), "torch", {}),
    ],
    ids=str,
)
def test_explain_of_two_steps_depends_on_the_values(array, target, options):
    route = explain(array, target, **options)
    for copy in (None, True):
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CopyWarning)
                share(array, target, copy=copy, **options)
        except UnsupportedError:
            assert not route.supported
        else:
            assert route.supported
    error = ZeroCopyError if route.supported else UnsupportedError
    with pytest.raises(error):
        share(array, target, copy=False, **options)


@pytest.mark.parametrize("permutation", [None, [1, 0]])
def test_mask_of_tensors_has_the_tensor_shape(permutation):
    lists = pa.array([[1, 2, 3, 4, 5, 6], None], pa.list_(pa.int64(), 6))
    kind = pa.fixed_shape_tensor(pa.int64(), [2, 3], permutation=permutation)
    result = arrow_to_numpy_zero_copy(extension(kind, lists), nulls="mask", copy=False)
    whole = np.arange(1, 7).reshape(2, 3)
    expected = whole if permutation is None else whole.T
    assert result[0].tolist() == expected.tolist()
    assert result[1].mask.all()
    bare = arrow_to_numpy_zero_copy(extension(kind, lists[:1]), nulls="mask", copy=False)
    assert not bare.mask.any()


def test_mask_of_lists_of_objects_covers_the_rows():
    lists = pa.array([[[1]], None], pa.list_(pa.list_(pa.int64()), 1))
    with pytest.warns(CopyWarning):
        result = arrow_to_numpy_zero_copy(lists, nulls="mask")
    assert result.mask.tolist() == [False, True]


@for_each("nulls", ["convert", "mask", "raise"])
@for_each("name", [*COPIED, *NULLS, *MISREAD])
def test_empty_array_of_any_type(name, nulls):
    array = {**COPIED, **NULLS, **MISREAD}[name][0]
    kind = array.type
    for empty in (
        array[:0],
        pa.chunked_array([array[:0]] if isinstance(array, pa.Array) else [], kind),
    ):
        for copy in (None, True):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", CopyWarning)
                result = arrow_to_numpy_zero_copy(empty, nulls=nulls, copy=copy)
            assert len(result) == 0
            assert isinstance(result, np.ndarray)
        assert explain(empty, "numpy", nulls=nulls).supported
