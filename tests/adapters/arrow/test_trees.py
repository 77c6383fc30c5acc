"""Nested Arrow types to every framework: values, verdicts of `explain`, and no crashes."""

from __future__ import annotations

import datetime as dt
import os
import time
import warnings

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from support.arrow.reference import reference
from support.arrow.trees import make_column, random_spec
from support.arrow.walk import TARGETS, run
from support.each import for_each

from numpack import CopyWarning, UnsupportedError, explain, share
from numpack.adapters.arrow.errors import translate_errors
from numpack.adapters.arrow.rewrite import Rewriting
from numpack.adapters.arrow.trees import (
    as_decimal128,
    contains,
    decoded_type,
    empty_array,
    is_sliced,
    storage_type,
    type_with_offsets,
)
from numpack.errors import NullError
from numpack.io import from_dlpack

pytestmark = pytest.mark.filterwarnings("ignore::numpack.CopyWarning")
WALK = int(os.environ.get("WALK", "25"))  # columns for each framework
SEED = int(os.environ.get("WALK_SEED", "0"))


def dictionary(codes: list[int | None], values: pa.Array) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int8()), values)


def test_generated_columns_are_converted_exactly():
    """They are converted in a subprocess; the variable ``WALK=5000`` tests more of them."""
    assert run(TARGETS, SEED, SEED + WALK) == []


def test_walk_continues_after_a_crash():
    found = run(("nothing", "neither"), SEED, SEED + 1)
    assert [line.partition(": exit 1 ")[0] for line in found] == [
        f"nothing {SEED}",
        f"neither {SEED}",
    ]


