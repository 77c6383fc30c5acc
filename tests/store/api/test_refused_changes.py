"""Changes that are refused: the error, and a store that is unchanged."""

from __future__ import annotations

import numpy as np
import pytest
from support.each import for_each
from support.files import contents

from numpack import InvalidValueError, NotFoundError, UnsupportedError, WrongTypeError

ROWS = np.arange(1.0, 13.0).reshape(6, 2)


@pytest.fixture
def filled(store):
    store.save({"x": ROWS, "number": np.array(5)})
    return store


REFUSED = {
    "of pairs": (lambda s: s.replace([("x", ROWS)], 0), InvalidValueError, "be a dictionary"),
    "of None": (lambda s: s.replace(None, 0), InvalidValueError, "arrays must be a dictionary"),
    "of what is absent": (
        lambda s: s.replace({"x": ROWS, "nope": ROWS}, slice(None)),
        NotFoundError,
        "'nope'; the arrays are: 'x', 'number'",
    ),
    "of a 0-d array": (
        lambda s: s.replace({"number": np.array(1)}, 0),
        InvalidValueError,
        "0-d and has no rows",
    ),
    "by another dtype": (
        lambda s: s.replace({"x": ROWS.astype("f4")}, slice(None)),
        InvalidValueError,
        "float64.*float32.*astype",
    ),
    "by wider rows": (
        lambda s: s.replace({"x": np.zeros((1, 3))}, 0),
        InvalidValueError,
        r"\(2,\).*\(1, 3\)",
    ),
    "by a row without its axis for two": (
        lambda s: s.replace({"x": ROWS[0]}, [0, 1]),
        InvalidValueError,
        r"\(2,\)",
    ),
    "by a scalar": (lambda s: s.replace({"x": np.array(1.0)}, 0), InvalidValueError, "shape"),
    "by too few rows": (
        lambda s: s.replace({"x": ROWS[:2]}, [0, 1, 2]),
        InvalidValueError,
        "3 rows of 'x' are to be written, and 2 rows were passed",
    ),
    "by too many rows": (
        lambda s: s.replace({"x": ROWS}, [0, 1, 2]),
        InvalidValueError,
        "3 rows.*6 rows were passed",
    ),
    "by too many rows for one": (
        lambda s: s.replace({"x": ROWS}, 0),
        InvalidValueError,
        "1 rows.*6 rows were passed",
    ),
    "by rows for none": (lambda s: s.replace({"x": ROWS}, []), InvalidValueError, "0 rows"),
    "by a list": (lambda s: s.replace({"x": [[1.0, 2.0]]}, 0), WrongTypeError, "np.asarray"),
    "by objects": (
        lambda s: s.replace({"x": np.array([[1, "a"]], object)}, 0),
        UnsupportedError,
        "references",
    ),
    "by masked rows": (
        lambda s: s.replace({"x": np.ma.array(ROWS[:1], mask=[[True, False]])}, 0),
        UnsupportedError,
        "mask would be lost",
    ),
    "by wrong rows after right ones": (
        lambda s: s.replace({"x": ROWS[:1], "number": np.array(1)}, 0),
        InvalidValueError,
        "0-d",
    ),
    "drop of rows of what is absent": (
        lambda s: s.drop("nope", [0]),
        NotFoundError,
        "'nope'; the arrays are: 'x', 'number'",
    ),
    "drop of rows of one that is absent": (
        lambda s: s.drop(["x", "nope"], []),
        NotFoundError,
        "'nope'",
    ),
    "drop of rows of a 0-d array": (
        lambda s: s.drop(["x", "number"], [0]),
        InvalidValueError,
        "0-d",
    ),
    "update of what is absent": (lambda s: s.update("nope"), NotFoundError, "'nope'"),
    "clone of what is absent": (lambda s: s.clone("nope", "y"), NotFoundError, "'nope'"),
    "clone onto another": (
        lambda s: s.clone("x", "number"),
        InvalidValueError,
        "an array 'number' already",
    ),
    "clone onto itself": (lambda s: s.clone("x", "x"), InvalidValueError, "'x' already"),
    "clone without a name": (lambda s: s.clone("x", ""), InvalidValueError, "not be empty"),
    "clone to a number": (lambda s: s.clone("x", 5), WrongTypeError, "int"),
}


@for_each("case", REFUSED)
def test_bad_input_is_refused_and_changes_nothing(filled, case):
    call, error, phrase = REFUSED[case]
    filled.replace({"x": ROWS[:1]}, 0)  # so that the journal exists already
    before = contents()
    with pytest.raises(error, match=phrase):
        call(filled)
    assert contents() == before
    assert np.array_equal(filled.load("x"), ROWS)
