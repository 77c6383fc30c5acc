"""Input that is refused: the error, and a store that is unchanged."""

from __future__ import annotations

import numpy as np
import pytest
from support.arrays import FIXED, make
from support.each import for_each
from support.files import contents

from numpack import (
    InvalidValueError,
    NotFoundError,
    NumpackError,
    UnsupportedError,
    WrongTypeError,
)

ROWS = np.arange(12.0).reshape(6, 2)
REFUSED = {
    "save of pairs": (
        lambda s: s.save([("x", ROWS)]),
        InvalidValueError,
        ValueError,
        "arrays must be a dictionary",
    ),
    "save of an array": (
        lambda s: s.save(ROWS),
        InvalidValueError,
        ValueError,
        "arrays must be a dictionary",
    ),
    "append of None": (
        lambda s: s.append(None),
        InvalidValueError,
        ValueError,
        "arrays must be a dictionary",
    ),
    "an empty name": (
        lambda s: s.save({"y": ROWS, "": ROWS}),
        InvalidValueError,
        ValueError,
        "must not be empty",
    ),
    "a name that is bytes": (
        lambda s: s.save({"y": ROWS, b"x": ROWS}),
        WrongTypeError,
        TypeError,
        "a str as the name of an array",
    ),
    "a list for an array": (
        lambda s: s.save({"y": ROWS, "x": [1, 2]}),
        WrongTypeError,
        TypeError,
        "np.asarray",
    ),
    "a number for an array": (lambda s: s.append({"x": 1}), WrongTypeError, TypeError, "int"),
    "append to what is absent": (
        lambda s: s.append({"x": ROWS, "nope": ROWS}),
        NotFoundError,
        KeyError,
        "'nope'; the arrays are: 'x', 'number'",
    ),
    "append to a 0-d array": (
        lambda s: s.append({"x": ROWS, "number": np.zeros(1, "i8")}),
        InvalidValueError,
        ValueError,
        "0-d",
    ),
    "append of a 0-d array": (
        lambda s: s.append({"x": np.array(1.0)}),
        InvalidValueError,
        ValueError,
        r"\(2,\)",
    ),
    "append of wider rows": (
        lambda s: s.append({"x": np.zeros((1, 3))}),
        InvalidValueError,
        ValueError,
        r"\(2,\).*\(1, 3\)",
    ),
    "append of a row without its axis": (
        lambda s: s.append({"x": ROWS[0]}),
        InvalidValueError,
        ValueError,
        r"\(2,\)",
    ),
    "append of another axis": (
        lambda s: s.append({"x": ROWS[None]}),
        InvalidValueError,
        ValueError,
        "reshape",
    ),
    "append of another dtype": (
        lambda s: s.append({"x": ROWS.astype("f4")}),
        InvalidValueError,
        ValueError,
        "float64.*float32.*astype",
    ),
    "append of wrong rows after right ones": (
        lambda s: s.append({"number": np.zeros(()), "x": ROWS}),
        InvalidValueError,
        ValueError,
        "0-d",
    ),
    "load of what is absent": (
        lambda s: s.load("nope"),
        NotFoundError,
        KeyError,
        "'nope'; the arrays are: 'x', 'number'",
    ),
    "lazy load of what is absent": (
        lambda s: s.load("nope", lazy=True),
        NotFoundError,
        KeyError,
        "'nope'",
    ),
    "getitem of what is absent": (
        lambda s: s.getitem("nope", 0),
        NotFoundError,
        KeyError,
        "'nope'",
    ),
    "shape of what is absent": (
        lambda s: s.get_shape("nope"),
        NotFoundError,
        KeyError,
        "'nope'",
    ),
    "stream of what is absent": (
        lambda s: s.stream_load("nope"),
        NotFoundError,
        KeyError,
        "'nope'",
    ),
    "stream of a 0-d array": (
        lambda s: s.stream_load("number"),
        InvalidValueError,
        ValueError,
        "0-d",
    ),
    "stream by no rows": (
        lambda s: s.stream_load("x", 0),
        InvalidValueError,
        ValueError,
        "positive",
    ),
    "stream by fewer than no rows": (
        lambda s: s.stream_load("x", buffer_size=-1),
        InvalidValueError,
        ValueError,
        "positive",
    ),
    "stream by a float": (
        lambda s: s.stream_load("x", 2.0),
        WrongTypeError,
        TypeError,
        "float",
    ),
    "stream by a bool": (lambda s: s.stream_load("x", True), WrongTypeError, TypeError, "bool"),
    "getitem of a 0-d array": (
        lambda s: s.getitem("number", 0),
        InvalidValueError,
        ValueError,
        "0-d",
    ),
    "drop of a number": (lambda s: s.drop(5), WrongTypeError, TypeError, "int"),
    "drop of None": (lambda s: s.drop(None), WrongTypeError, TypeError, "NoneType"),
    "drop of bytes": (lambda s: s.drop(b"x"), WrongTypeError, TypeError, "bytes"),
    "drop of a list of numbers": (
        lambda s: s.drop(["x", 3]),
        WrongTypeError,
        TypeError,
        "int",
    ),
}


