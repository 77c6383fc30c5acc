"""Values of attributes: those that are converted, kept and refused."""

from __future__ import annotations

import enum

import numpy as np
import pytest
from support.each import for_each
from support.files import content

from numpack import NumPack
from numpack.errors import InvalidValueError, UnsupportedError, WrongTypeError

ROWS = np.arange(6.0).reshape(3, 2)
HEADER = "s.npk/numpack.json"


class Color(enum.StrEnum):
    RED = "red"


class Number(enum.IntEnum):
    ONE = 1


CONVERTED = [
    ((1, (2, "x")), [1, [2, "x"]]),
    (np.float32(0.5), 0.5),
    (np.float64(0.1), 0.1),
    (np.int8(-3), -3),
    (np.uint64(2**64 - 1), 2**64 - 1),
    (np.bool_(True), True),
    (np.str_("x"), "x"),
    (np.array([[1, 2], [3, 4]], ">u2"), [[1, 2], [3, 4]]),
    (np.array(3.5), 3.5),
    (np.array(["a", "bc"]), ["a", "bc"]),
    ({"a": np.arange(2)}, {"a": [0, 1]}),
    (Color.RED, "red"),
    (Number.ONE, 1),
]


@for_each("case", CONVERTED)
def test_other_values_are_converted_to_plain_ones(xy, case):
    given, expected = case
    xy.attrs["x"]["v"] = given
    found = xy.attrs["x"]["v"]
    assert found == expected
    assert type(found) is type(expected)
    with NumPack("s.npk", mode="r") as other:
        assert other.attrs["x"]["v"] == expected


def nested(levels: int):
    value: object = 1
    for _ in range(levels):
        value = [value]
    return value


cycle: list = []
cycle.append(cycle)
REFUSED = [
    (float("nan"), InvalidValueError, r"JSON cannot represent; pass None or str\(value\)"),
    (np.float32("-inf"), InvalidValueError, "cannot be -inf"),
    ([np.array([1.0, np.inf])], InvalidValueError, "cannot be inf"),
    (2**64, InvalidValueError, "an integer of 65 bits; pass an integer of 64 bits"),
    (-(2**63) - 1, InvalidValueError, "64 bits"),
    (b"x", UnsupportedError, r"cannot be bytes: JSON holds .* convert it, for"),
    (1j, UnsupportedError, "cannot be complex"),
    (np.datetime64("2020-01-01"), UnsupportedError, r"cannot be datetime64\[D\] of NumPy"),
    (np.array([1j]), UnsupportedError, "complex128"),
    (np.longdouble(1), UnsupportedError, "of NumPy"),
    (np.ma.masked_array([1, 2], [0, 1]), UnsupportedError, "masked"),
    (np.array([None]), UnsupportedError, "object"),
    ({1, 2}, UnsupportedError, "cannot be set"),
    (object(), UnsupportedError, "cannot be object"),
    ({1: 2}, WrongTypeError, "a str as the name of an attribute"),
    (nested(32), InvalidValueError, "more than 32 levels deep; flatten it"),
    (cycle, InvalidValueError, "levels deep"),
]


@for_each("case", REFUSED, ids=lambda case: str(case)[:30])
def test_values_that_json_cannot_hold_are_refused(xy, case):
    value, error, text = case
    before, header = xy.commit, content(HEADER)
    with pytest.raises(error, match=text) as raised:
        xy.attrs["x"].update({"good": 1, "bad": value})
    assert isinstance(value, dict) or str(raised.value).startswith("'bad': ")
    assert xy.commit == before
    assert xy.attrs["x"] == {}
    assert content(HEADER) == header
    with pytest.raises(error):
        xy.attrs.store["bad"] = value


def test_deepest_values_are_kept(xy):
    xy.attrs["x"]["deep"] = nested(31)
    xy.close()
    with NumPack("s.npk") as store:
        assert store.attrs["x"]["deep"] == nested(31)
