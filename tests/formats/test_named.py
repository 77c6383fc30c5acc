"""The names of NumPack 0.7; their examples are run as doctests."""

from __future__ import annotations

import inspect

import numpy as np
import pytest

import numpack
import numpack.io
from numpack import NumPack
from numpack.errors import InvalidValueError, NotFoundError, UnsupportedError
from numpack.formats import named


def test_every_name_is_public_and_documented():
    for name in named.__all__:
        function = getattr(named, name)
        assert getattr(numpack, name) is getattr(numpack.io, name) is function
        assert "from numpack import" in function.__doc__
        assert f"{function.__name__}(" in function.__doc__
        assert function.__name__ in (name, name.removesuffix("_table"))
    pairs = {name.partition("_")[2] for name in named.__all__}
    assert {f"{way}_{each}" for way in ("from", "to") for each in pairs} == set(named.__all__)


def test_other_names_are_missing():
    for module in (numpack, numpack.io):
        with pytest.raises(AttributeError, match="from_nothing"):
            _ = module.from_nothing


def test_array_name_and_drop_if_exists():
    np.save("x.npy", np.arange(3))
    numpack.from_npy("x.npy", "s.npk", "ids")
    numpack.from_npy("x.npy", "s.npk", array_name="more", chunk_size=10, dtype="i2")
    with NumPack("s.npk", mode="r") as store:
        assert {name: each.dtype.name for name, each in store.items()} == {
            "ids": "int64",
            "more": "int16",
        }
    numpack.from_npy("x.npy", "s.npk", drop_if_exists=True)
    with NumPack("s.npk", mode="r") as store:
        assert list(store) == ["x"]


def test_their_options_are_those_of_convert():
    numpack.convert({"x": np.arange(3)}, "s.npk", rename="ids")
    numpack.convert({"a": np.arange(2)}, "s.npk", rename="kept", drop_others=True)
    with NumPack("s.npk", mode="r") as store:
        assert {name: each.tolist() for name, each in store.items()} == {"kept": [0, 1]}
    with pytest.raises(InvalidValueError, match="has no option 'drop_others'"):
        numpack.convert("s.npk", "x.npz", drop_others=True)


def test_array_name_of_several_arrays_is_refused():
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"a": [1], "b": [2]}), "t.parquet")
    with pytest.raises(InvalidValueError, match="is the name of one array, .* 2: 'a', 'b'"):
        numpack.from_parquet("t.parquet", "s.npk", "x")
    numpack.from_parquet("t.parquet", "s.npk", "x", columns=["b"])
    with NumPack("s.npk", mode="r") as store:
        assert store["x"].tolist() == [2]
    with pytest.raises(InvalidValueError, match="chunk_size must be positive"):
        numpack.from_parquet("t.parquet", "s.npk", chunk_size=0)
    with pytest.raises(InvalidValueError, match="chunk_size must be positive"):
        numpack.to_parquet("s.npk", "t.parquet", chunk_size=-1)


def test_objects_share_the_pages_of_the_store():
    with NumPack("s.npk") as store:
        store.save({"x": np.arange(4.0), "rows": np.ones((4, 2)), "zero": np.array(1)})
    tensor = numpack.to_tensor("s.npk", "x")
    tensor[0] = 5
    assert numpack.to_tensor("s.npk", "x")[0] == 0, "writes stay private"
    assert list(numpack.to_tensor_dict("s.npk")) == ["x", "rows", "zero"]
    table = numpack.to_table("s.npk", ["x", "rows"], copy=False)
    assert table["rows"].combine_chunks().to_numpy_ndarray().shape == (4, 2)
    assert numpack.to_dataframe("s.npk", "x")["x"].tolist() == [0, 1, 2, 3]
    with pytest.raises(UnsupportedError, match="'rows' has 2 dimensions"):
        numpack.to_dataframe("s.npk", ["x", "rows"])
    with pytest.raises(UnsupportedError, match="'zero' has 0 dimensions"):
        numpack.to_table("s.npk")
    with pytest.raises(InvalidValueError, match="3 arrays: 'x', 'rows', 'zero'; choose one"):
        numpack.to_tensor("s.npk")
    with pytest.raises(NotFoundError, match="'missing'"):
        numpack.to_tensor_dict("s.npk", ["missing"])


def test_names_are_found_without_importing_anything(run_python):
    out = run_python("import sys, numpack; print('numpack.formats' in sys.modules)")
    assert out.strip() == "False"


@pytest.mark.parametrize("name", [name for name in named.__all__ if name.startswith("from_")])
def test_the_order_of_the_parameters(name):
    names = list(inspect.signature(getattr(named, name)).parameters)
    assert names[0] in ("file", "data")
    assert names[1] == "npk_path"
    assert "drop_if_exists" in names


def test_drop_if_exists_keeps_what_is_written():
    np.save("a.npy", np.arange(3))
    with NumPack("s.npk") as store:
        store.save({"other": np.arange(2)})
        before = store.commit
    numpack.from_npy("a.npy", "s.npk", drop_if_exists=True, source_options={"name": "q"})
    with NumPack("s.npk", mode="r") as store:
        assert {name: array.tolist() for name, array in store.items()} == {"q": [0, 1, 2]}
        assert store.commit == before + 1
    numpack.from_npy("a.npy", "s.npk", "r", source_options={"name": "q"})
    numpack.from_npy("a.npy", "s.npk", "r", drop_if_exists=True, append=True)
    with NumPack("s.npk", mode="r") as store:
        assert {name: len(array) for name, array in store.items()} == {"r": 6}


def test_sources_are_opened_once():
    import pyarrow as pa

    table = pa.table({"a": [1, 2, 3]})
    for options in ({}, {"drop_if_exists": True}):
        reader = pa.RecordBatchReader.from_batches(table.schema, table.to_batches())
        numpack.from_table(reader, "s.npk", **options)
        with NumPack("s.npk", mode="r") as store:
            assert store["a"].tolist() == [1, 2, 3]


def test_packages_are_written_anew():
    np.save("x.npy", np.arange(3))
    for name in ("x", "y"):
        numpack.from_npy("x.npy", "s.npkz", name, drop_if_exists=True)
        with NumPack("s.npkz", mode="r") as package:
            assert list(package) == [name]
