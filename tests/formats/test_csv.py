"""CSV and TSV files, against pandas, pyarrow and NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pytest
from support.each import assert_each
from support.formats.arrays import (
    COMPLEX,
    DTYPES,
    LOWPREC,
    SHAPES,
    assert_same,
    values,
)
from support.formats.conformance import FormatConformance
from support.formats.limits import LARGE, MIB

from numpack import NumPack, UnsupportedError, convert
from numpack.errors import InvalidValueError, NullError

OTHERS = {*COMPLEX, *LOWPREC, "struct", "V3", "S5", "m8[us]", "m8[ns]"}


class TestCsv(FormatConformance):
    suffix = ".csv"
    label = "CSV"
    row_rule = True
    refused_dtypes = frozenset(OTHERS)
    refused_shapes = frozenset(shape for shape in SHAPES if len(shape) != 1)
    unwritten_dtypes = frozenset(DTYPES) - {"float64"}  # text has no types

    @pytest.fixture
    def run(self, run_python, monkeypatch):
        monkeypatch.setenv("ARROW_DEFAULT_MEMORY_POOL", "system")  # see test_parquet
        return run_python

    def write(self, path, arrays):
        pd.DataFrame(arrays).to_csv(path, index=False)

    def read(self, path):
        frame = pd.read_csv(path)
        return {name: frame[name].to_numpy() for name in frame}

    def several(self):
        return {"x": values("float64", (5,)), "y": np.arange(5)}

    def large(self, nbytes=LARGE):
        rows = max(nbytes // 4, 24 * MIB) // 64
        numbers = np.random.default_rng(0).integers(0, 1 << 30, (8, rows))
        return {f"x{i}": row for i, row in enumerate(numbers)}

    def reading(self, arrays):
        casts = {name: str(a.dtype) for name, a in arrays.items() if a.dtype.kind in "Uf"}
        return {"dtype": casts, "types": {name: _type(a.dtype) for name, a in arrays.items()}}

    def cuts(self, size):
        return [0]  # a text that ends earlier is a text

    def check_read_in_spite_of_damage(self, name, shapes):
        assert name.startswith("flip")


def _type(dtype):
    if dtype.kind == "U":
        return "string"
    if dtype == "M8[D]":
        return "date32"
    return "float64" if dtype == "f2" else str(dtype)


def stored(path="s.npk"):
    with NumPack(path, mode="r") as store:
        return dict(store)


def write(text, path="x.csv"):
    Path(path).write_text(text)


def test_types_are_inferred():
    write(
        "i,f,b,d,t,s\n1,1.5,true,2020-01-02,2020-01-02 03:04:05,ab\n"
        "-2,nan,false,1999-12-31,2021-01-01 00:00:00,日本\n"
    )
    convert("x.csv", "s.npk")
    found = stored()
    assert {name: array.dtype.str for name, array in found.items()} == {
        "i": "<i8",
        "f": "<f8",
        "b": "|b1",
        "d": "<M8[D]",
        "t": "<M8[s]",
        "s": "<U2",
    }
    assert found["s"].tolist() == ["ab", "日本"]
    assert np.isnan(found["f"][1])


def test_types_are_given():
    write("a,b\n1,2.5\n3,4\n")
    convert("x.csv", "s.npk", types={"a": "uint8", "b": np.float32})
    assert [array.dtype.str for array in stored().values()] == ["|u1", "<f4"]
    with pytest.raises(InvalidValueError, match="types= names 'c', and the columns"):
        convert("x.csv", "s.npk", types={"c": "uint8"})
    with pytest.raises(InvalidValueError, match="no type; pass a pyarrow.DataType"):
        convert("x.csv", "s.npk", types={"a": "number"})
    write("a\n300\n")
    with pytest.raises(InvalidValueError, match="'a'.*uint8"):
        convert("x.csv", "s.npk", types={"a": "uint8"})


def test_a_later_block_contradicts_the_inferred_type():
    write("a,b\n" + "1,2\n" * 400_000 + "1.5,2\n")
    with pytest.raises(InvalidValueError, match=r"'a' of x.csv is of int64.*'1.5'.*types={'a'"):
        convert("x.csv", "s.npk")
    assert not Path("s.npk").exists()
    convert("x.csv", "s.npk", types={"a": "float64"})
    assert stored()["a"][-1] == 1.5
    write("a,b\n" + "1,2\n" * 400_000 + "1,x\n")
    with pytest.raises(InvalidValueError, match=r"'b'.*'x'"):
        convert("x.csv", "s.npk", columns=["b"])


def test_integers_that_float64_would_round_are_refused():
    write("id\n18446744073709551615\n1\n")
    with pytest.raises(UnsupportedError, match="types={'id': 'uint64'}"):
        convert("x.csv", "s.npk")
    convert("x.csv", "s.npk", types={"id": "uint64"})
    assert stored()["id"].tolist() == [2**64 - 1, 1]
    for text in ("18446744073709551615\n0.5", "0.5\n" * 300_000 + "9007199254740993"):
        write(f"id,x\n{text}\n".replace("\n", ",1\n").replace("id,x,1", "id,x"))
        with pytest.raises(UnsupportedError, match="'id'.*float64 would round"):
            convert("x.csv", "s.npk")
        convert("x.csv", "s.npk", columns=["x"])
        convert("x.csv", "s.npk", types={"id": "float64"})
    write(
        "id\n1e300\n9007199254740994\n1152921504606847000\n"
    )  # floats, as programs print them
    convert("x.csv", "s.npk")
    assert stored()["id"].tolist() == [1e300, 2.0**53 + 2, 2.0**60]


def test_integers_of_one_array_are_not_rounded():
    write("a,b\n1,0.5\n9007199254740993,2\n")
    with pytest.raises(UnsupportedError, match="'a' cannot be stacked.*2\\*\\*53"):
        convert("x.csv", "s.npk", array="m")
    convert("x.csv", "s.npk", array="m", types={"a": "float64"})
    assert stored()["m"].tolist() == [[1, 0.5], [2.0**53, 2]]


def test_empty_lines_of_a_single_column():
    nan = np.nan
    cases = [
        ("a\n1\n\n3\n", [1, nan, 3]),
        ("\n\na\n1\n\n3\n", [1, nan, 3]),
        ("a\r\n1\r\n\r\n3\r\n", [1, nan, 3]),
        ("a\n\n1\n", [nan, 1]),
        ("a\nx\n\ny\n", ["x", "", "y"]),
        ("\na,b\n1,1\n\n3,3\n", [1, 3]),
    ]

    def check(text, expected):
        Path("x.csv").write_bytes(text.encode())
        convert("x.csv", "s.npk")
        np.testing.assert_array_equal(stored()["a"], expected)

    assert_each(cases, check)


def test_times_alone_keep_their_nat():
    times = np.array(["2020-01-01", "NaT", "2021-01-01", "NaT"], "M8[s]")
    convert({"t": times}, "x.csv")
    convert("x.csv", "s.npk")
    assert_same(stored()["t"], times)
    assert pd.read_csv("x.csv")["t"].isna().tolist() == [False, True, False, True]


def test_what_would_not_be_read_back_is_not_written():
    far = np.array([2**62], "M8[s]")
    cases = [
        ({"x": np.array(["a", "b\0c"])}, {}, "'x'.*NUL"),
        ({"x": np.array(["a", "\ud800"])}, {}, "'x'.*surrogate"),
        ({"x\0y": np.zeros(2)}, {}, "a name with a NUL"),
        ({"x\ud800": np.zeros(2)}, {}, "a name with a surrogate"),
        ({"x": np.zeros((3, 0))}, {"flatten": True}, "'x'.*no values"),
        ({"x": np.zeros((2, 0, 3))}, {"flatten": True}, "'x'.*no values"),
        ({}, {}, "at least one column"),
        ({"x": far}, {}, "'x'.*years"),
        ({"x": np.array(["-0001"], "M8[D]")}, {}, "'x'.*years"),
    ]

    def check(arrays, options, message):
        with pytest.raises(UnsupportedError, match=message):
            convert(arrays, "x.csv", **options)
        assert not Path("x.csv").exists()

    assert_each(cases, check)
    for delimiter in ("\n", '"', "é", "\0", "", "ab", 3):
        for source, target in (({"x": np.zeros(2)}, "y.csv"), ("x.csv", "s.npk")):
            with pytest.raises((InvalidValueError, TypeError), match="delimiter"):
                convert(source, target, delimiter=delimiter)


def test_nulls():
    write("i,f,s\n1,1.5,a\n,,\n")
    convert("x.csv", "s.npk")
    assert stored()["i"].dtype == "f8"
    assert np.isnan(stored()["i"][1])
    assert stored()["s"].tolist() == ["a", ""]
    with pytest.raises(NullError, match="'i'|'f'"):
        convert("x.csv", "s.npk", nulls="raise")
    convert("x.csv", "mask.npk", nulls="mask")
    found = stored("mask.npk")
    assert found["i"].tolist() == [1, 0]
    assert found["i.mask"].tolist() == [False, True]
    assert list(found) == ["i", "i.mask", "f", "f.mask", "s"]
    write("a\nNA\n3\n-\n")
    convert("x.csv", "s.npk", null_values=["NA", "-"])
    assert np.isnan(stored()["a"]).tolist() == [True, False, True]


def test_nulls_wherever_they_are():
    rows = "1,2\n" * 70_000
    texts = [",2\n", "1,\n", "1,", "NA,2\n", "1,null\n", '"",2\n', ",\n", "1,\r\n", "\r\n,2"]
    texts += ["1,#N/A\n", "nan,1\n"]
    edge = (256 << 10) - len("n,b\n")
    cases = [(rows, text) for text in texts]
    cases += [
        ("1,2\n" * (edge // 4) + "3" * i + ",2\n", text) for i in (1, 2, 3) for text in texts
    ]

    def check(before, text):
        write("n,b\n" + before + text)
        expected = pd.read_csv("x.csv")
        convert("x.csv", "s.npk")
        for name, array in stored().items():
            np.testing.assert_array_equal(array, expected[name])
            assert array.dtype == ("f8" if expected[name].isna().any() else "i8")

    assert_each(cases, check)


def test_a_file_without_nulls_is_parsed_once(monkeypatch):
    parsed = []
    original = pyarrow.csv.read_csv
    monkeypatch.setattr("pyarrow.csv.read_csv", lambda *a: parsed.append(a) or original(*a))
    for text, times in (("Nn#,b\n1,2\n3,4\n", 1), ("a,b\n1,\n3,4\n", 2), ("a,b\nx,2\n", 2)):
        write(text)
        parsed.clear()
        convert("x.csv", "s.npk")
        assert len(parsed) == times
    convert("x.csv", "s.npk", null_values=["x"])
    assert np.isnan(stored()["a"]).all()


def test_how_lines_are_divided():
    write("a|b\n1|'x'\n2|y\n")
    convert("x.csv", "s.npk", delimiter="|")
    assert stored()["a"].tolist() == [1, 2]
    write("1;2,5\n3;4,5\n", "x.tsv")
    convert("x.tsv", "t.npk", delimiter=";", header=False, decimal_point=",")
    assert {name: array.tolist() for name, array in stored("t.npk").items()} == {
        "f0": [1, 3],
        "f1": [2.5, 4.5],
    }
    write("# note\nh1\th2\n1\t2\n", "x.tsv")
    convert("x.tsv", "u.npk", skip_rows=1, names=["a", "b"])
    assert list(stored("u.npk")) == ["a", "b"]
    Path("x.csv").write_text("a\né\n", encoding="latin-1")
    convert("x.csv", "v.npk", encoding="latin-1")
    assert stored("v.npk")["a"].tolist() == ["é"]
    with pytest.raises(InvalidValueError, match="encoding="):
        convert("x.csv", "v.npk")


def test_a_header_of_several_lines():
    write('"a\nb",c\n1,2\n3,4\n')
    convert("x.csv", "s.npk")
    assert {name: array.tolist() for name, array in stored().items()} == {
        "a\nb": [1, 3],
        "c": [2, 4],
    }


def test_quotes_newlines_and_columns_without_a_name():
    pd.DataFrame({"s": ['a"b', "c\nd", "e,f"], "n": [1, 2, 3]}).to_csv("x.csv")
    convert("x.csv", "s.npk")
    assert list(stored()) == ["column_0", "s", "n"]
    assert stored()["s"].tolist() == ['a"b', "c\nd", "e,f"]
    write("s,n\n" + '"a\nb",1\n' * 300_000)
    convert("x.csv", "s.npk")
    assert set(stored()["s"].tolist()) == {"a\nb"}
    assert len(stored()["n"]) == 300_000


def test_pieces_of_lines_are_parsed_as_the_whole(monkeypatch):
    """Compare with pyarrow's own reader, wherever pieces and blocks end."""
    rng = np.random.default_rng(1)
    lines = ["1,2.5,x", "-3,,yy", "40,1e9,", '5,6,"z"', '7,8,"a,b"', '9,0,"c\nd"', ""]

    def check(number, size):
        weights = [8, 4, 4, *rng.integers(0, 2, 4)]
        chosen = rng.choice(len(lines), rng.integers(1, 40), p=weights / np.sum(weights))
        ends = rng.choice(["\n", "\r\n", "\r"] if number % 3 else ["\n"], len(chosen) + 1)
        header = '"a",b,"c"' if number % 2 else "a,b,c"
        text = "".join(
            map("".join, zip([header, *(lines[i] for i in chosen)], ends, strict=True))
        )
        text = text.rstrip("\r\n") if number % 5 == 0 else text
        Path("x.csv").write_bytes(text.encode())
        monkeypatch.setattr("numpack.formats.csv.segments._SEGMENT", size)
        types = {"a": "int64", "b": "float64", "c": "string"}
        expected = pyarrow.csv.read_csv(
            "x.csv",
            parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True),
            convert_options=pyarrow.csv.ConvertOptions(
                column_types={"a": pa.int64(), "b": pa.float64(), "c": pa.string()}
            ),
        )
        convert("x.csv", "s.npk", types=types, drop_others=True)
        found = stored()
        assert {name: each.tolist() for name, each in found.items()} == {
            "a": expected["a"].to_pylist(),
            "b": pytest.approx(expected["b"].to_numpy().tolist(), nan_ok=True),
            "c": expected["c"].to_pylist(),
        }

    assert_each([(n, size) for n in range(60) for size in (1, 7, 64, 1 << 20)], check)


