"""Objects as sources of `convert`: mappings of arrays, and tables."""

from __future__ import annotations

import numpy as np
import pytest
from support.formats.arrays import assert_same

from numpack import NumPack, convert
from numpack.errors import InvalidValueError, UnsupportedError, WrongTypeError


def converted(given, **options) -> dict[str, np.ndarray]:
    with NumPack("s.npk", drop_if_exists=True):
        pass
    convert(given, "s.npk", **options)
    with NumPack("s.npk") as store:
        return dict(store)


def test_mappings_of_arrays_of_any_framework():
    import torch

    found = converted(
        {
            "t": torch.ones(2, 3, dtype=torch.bfloat16),
            "a": np.asfortranarray(np.arange(6, dtype=">i4").reshape(2, 3)),
            "rows": np.arange(10)[::-2],
            "zero": np.array(3.5),
            "list": memoryview(b"abc"),
        }
    )
    assert found["t"].dtype.name == "bfloat16"
    assert_same(found["a"], np.arange(6, dtype="i4").reshape(2, 3))
    assert_same(found["rows"], np.arange(10)[::-2].copy())
    assert_same(found["zero"], np.array(3.5))
    assert_same(found["list"], np.frombuffer(b"abc", "u1"))


def test_nothing_at_all():
    assert converted({}) == {}


def test_frames_of_pandas():
    import pandas as pd

    frame = pd.DataFrame(
        {
            "n": [1, 2, 3],
            "c": [1j, 2, 3],
            "text": ["a", "bcd", ""],
            "when": pd.to_datetime(["2020-01-01"] * 3).tz_localize("Europe/Berlin"),
            "kind": pd.Categorical(["u", "v", "u"]),
            7: [True, False, True],
        }
    )
    frame.attrs["title"] = "a frame"
    found = converted(frame)
    assert_same(found["n"], np.arange(1, 4))
    assert_same(found["c"], np.array([1j, 2, 3]))
    assert_same(found["text"], np.array(["a", "bcd", ""]))
    assert found["when"].astype("M8[h]").astype(str).tolist() == ["2019-12-31T23"] * 3
    assert_same(found["kind"], np.array(["u", "v", "u"]))
    assert_same(found["7"], np.array([True, False, True]))
    with NumPack("s.npk") as store:
        assert dict(store.attrs.store) == {"title": "a frame"}
        assert store.attrs["when"]["time_zone"] == "Europe/Berlin"


def test_nulls_of_pandas():
    import pandas as pd

    frame = pd.DataFrame({"n": pd.array([1, None], "Int64"), "s": ["a", None]})
    with pytest.raises(UnsupportedError, match="nulls='mask'"):
        converted(frame)
    found = converted(frame, nulls="mask")
    assert found["n"].tolist() == [1, 0]
    assert found["n.mask"].tolist() == found["s.mask"].tolist() == [False, True]
    assert np.isnan(converted(frame[["n"]])["n"][1])


def test_the_index_of_a_frame_is_a_column_if_it_has_a_name():
    import pandas as pd

    frame = pd.DataFrame({"x": [1, 2]}, index=[5, 7])
    assert list(converted(frame)) == ["x"]
    frame.index.name = "id"
    found = converted(frame)
    assert_same(found["id"], np.array([5, 7]))


def test_columns_of_one_name_are_refused():
    import pandas as pd

    frame = pd.DataFrame([[1, 2]], columns=["x", "x"])
    with pytest.raises(InvalidValueError, match="rename them"):
        converted(frame)


@pytest.mark.parametrize("kind", ["polars", "arrow", "batch", "duckdb", "nanoarrow", "arro3"])
def test_other_tables(kind):
    import pyarrow as pa

    table = pa.table(
        {
            "n": pa.array([1, 2, 3], pa.int16()),
            "s": ["a", "bcd", ""],
            "rows": pa.FixedSizeListArray.from_arrays(pa.array([0.5, 1, 2, 3, 4, 5]), 2),
        }
    )
    given = table
    if kind == "polars":
        import polars as pl

        given = pl.from_arrow(table)
    elif kind == "batch":
        [given] = table.to_batches()
    elif kind == "duckdb":
        import duckdb

        given = duckdb.from_arrow(table)
    elif kind == "nanoarrow":
        import nanoarrow

        given = nanoarrow.ArrayStream(table).read_all()
    elif kind == "arro3":
        from arro3.core import Table

        given = Table.from_arrow(table)
    found = converted(given)
    assert_same(found["n"], np.array([1, 2, 3], "i2"))
    assert_same(found["s"], np.array(["a", "bcd", ""]))
    assert_same(found["rows"], np.array([[0.5, 1], [2, 3], [4, 5]]))
    assert list(converted(given, columns=["s"])) == ["s"]
    convert(given, "x.npz", arrays=["n"])
    assert list(np.load("x.npz")) == ["n"]


def test_objects_without_names_are_refused_with_the_fix():
    import pandas as pd
    import polars as pl

    for given in (np.arange(3), pd.Series([1]), pl.Series([1]), 5, None, [1, 2], b"abc"):
        with pytest.raises(WrongTypeError, match=r"\{name: (array|column)\}"):
            convert(given, "s.npk")


def test_options_of_mappings_are_refused():
    with pytest.raises(InvalidValueError, match="no option 'nulls'"):
        convert({"x": np.arange(3)}, "s.npk", nulls="mask")