@pytest.fixture
def filled(store):
    store.save({"x": ROWS, "number": np.array(5)})
    return store


@for_each("case", REFUSED)
def test_bad_input_is_refused_and_changes_nothing(filled, case):
    call, error, builtin, phrase = REFUSED[case]
    before = contents()
    with pytest.raises(error, match=phrase) as raised:
        call(filled)
    assert isinstance(raised.value, builtin)
    assert contents() == before
    assert np.array_equal(filled.load("x"), ROWS)


def masked(array: np.ndarray) -> np.ma.MaskedArray:
    return np.ma.array(array, mask=np.arange(array.size).reshape(array.shape) == 1)


UNSTORABLE = {
    "object": (np.array([1, "a"], object), "references"),
    "strings": (np.array(["a", "b"], np.dtypes.StringDType()), "references"),
    "longdouble": (np.ones(2, np.longdouble), "long doubles"),
    "clongdouble": (np.ones(2, np.clongdouble), "long doubles"),
    "a longdouble scalar": (np.longdouble(1), "long doubles"),
    "struct with object": (np.zeros(2, [("a", "i4"), ("b", "O")]), "references"),
    "struct with object deep inside": (
        np.zeros(2, [("a", [("b", "O", (2,))], (3,))]),
        "references",
    ),
    "struct with longdouble": (np.zeros(2, [("a", np.longdouble, (2,))]), "long doubles"),
    "masked": (masked(ROWS), "mask would be lost"),
    "masked 0-d": (np.ma.masked, "mask would be lost"),
    "masked struct": (
        np.ma.array(np.zeros(2, [("a", "i4")]), mask=[(True,), (False,)]),
        "mask would be lost",
    ),
}


@for_each("method", ["save", "append"])
@for_each("case", UNSTORABLE)
def test_unsupported_values_are_refused_with_a_fix(filled, case, method):
    array, phrase = UNSTORABLE[case]
    before = contents()
    with pytest.raises(UnsupportedError, match=phrase) as raised:
        getattr(filled, method)({"x": ROWS, "number": array})
    assert isinstance(raised.value, TypeError)
    assert phrase in raised.value.reason
    assert raised.value.fix in str(raised.value)
    assert contents() == before


@for_each("name", FIXED)
def test_masked_array_is_refused(store, tmp_path, name):
    before = contents()
    with pytest.raises(UnsupportedError, match="mask"):
        store.save({"x": make(name, "masked", tmp_path)})
    assert contents() == before


def test_error_names_the_array_it_concerns(filled):
    filled.save({"y": ROWS})
    good, bad = ROWS[:1], np.array([None])
    for call in (
        lambda: filled.save({"y": good, "x": [1, 2]}),
        lambda: filled.save({"y": good, "x": "text"}),
        lambda: filled.save({"y": good, "x": bad}),
        lambda: filled.append({"y": good, "x": bad}),
        lambda: filled.append({"y": good, "x": ROWS[:, :1]}),
        lambda: filled.replace({"y": good, "x": [1]}, 0),
        lambda: filled.replace({"x": good}, [99]),
        lambda: filled.replace({"x": good}, "0"),
        lambda: filled.drop(["x", "y"], [99]),
    ):
        with pytest.raises(NumpackError, match="'x'"):
            call()
    assert np.array_equal(filled["y"], ROWS)