def test_damage_is_named():
    cases = [
        ("a,b\n1\n", "Expected 2 columns"),
        ("a,a\n1,2\n", "two columns are called 'a'"),
        ("PAR1 and so on", "format='parquet'"),
        ("a,b\n\0,1\n", "not text"),
        ('a\n"' + "x" * 3_000_000, "a quote is not closed"),
    ]

    def check(text, message):
        write(text)
        with pytest.raises(InvalidValueError, match=message):
            convert("x.csv", "s.npk")
        assert not Path("s.npk").exists()

    assert_each(cases, check)
    write("a\n" + "x" * 1_200_000)
    with pytest.raises(InvalidValueError, match="longer than 524,288 bytes.*block_size="):
        convert("x.csv", "s.npk")
    convert("x.csv", "s.npk", block_size=2 << 20)
    assert stored()["a"].dtype == "U1200000"


def test_files_without_rows():
    write("a,b\n")
    convert("x.csv", "s.npk")
    assert {name: (a.dtype.str, a.shape) for name, a in stored().items()} == {
        "a": ("<f8", (0,)),
        "b": ("<f8", (0,)),
    }
    convert("x.csv", "t.npk", types={"a": "int32", "b": "string"})
    assert stored("t.npk")["a"].dtype == "i4"


def test_columns_as_one_array_and_back():
    array = np.arange(12.0).reshape(4, 3)
    np.savetxt("x.csv", array, delimiter=",")
    convert("x.csv", "s.npk", header=False, array="m")
    assert_same(stored()["m"], array)
    write("a,b\n1,2.5\n3,4\n")
    convert("x.csv", "t.npk", array="m")
    assert_same(stored("t.npk")["m"], np.array([[1, 2.5], [3, 4]]))
    write("a,b\n1,x\n")
    with pytest.raises(InvalidValueError, match="array='m'.*no common dtype"):
        convert("x.csv", "t.npk", array="m")
    with pytest.raises(UnsupportedError, match="flatten=True"):
        convert("s.npk", "y.csv")
    convert("s.npk", "y.csv", flatten=True)
    assert pd.read_csv("y.csv").columns.tolist() == ["m_0", "m_1", "m_2"]
    convert("s.npk", "z.tsv", flatten=True, header=False, delimiter=" ")
    assert_same(np.loadtxt("z.tsv"), array)


def test_numbers_and_times_are_read_back_exactly():
    names = [name for name in DTYPES if name not in OTHERS and name not in ("U4", "float16")]
    arrays = {name: np.resize(values(name, (5,)), 5) for name in names}
    arrays["nat"] = np.array([2**31, -1, 0, 1, 2], "M8[s]")
    arrays["nat"][2:4] = np.datetime64("NaT")
    convert(arrays, "x.csv")
    convert(
        "x.csv", "s.npk", types={name: _type(array.dtype) for name, array in arrays.items()}
    )
    for name, array in stored().items():
        assert_same(array, arrays[name])
    theirs = pyarrow.csv.read_csv("x.csv")
    assert theirs.column_names == list(arrays)
