"""NumPy to Arrow: layouts of N-D arrays, masks, NaT, and exact values."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from adapters.conformance import FromNumpyToColumns, arrow_verdict
from support.each import for_each
from support.memory import address

from numpack import (
    CopyWarning,
    InvalidValueError,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
    explain,
)
from numpack.io import arrow_to_numpy_zero_copy, numpy_to_arrow_zero_copy


def last_buffer(array: pa.Array) -> int:
    return [each for each in array.buffers() if each is not None][-1].address


@for_each("shape", [(4,), (4, 3), (4, 3, 2), (4, 1, 3), (0, 3), (4, 0), (4, 2, 0)])
@for_each("layout", ["flat", "tensor", "list"])
@for_each("dtype", ["f4", "i8", "M8[us]", "S3", "V2"])
def test_layouts_are_shared_and_round_trip(dtype, layout, shape):
    a = np.arange(1, np.prod(shape, dtype=int) + 1).astype(
        "S2" if dtype == "V2" else dtype.replace("M8[us]", "i8")
    )
    a = a.astype(dtype).reshape(shape)
    array = numpy_to_arrow_zero_copy(a, layout=layout, copy=False)
    assert len(array) == (a.size if layout == "flat" else shape[0])
    if a.size:
        assert last_buffer(array) == address(a)
    if layout == "tensor":
        assert isinstance(array, pa.FixedShapeTensorArray)
        assert tuple(array.type.shape) == shape[1:]
    array.validate(full=True)
    back = arrow_to_numpy_zero_copy(array, copy=False)
    if layout == "flat":
        back = back.reshape(shape)
    assert back.shape == shape
    assert back.tobytes() == a.tobytes()
    if a.size:
        assert address(back) == address(a)


def test_lists_equal_nested_python_lists():
    a = np.arange(24).reshape(2, 3, 4)
    assert numpy_to_arrow_zero_copy(a, layout="list").to_pylist() == a.tolist()
    assert (
        numpy_to_arrow_zero_copy(a, layout="tensor").to_numpy_ndarray().tolist() == a.tolist()
    )
    assert numpy_to_arrow_zero_copy(a).to_pylist() == a.ravel().tolist()


@pytest.mark.parametrize("layout", ["flat", "list", "tensor"])
def test_booleans_are_shared_as_bool8(layout):
    a = np.array([[True, False], [False, True]])
    array = numpy_to_arrow_zero_copy(a, layout=layout, type=pa.bool8(), copy=False)
    assert last_buffer(array) == address(a)
    back = arrow_to_numpy_zero_copy(array, copy=False)
    assert back.dtype == bool
    assert back.reshape(2, 2).tolist() == a.tolist()
    assert address(back) == address(a)


def test_planning_does_not_pack_booleans():
    a = np.zeros(10**6, bool)
    before = pa.default_memory_pool().num_allocations()
    assert not explain(a, "arrow").shares_memory
    with pytest.raises(ZeroCopyError):
        numpy_to_arrow_zero_copy(a, copy=False)
    assert pa.default_memory_pool().num_allocations() == before


@pytest.mark.parametrize("layout", ["list", "tensor"])
def test_booleans_as_bits_keep_their_shape(layout):
    a = np.array([[True, False, True], [False, True, True]])
    with pytest.warns(CopyWarning, match="Arrow packs booleans as bits"):
        array = numpy_to_arrow_zero_copy(a, layout=layout)
    with pytest.warns(CopyWarning):
        assert arrow_to_numpy_zero_copy(array).tolist() == a.tolist()


def test_message_names_input_reason_and_fix():
    message = (
        r"Zero-copy conversion to Arrow failed: bool array of shape \(1000,\), Arrow packs "
        r"booleans as bits; a copy takes 1,000 bytes; pass type=pa.bool8\(\) to share the bytes"
    )
    with pytest.raises(ZeroCopyError, match=message):
        numpy_to_arrow_zero_copy(np.zeros(1000, bool), copy=False)


@for_each("values", ["i8", "f4", "M8[s]", "bool", "U3", "O"])
def test_mask_becomes_null_and_values_stay_shared(values):
    data = np.array([1, 0, 1, 1]).astype(values)
    a = np.ma.array(data, mask=[False, True, False, True])
    if values in ("bool", "U3", "O"):
        with pytest.warns(CopyWarning):
            array = numpy_to_arrow_zero_copy(a)
    else:
        array = numpy_to_arrow_zero_copy(a, copy=False)
        assert array.buffers()[1].address == address(data)
    assert array.is_null().to_pylist() == [False, True, False, True]
    assert array.null_count == 2
    assert (
        array[0].as_py()
        == np.array(data[0]).astype("M8[s]" if values == "M8[s]" else values).item()
    )


def test_mask_of_an_n_d_array():
    a = np.ma.array(np.arange(6.0).reshape(2, 3), mask=[[0, 1, 0], [0, 0, 1]])
    assert numpy_to_arrow_zero_copy(a, layout="list", copy=False).to_pylist() == [
        [0, None, 2],
        [3, 4, None],
    ]
    for layout in ("tensor",):
        with pytest.raises(
            UnsupportedError, match="no nulls inside its cells; pass layout='list'"
        ):
            numpy_to_arrow_zero_copy(a, layout=layout)
        assert not explain(a, "arrow", layout=layout).supported
    fortran = np.ma.array(np.asfortranarray(a.data), mask=a.mask)
    with pytest.warns(CopyWarning, match="not C-contiguous"):
        assert numpy_to_arrow_zero_copy(fortran).to_pylist() == a.ravel().tolist()


@for_each("kind", ["M8", "m8"])
@for_each("unit", ["s", "ms", "us", "ns"])
def test_nat_becomes_null_and_the_buffer_stays_shared(kind, unit):
    a = np.array([1, "NaT", 3], f"{kind}[{unit}]")
    array = numpy_to_arrow_zero_copy(a, copy=False)
    assert array.is_null().to_pylist() == [False, True, False]
    assert array.buffers()[1].address == address(a)
    assert numpy_to_arrow_zero_copy(a[:1]).buffers()[0] is None


def test_nan_stays_nan():
    array = numpy_to_arrow_zero_copy(np.array([1.0, np.nan]), copy=False)
    assert array.null_count == 0
    objects = np.array([1.0, np.nan, None], object)
    with pytest.warns(CopyWarning):
        array = numpy_to_arrow_zero_copy(objects)
    assert array.is_null().to_pylist() == [False, False, True]


TIMES = [
    ("M8[D]", ["2020-02-29", "NaT", "1969-12-31"], pa.date32()),
    ("M8[W]", ["2020-02-27", "NaT"], pa.date32()),
    ("M8[M]", ["2020-02", "NaT"], pa.date32()),
    ("M8[Y]", ["2020", "1900"], pa.date32()),
    ("M8[h]", ["2020-02-29T23", "NaT"], pa.timestamp("s")),
    ("M8[m]", ["2020-02-29T23:59"], pa.timestamp("s")),
    ("M8[25ms]", [1, 2], pa.timestamp("ms")),
    ("m8[D]", [1, "NaT"], pa.duration("s")),
    ("m8[W]", [-1], pa.duration("s")),
    ("m8[7s]", [3], pa.duration("s")),
]


@for_each(("dtype", "values", "kind"), TIMES, ids=lambda each: str(each))
def test_coarse_times_are_converted_exactly(dtype, values, kind):
    a = (
        np.array(values).astype(dtype)
        if isinstance(values[0], int)
        else np.array(values, dtype)
    )
    with pytest.warns(CopyWarning, match="another width or unit"):
        array = numpy_to_arrow_zero_copy(a)
    assert array.type == kind
    back = array.to_numpy(zero_copy_only=False)
    np.testing.assert_array_equal(back, a)


@pytest.mark.parametrize(
    "a",
    [
        np.array([2**40], "M8[D]"),
        np.array([0, -(2**31) - 1], "M8[D]"),
        np.array([2**60], "M8[Y]"),
        np.array([2**60], "m8[h]"),
        np.array([2**62], "M8[25ms]"),
    ],
    ids=str,
)
def test_times_that_would_wrap_around_are_refused(a):
    assert not explain(a, "arrow").supported
    with pytest.raises(UnsupportedError, match="out of the range"):
        numpy_to_arrow_zero_copy(a)


@pytest.mark.parametrize("dtype", ["U5", "string", "O"])
def test_strings_are_not_truncated(dtype):
    strings = ["a\0b", "", "é😀", "\0"]
    kind = np.dtypes.StringDType() if dtype == "string" else dtype
    a = np.array(strings, dtype=kind)
    with pytest.warns(CopyWarning):
        assert numpy_to_arrow_zero_copy(a).to_pylist() == a.tolist()


def test_missing_strings_are_null():
    for missing in (None, np.nan):
        a = np.array(["a", missing], np.dtypes.StringDType(na_object=missing))
        with pytest.warns(CopyWarning):
            assert numpy_to_arrow_zero_copy(a).to_pylist() == ["a", None]


def test_wrong_options():
    with pytest.raises(
        InvalidValueError, match="layout must be one of 'flat', 'tensor', 'list'"
    ):
        numpy_to_arrow_zero_copy(np.zeros(2), layout="rows")
    with pytest.raises(InvalidValueError, match=r"needs rows.*array.reshape\(1\)"):
        numpy_to_arrow_zero_copy(np.array(1.0), layout="list")
    with pytest.raises(InvalidValueError, match="type must be a pyarrow.DataType"):
        numpy_to_arrow_zero_copy(np.zeros(2), type="int8")
    with pytest.raises(
        WrongTypeError, match=r"expects a numpy.ndarray, got list; pass np.asarray\(x\)"
    ):
        numpy_to_arrow_zero_copy([1, 2])
    with pytest.raises(WrongTypeError, match="got pyarrow.lib.Int64Array; numpack.share"):
        numpy_to_arrow_zero_copy(pa.array([1]))


def test_refusal_keeps_its_own_fix():
    route = explain(np.array([1], "M8[ps]"), "arrow")
    assert "array.astype('M8[ns]')" in route.fix
    assert "Zero-copy" not in route.reason


def test_lists_longer_than_arrow_supports():
    for layout, shape in (("list", (1, 2**31)), ("tensor", (0, 2**20, 2**20))):
        a = np.broadcast_to(np.zeros((), "i1"), shape) if shape[0] else np.empty(shape, "i1")
        with pytest.raises(InvalidValueError, match="at most 2,147,483,647 values"):
            numpy_to_arrow_zero_copy(a, layout=layout)


class TestFromNumpy(FromNumpyToColumns):
    target = "arrow"

    def kinds(self, name):
        return ("writable", "read-only")

    def expected(self, name, layout, array):
        return arrow_verdict(name, layout, array)

    def listed(self, result):
        return result

    def address(self, result):
        return result.buffers()[1].address + result.offset

    def place(self, result, array):
        return self.address(result) if array.nbytes else None

    def check_contents(self, result, array):
        super().check_contents(result, array)
        assert len(result) == array.size
