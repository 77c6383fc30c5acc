"""Arrow to NumPy: types, slices, chunks and the copy policy."""

from __future__ import annotations

import datetime
import decimal
import tracemalloc
from contextlib import nullcontext

import numpy as np
import pyarrow as pa
import pytest
from adapters.conformance import COPY, SHARE, ToNumpy
from support.arrays import LOWPREC, NATIVE, values
from support.arrow.misread import MISREAD, extension
from support.each import for_each
from support.memory import address
from support.oracles import arrow as oracle

from numpack import (
    CopyWarning,
    InvalidValueError,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
    explain,
)
from numpack.io import arrow_to_numpy_zero_copy, numpy_to_arrow_zero_copy

DAY = datetime.date(2020, 1, 2)


def fixed_lists(values: np.ndarray) -> pa.Array:
    return numpy_to_arrow_zero_copy(values, layout="list")


NUMBERS = np.arange(1, 13)
SHARED = {
    **{
        name: (pa.array(NUMBERS.astype(name)), NUMBERS.astype(name))
        for name in (
            "int8 int16 int32 int64 uint8 uint16 uint32 uint64 float16 float32 float64"
        ).split()
    },
    **{
        f"{kind}[{unit}]": (
            pa.array(NUMBERS.astype(f"{char}8[{unit}]")),
            NUMBERS.astype(f"{char}8[{unit}]"),
        )
        for kind, char in (("timestamp", "M"), ("duration", "m"))
        for unit in ("s", "ms", "us", "ns")
    },
    "timestamp with zone": (
        pa.array(NUMBERS).cast(pa.timestamp("us", "Europe/Paris")),
        NUMBERS.astype("M8[us]"),
    ),
    "date64": (pa.array([DAY] * 12, pa.date64()), np.array([DAY] * 12, "M8[ms]")),
    "bool8": (
        extension(pa.bool8(), pa.array(NUMBERS % 2, pa.int8())),
        NUMBERS % 2 == 1,
    ),
    "fixed-size binary": (
        pa.array([b"a%02d\0" % n for n in NUMBERS], pa.binary(4)),
        np.array([b"a%02d\0" % n for n in NUMBERS], "V4"),
    ),
    "uuid": (
        extension(pa.uuid(), pa.array([bytes([n] * 16) for n in range(12)], pa.binary(16))),
        np.array([bytes([n] * 16) for n in range(12)], "V16"),
    ),
    "fixed-size list": (
        fixed_lists(NUMBERS.reshape(12, 1) + [0, 1, 2]),
        NUMBERS.reshape(12, 1) + [0, 1, 2],
    ),
    "nested fixed-size lists": (
        fixed_lists(np.arange(144.0).reshape(12, 3, 4)),
        np.arange(144.0).reshape(12, 3, 4),
    ),
    "tensor": (
        numpy_to_arrow_zero_copy(np.arange(144.0).reshape(12, 3, 4), layout="tensor"),
        np.arange(144.0).reshape(12, 3, 4),
    ),
    "permuted tensor": (
        extension(
            pa.fixed_shape_tensor(pa.int32(), [2, 3, 4], permutation=[2, 0, 1]),
            pa.FixedSizeListArray.from_arrays(pa.array(np.arange(288, dtype="i4")), 24),
        ),
        np.arange(288, dtype="i4").reshape(12, 2, 3, 4).transpose(0, 3, 1, 2),
    ),
}
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


@for_each("part", [slice(None), slice(3, 9), slice(5, None), slice(4, 4)])
@for_each("name", SHARED)
def test_shared(name, part):
    array, expected = SHARED[name]
    cut = array[part]
    assert explain(cut, "numpy").shares_memory
    for source in (cut, pa.chunked_array([cut]), pa.chunked_array([cut, cut[:0]])):
        result = arrow_to_numpy_zero_copy(source, copy=False)
        assert result.dtype == expected.dtype
        assert result.tolist() == expected[part].tolist()
        assert not result.flags.writeable or result.size == 0
        if result.size:
            whole = arrow_to_numpy_zero_copy(array, copy=False)
            assert address(result) - address(whole) == (part.start or 0) * whole.strides[0]
    independent = arrow_to_numpy_zero_copy(cut, copy=True)
    assert independent.flags.writeable
    assert independent.tolist() == expected[part].tolist()
    assert not np.shares_memory(independent, arrow_to_numpy_zero_copy(cut))


@for_each("name", SHARED)
def test_address_is_the_buffer(name):
    array, _ = SHARED[name]
    buffers = [each for each in array.buffers() if each is not None and each.size]
    assert address(arrow_to_numpy_zero_copy(array)) == buffers[-1].address


@for_each("name", COPIED)
def test_copied(name):
    array, values = COPIED[name]
    result = assert_copied(array, arrow_objects(values))
    assert result.tolist() == arrow_objects(values).tolist()
    sliced = array[len(array) - 1 :]
    assert_copied(sliced, arrow_objects(values[-1:]))


def arrow_objects(values: list) -> np.ndarray:
    if isinstance(values[0], bool | int | datetime.date) or (
        np.ndim(values) > 1 and isinstance(np.ravel(values)[0], np.bool_)
    ):
        kind = "M8[D]" if isinstance(values[0], datetime.date) else None
        return np.array(values, kind)
    objects = np.empty(len(values), object)
    for i, value in enumerate(values):
        objects[i] = value
    return objects