RULES = {
    "kept": lambda kind, parents: None,
    "decoded": lambda kind, parents: decoded_type(kind),
    "without views": lambda kind, parents: type_with_offsets(kind),
    "plain": lambda kind, parents: (
        decoded_type(kind)
        or type_with_offsets(kind)
        or storage_type(kind)
        or as_decimal128(kind)
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_rewriting_keeps_values_and_predicts_the_type(name):
    import random

    rewriting = Rewriting(RULES[name])
    for seed in range(SEED, SEED + 4 * WALK):
        rng = random.Random(seed)
        column = make_column(random_spec(rng, rng.choice([1, 2, 3])), rng)
        made = rewriting.column(column)
        made.validate()
        assert made.type == rewriting.target(column.type)
        assert reference(made) == reference(column)
        assert empty_array(column.type).type == column.type
        if name == "kept":
            assert made.type == column.type
        if name == "plain":
            assert not contains(made.type, decoded_type)
        if isinstance(made, pa.Array):
            assert not is_sliced(made)


HIDDEN_NULLS = {
    "run ends": pc.run_end_encode(pa.array([1, 1, None])),
    "sliced run ends": pc.run_end_encode(pa.array([1, 1, None, 2]))[1:],
    "run ends of the null type": pc.run_end_encode(pa.nulls(3)),
    "sparse union": pa.UnionArray.from_sparse(
        pa.array([0, 1], pa.int8()), [pa.array([1.0, 2.0]), pa.array([True, None])]
    ),
    "sliced dense union": pa.UnionArray.from_dense(
        pa.array([0, 0, 1], pa.int8()),
        pa.array([0, 0, 0], pa.int32()),
        [pa.array([1.0]), pa.array([None], pa.bool_())],
    )[1:],
    "dictionary of the null type": pc.dictionary_encode(pa.nulls(3), null_encoding="encode"),
    "dictionary of a dictionary": dictionary([0, 1], dictionary([0, 1], pa.array([None, 5]))),
    "dictionary of run ends": dictionary([0, 1], pc.run_end_encode(pa.array([None, 1]))),
    "dictionary of a union": dictionary(
        [0, 1],
        pa.UnionArray.from_sparse(
            pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array([None, None])]
        ),
    ),
    "lists of width 0": pa.array([[], None], pa.list_(pa.int8(), 0)),
}


@for_each("name", HIDDEN_NULLS)
def test_nulls_without_a_bitmap_are_found(name):
    array = HIDDEN_NULLS[name]
    missing = [value is None for value in array.to_pylist()]
    masked = share(array, "numpy", nulls="mask", copy=True)
    if masked.ndim == 1:
        assert np.ma.getmaskarray(masked).tolist() == missing
    with pytest.raises(NullError, match=f"{sum(missing)} of its values are null"):
        share(array, "numpy", nulls="raise", copy=True)
    found = share(array, "numpy").tolist()
    found = [value is None or (isinstance(value, float) and value != value) for value in found]
    assert found == missing


# Tensors


@pytest.mark.parametrize("permutation", [None, [2, 0, 1], [1, 2, 0], [1, 0, 2]])
def test_tensors_keep_their_strides_through_dlpack(permutation):
    kind = pa.fixed_shape_tensor(pa.int8(), [2, 2, 3], permutation=permutation)
    lists = pa.array([list(range(12)), list(range(12, 24))], pa.list_(pa.int8(), 12))
    tensors = pa.ExtensionArray.from_storage(kind, lists)
    want = np.arange(24).reshape(2, 2, 2, 3)
    if permutation is not None:
        want = want.transpose(0, *(1 + axis for axis in permutation))
    for array in (tensors, tensors[1:]):
        found = from_dlpack(array, copy=False)
        assert np.array_equal(found, want[2 - len(array) :])
        assert found.ctypes.data == share(array, "numpy", copy=False).ctypes.data


def test_tensors_beside_null_rows_keep_their_shape():
    kind = pa.fixed_shape_tensor(pa.int64(), [2, 3], permutation=[1, 0])
    lists = pa.array([[1, 2, 3, 4, 5, 6], None], pa.list_(pa.int64(), 6))
    found = share(pa.ExtensionArray.from_storage(kind, lists), "numpy")
    assert found[0].tolist() == [[1, 4], [2, 5], [3, 6]]
    assert found[1] is None


FAR = 10**12  # seconds: the year 33658


# Python objects


@for_each(
    "array",
    [
        pa.array([[("k", FAR)]], pa.map_(pa.string(), pa.int64())).cast(
            pa.map_(pa.string(), pa.timestamp("s"))
        ),
        pa.array([{"t": 0}, {"t": -FAR}], pa.struct([("t", pa.int64())])).cast(
            pa.struct([("t", pa.timestamp("s"))])
        ),
        pa.array([{"t": 4_000_000}], pa.struct([("t", pa.int32())])).cast(
            pa.struct([("t", pa.date32())])
        ),
        pa.array([[{"t": FAR * 10**6}]], pa.list_(pa.struct([("t", pa.int64())]))).cast(
            pa.list_(pa.struct([("t", pa.duration("s"))]))
        ),
        pa.array([1_000_000_001], pa.time64("ns")),
        pa.UnionArray.from_sparse(pa.array([0], pa.int8()), [pa.array([7], pa.time64("ns"))]),
    ],
    ids=lambda array: str(array.type),
)
def test_times_that_python_cannot_represent_are_refused(array):
    route = explain(array, "numpy")
    assert not route.supported
    for copy in (None, False, True):
        with pytest.raises(
            UnsupportedError, match=r"cast them to pa.int64\(\), or pa.int32\(\)"
        ):
            share(array, "numpy", copy=copy)
    if pa.types.is_union(array.type):
        return  # whose child is cast
    as_numbers = Rewriting(lambda kind, _: _as_number(kind)).target(array.type)
    assert len(share(array.cast(as_numbers), "numpy", copy=None)) == len(array)


def _as_number(kind: pa.DataType) -> pa.DataType | None:
    if not pa.types.is_temporal(kind):
        return None
    return pa.int32() if kind.bit_width == 32 else pa.int64()


def test_times_outside_a_slice_are_ignored():
    times = pa.array([FAR, 0], pa.int64()).cast(pa.timestamp("s"))
    array = pa.StructArray.from_arrays([times], ["t"])[1:]
    assert share(array, "numpy").tolist() == [{"t": dt.datetime(1970, 1, 1)}]


def test_struct_with_a_repeated_field_name():
    array = pa.StructArray.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"])
    for target in ("numpy", "polars"):
        assert not explain(array, target).supported
        with pytest.raises(UnsupportedError, match=r"array.flatten\(\), names="):
            share(array, target)
    renamed = pa.StructArray.from_arrays(array.flatten(), names=["a", "b"])
    assert share(renamed, "numpy").tolist() == [{"a": 1, "b": 2}]
    assert share(renamed, "polars", copy=True).to_list() == [{"a": 1, "b": 2}]


class Panic(BaseException):
    """The exception that pyo3 raises for a panic in Rust."""


Panic.__module__ = "pyo3_runtime"


# Errors of other libraries


@pytest.mark.parametrize(
    "error",
    [Panic("it broke\nat line 7"), pa.ArrowInvalid("no"), ValueError(""), TypeError("x")],
)
def test_errors_of_other_libraries_become_unsupported_error(error):
    def fails() -> None:
        raise error

    with pytest.raises(UnsupportedError, match="to Polars failed: a column, Polars does not"):
        translate_errors(fails, "to Polars", lambda: "a column")()


@pytest.mark.parametrize(
    "error",
    [KeyboardInterrupt(), SystemExit(), GeneratorExit(), MemoryError(), TimeoutError("alarm")],
)
def test_interrupts_propagate(error):
    def fails() -> None:
        raise error

    with pytest.raises(type(error)):
        translate_errors(fails, "to Polars", lambda: "a column")()


def test_planning_reads_only_types_if_nothing_is_rewritten():
    table = pa.table({str(i): np.arange(10**6) for i in range(8)})
    start = time.perf_counter()
    with warnings.catch_warnings():
        warnings.simplefilter("error", CopyWarning)
        for _ in range(10):
            share(table, "polars", copy=False)
    assert time.perf_counter() - start < 5
