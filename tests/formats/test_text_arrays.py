"""Text files of one array, against NumPy."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.each import assert_each
from support.formats.arrays import NUMBERS, assert_same, values

from numpack import NumPack, NumpackError, UnsupportedError, convert
from numpack.errors import InvalidValueError


def stored(path="s.npk"):
    with NumPack(path, mode="r") as store:
        return dict(store)


def write(text, path="x.txt"):
    Path(path).write_text(text)


def test_text_files_in_the_manner_of_numpy():
    def check(name, shape):
        array = values(name, shape)
        convert({"x": array}, "x.txt")
        assert_same(np.loadtxt("x.txt", array.dtype, ndmin=len(shape)), array)
        convert("x.txt", "s.npk", types=array.dtype)
        assert_same(stored()["x"], array)
        np.savetxt("y.txt", array)
        convert("y.txt", "t.npk", array="x")
        assert_same(stored("t.npk")["x"], array.astype("f8"))

    numbers = [name for name in NUMBERS if name not in ("bool", "int64", "uint64")]
    assert_each([(name, shape) for name in numbers for shape in [(5,), (4, 3)]], check)


def test_text_files_with_comments_and_other_delimiters():
    write("# a comment\n\n1 2   3\n4\t5 6 # more\n", "x.txt")
    convert("x.txt", "s.npk")
    assert_same(stored()["x"], np.array([[1.0, 2, 3], [4, 5, 6]]))
    write("head\n1;2\n", "x.txt")
    convert("x.txt", "t.npk", delimiter=";", skip_rows=1, types="int16", array="m")
    assert_same(stored("t.npk")["m"], np.array([[1, 2]], "i2"))
    write("% nothing\n", "x.txt")
    convert("x.txt", "u.npk", comments="%")
    assert stored("u.npk")["x"].shape == (0, 0)
    convert({"x": np.arange(3.0)}, "y.txt", fmt="%.1f", delimiter=",")
    assert Path("y.txt").read_text() == "0.0\n1.0\n2.0\n"


def test_what_text_files_cannot_hold():
    cases = [
        ({"x": np.array(["a"])}, {}, UnsupportedError, "numbers"),
        ({"x": np.zeros((2, 2, 2))}, {}, UnsupportedError, "one or two dimensions"),
        ({"x": np.zeros(0)}, {}, UnsupportedError, "'x'.*only its lines"),
        ({"x": np.zeros((0, 3))}, {}, UnsupportedError, "'x'.*only its lines"),
        ({"x": np.array(1.0)}, {}, NumpackError, "'x'"),
        ({"x": np.zeros(2), "y": np.zeros(2)}, {}, UnsupportedError, "one array, not 2"),
        ({"x": np.zeros(2)}, {"fmt": "%q"}, InvalidValueError, "fmt="),
        ({"x": np.zeros(2)}, {"header": True}, InvalidValueError, "no option 'header'"),
    ]

    def check(arrays, options, error, message):
        with pytest.raises(error, match=message):
            convert(arrays, "x.txt", **options)
        assert not Path("x.txt").exists()

    assert_each(cases, check)
    texts = [("1 2\n3\n", "x.txt"), ("1 x\n", "not a table of float64"), ("\xff\n", "x.txt")]
    for text, message in texts:
        Path("x.txt").write_bytes(text.encode("latin-1"))
        with pytest.raises(InvalidValueError, match=message):
            convert("x.txt", "s.npk")
    with pytest.raises(InvalidValueError, match="holds numbers, not"):
        convert("x.txt", "s.npk", types="U3")
    Path("x.csv").write_text("a\n")
    with pytest.raises(UnsupportedError, match="only its lines"):
        convert("x.csv", "y.txt")  # whose number of rows only reading tells
    assert not Path("y.txt").exists()