class OlderPyarrowArray:
    """An array of a pyarrow release whose ``nbytes`` does not support views."""

    def __init__(self, array):
        self.get_total_buffer_size = array.get_total_buffer_size

    @property
    def nbytes(self):
        raise pa.ArrowTypeError("Extracting byte ranges not supported for type string_view")


def test_bytes_of_views_are_counted_where_pyarrow_does_not():
    from numpack.adapters.arrow.views import nbytes

    array = pa.array(["a" * 40, None], pa.string_view())
    assert nbytes(OlderPyarrowArray(array)) == array.get_total_buffer_size() > 40


def test_numbers_do_not_require_pandas(run_python):
    """`pyarrow.DataType.to_pandas_dtype` imports pandas before pyarrow 22."""
    run_python(
        "import sys\n"
        "class Finder:\n"
        "    def find_spec(self, name, path, target=None):\n"
        "        if name == 'pandas':\n"
        "            raise ModuleNotFoundError(name)\n"
        "sys.meta_path.insert(0, Finder())\n"
        "import numpack, pyarrow as pa\n"
        "for kind in (pa.int8(), pa.uint64(), pa.float16(), pa.float64()):\n"
        "    array = pa.array([0, 1, 2], kind).slice(1)\n"
        "    assert numpack.share(array, 'numpy', copy=False).tolist() == [1, 2]\n"
        "    assert numpack.explain(array, 'numpy').shares_memory\n"
    )


@pytest.mark.parametrize(
    "name", ["int64", "timestamp[ns]", "fixed-size list", "permuted tensor"]
)
def test_chunks_are_concatenated_in_one_copy(name):
    array, expected = SHARED[name]
    chunked = pa.chunked_array([array[:2], array[2:2], array[2:]])
    assert "3 chunks" in str(explain(chunked, "numpy").reason) or "2 chunks" in str(
        explain(chunked, "numpy").reason
    )
    result = assert_copied(chunked, expected)
    assert result.dtype == expected.dtype


def test_chunked_array_without_chunks():
    result = arrow_to_numpy_zero_copy(pa.chunked_array([], pa.int32()), copy=False)
    assert result.dtype == np.int32
    assert result.shape == (0,)


@pytest.mark.parametrize(
    "array",
    [
        pa.array([1_000_000_001], pa.time64("ns")),
        pa.array([1, 1_000_000_001], pa.time64("ns")),
    ],
    ids=["nanoseconds", "nanoseconds later"],
)
def test_refused(array):
    assert not explain(array, "numpy").supported
    for copy in (None, False, True):
        with pytest.raises(UnsupportedError, match="Zero-copy conversion from Arrow failed"):
            arrow_to_numpy_zero_copy(array, copy=copy)


@pytest.mark.parametrize("wrong", [[1], np.zeros(2), pa.table({"x": [1]}), None])
def test_wrong_type_error_names_the_type(wrong):
    with pytest.raises(WrongTypeError, match="expects a pyarrow.Array.*, got "):
        arrow_to_numpy_zero_copy(wrong)


def test_wrong_option():
    with pytest.raises(InvalidValueError, match="nulls must be one of"):
        arrow_to_numpy_zero_copy(pa.array([1]), nulls="drop")
    with pytest.raises(InvalidValueError, match="copy must be None, False or True"):
        arrow_to_numpy_zero_copy(pa.array([1]), copy="yes")


def nested_lists(array: np.ndarray) -> list:
    return [nested_lists(each) if isinstance(each, np.ndarray) else each for each in array]


@for_each("name", MISREAD)
def test_types_that_pyarrow_misreads_are_converted_correctly(name):
    array, values = MISREAD[name]
    assert not explain(array, "numpy").shares_memory
    for copy in (None, True):
        with pytest.warns(CopyWarning) if copy is None else nullcontext():
            result = arrow_to_numpy_zero_copy(array, copy=copy)
        assert isinstance(result, np.ndarray)
        assert nested_lists(result) == values


@pytest.mark.parametrize(
    "kind",
    [
        pa.struct([("a", pa.timestamp("ns"))]),
        pa.list_(pa.struct([("a", pa.duration("ns"))])),
        pa.map_(pa.string(), pa.timestamp("ns")),
    ],
    ids=str,
)
def test_nanoseconds_do_not_become_integers(kind):
    array = pa.nulls(2, kind)
    assert not explain(array, "numpy").supported
    with pytest.raises(UnsupportedError, match="no nanoseconds; cast them to microseconds"):
        arrow_to_numpy_zero_copy(array)


def test_more_dimensions_than_numpy_supports():
    array = pa.array([1])
    for _ in range(70):
        array = pa.FixedSizeListArray.from_arrays(array, 1)
    assert not explain(array, "numpy").supported
    with pytest.raises(UnsupportedError, match="at most 64 dimensions"):
        arrow_to_numpy_zero_copy(array)


@for_each("layout", ["flat", "list", "tensor"])
@for_each("nulls", ["convert", "raise"])
def test_sharing_allocates_no_memory_for_any_nulls_option(nulls, layout):
    array = numpy_to_arrow_zero_copy(np.zeros((10**6, 8), "f4"), layout=layout)
    tracemalloc.start()
    try:
        arrow_to_numpy_zero_copy(array, nulls=nulls, copy=False)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 100_000  # a mask alone would be 8 MB


class TestToNumpy(ToNumpy):
    source = "arrow"
    names = tuple(n for n in (*NATIVE, *LOWPREC) if oracle.make(values(n)) is not None)
    keeps_shape = False

    def expected(self, name, shape):
        return COPY if name == "bool" else SHARE
