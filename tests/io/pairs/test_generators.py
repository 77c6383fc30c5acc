"""Convert examples of the frameworks' own test generators to every target.

``NUMPACK_EXAMPLES`` sets the number of examples for each generator, 12 by default.
"""

from __future__ import annotations

import os

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as of_numpy
from hypothesis.extra import pandas as of_pandas
from polars.testing.parametric import series as polars_series
from pyarrow.tests import strategies as of_pyarrow
from support.exchange.walk import TARGETS, Instant, check
from support.exchange.walk import of_arrow as arrow_values
from support.exchange.walk import of_numpy as numpy_values

EXAMPLES = int(os.environ.get("NUMPACK_EXAMPLES", "12"))
limited = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=EXAMPLES == 12,
    suppress_health_check=list(HealthCheck),
)
targets = st.sampled_from(TARGETS)


def is_generated(kind: pa.DataType) -> bool:
    """Whether the generator supports a type; it fails for timestamps without a zone."""
    if pa.types.is_dictionary(kind):
        return is_generated(kind.value_type)
    inner = all(is_generated(kind.field(i).type) for i in range(kind.num_fields))
    return inner and not (pa.types.is_timestamp(kind) and kind.tz is None)


PRIMITIVE = of_pyarrow.primitive_types.filter(is_generated)
ARROW = st.one_of(
    PRIMITIVE,
    of_pyarrow.dictionary_types().filter(is_generated),
    of_pyarrow.list_types(PRIMITIVE),
    of_pyarrow.struct_types(PRIMITIVE),
)
UNITS = st.sampled_from(["s", "ms", "us", "ns"])
COUNTS = st.lists(st.none() | st.integers(-(2**62), 2**62), max_size=3)
TIMES = st.builds(lambda counts, unit: pa.array(counts, pa.timestamp(unit)), COUNTS, UNITS)
TIMES |= st.builds(lambda counts, unit: pa.array(counts, pa.duration(unit)), COUNTS, UNITS)
POLARS = [
    *(pl.Boolean, pl.Int8, pl.Int16, pl.Int32, pl.Int64, pl.UInt8, pl.UInt16, pl.UInt32),
    *(pl.UInt64, pl.Float32, pl.Float64, pl.String, pl.Binary, pl.Date, pl.Time, pl.Decimal),
    *(pl.Datetime, pl.Duration, pl.Categorical, pl.List, pl.Array, pl.Struct),
]


@limited
@given(of_pyarrow.arrays(ARROW, size=st.integers(0, 4)) | TIMES, targets)
def test_arrays_of_arrow(array, target):
    check(array, target, arrow_values(array))


@limited
@given(of_pyarrow.chunked_arrays(PRIMITIVE), targets)
def test_chunked_arrays_of_arrow(array, target):
    check(array, target, arrow_values(array))


@limited
@given(polars_series(allowed_dtypes=POLARS, max_size=4), targets)
def test_series_of_polars(series, target):
    check(series, target, series.to_list())


@limited
@given(of_numpy.arrays(of_numpy.array_dtypes() | of_numpy.scalar_dtypes(), (3,)), targets)
def test_arrays_of_numpy(array, target):
    check(array, target, None if array.dtype.names else numpy_values(array))


KINDS = ["bool", "int16", "uint64", "float32", "float64", "complex128"]
KINDS += ["M8[s]", "M8[ms]", "M8[us]", "M8[ns]", "m8[s]", "m8[ns]"]


@limited
@given(st.sampled_from(KINDS).flatmap(lambda kind: of_pandas.series(dtype=kind)), targets)
def test_series_of_pandas(series, target):
    check(series, target, list(series))


NULLABLE = ["Int8", "UInt64", "Float32", "boolean", "string", "category"]
NULLABLE += ["int32[pyarrow]", "string[pyarrow]", "bool[pyarrow]", "double[pyarrow]"]
CELLS = {"b": st.booleans(), "s": st.text("ab", max_size=2), "c": st.sampled_from("xy")}
CELLS |= {"d": st.floats(width=32)}


@limited
@given(st.data(), st.sampled_from(NULLABLE), targets)
def test_nullable_series_of_pandas(data, kind, target):
    cell = CELLS.get(kind[0], st.integers(0, 100))
    values = data.draw(st.lists(st.none() | cell, max_size=4))
    series = pd.Series(values, dtype=kind)
    check(series, target, [None if pd.isna(each) else each for each in series])


@limited
@given(
    of_pandas.data_frames(
        [of_pandas.column("a", dtype=float), of_pandas.column("b", dtype=bool)],
        index=of_pandas.range_indexes(min_size=1, max_size=3),
    ),
    st.sampled_from(["arrow", "polars", "nanoarrow", "arro3", "duckdb", "numpy", "torch"]),
)
def test_frames_of_pandas(frame, target):
    check(frame, target)
    for name in ("a", "b"):
        check(frame[name], target, list(frame[name]))


def test_check_detects_wrong_values():
    with pytest.raises(AssertionError):
        check(np.array([1, 2]), "torch", [1, 3])
    with pytest.raises(AssertionError):
        check(pa.array([1, None]), "polars", [1, float("nan")])
    check(pa.array([1, None], pa.timestamp("s")), "polars", [Instant(10**9), None])
