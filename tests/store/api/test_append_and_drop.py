"""Appending rows, and dropping arrays."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from support.files import contents

from numpack import InvalidValueError, NumPack

ROWS = np.arange(12.0).reshape(6, 2)


@pytest.fixture
def filled(store):
    store.save({"x": ROWS, "number": np.array(5)})
    return store


def test_append_to_several_arrays_is_one_commit(store):
    store.save({"x": ROWS, "y": np.zeros(0, "S2"), "z": np.zeros((2, 0))})
    lines = contents()["commits.log"].count(b"\n")
    store.append({"x": ROWS[:2], "y": np.array([b"ab", b"c"]), "z": np.zeros((3, 0))})
    assert contents()["commits.log"].count(b"\n") == lines + 1
    with NumPack("s.npk") as other:
        assert np.array_equal(other.load("x"), np.concatenate([ROWS, ROWS[:2]]))
        assert other.load("y").tolist() == [b"ab", b"c"]
        assert other.get_shape("z") == (5, 0)


def test_append_does_not_rewrite_the_file(store):
    store.save({"x": ROWS})
    file = Path("s.npk") / store.get_metadata()["arrays"]["x"]["data_file"]
    inode = file.stat().st_ino
    store.append({"x": ROWS[1:]})
    assert store.get_metadata()["arrays"]["x"]["data_file"] == f"data/{file.name}"
    assert file.stat().st_ino == inode
    assert file.read_bytes() == ROWS.tobytes() + ROWS[1:].tobytes()


def test_append_of_no_rows_changes_no_rows(filled):
    filled.append({"x": ROWS[:0]})
    assert np.array_equal(filled.load("x"), ROWS)


@pytest.mark.parametrize(
    "layout", [np.asfortranarray, lambda a: a[::-1][::-1], lambda a: a.astype(">f8")]
)
def test_append_accepts_any_layout(filled, layout):
    filled.append({"x": layout(ROWS)})
    assert np.array_equal(filled.load("x"), np.concatenate([ROWS, ROWS]))


@for_each("dtype", ["i8", ">i4", "u4", "f4", "M8[s]", "S4", "V4", "?"])
def test_append_refuses_another_dtype(store, dtype):
    store.save({"x": np.zeros(2, "i4")})
    rows = np.zeros(2, dtype)
    if rows.dtype.newbyteorder("=") == np.dtype("i4"):
        store.append({"x": rows})
        assert store.get_shape("x") == (4,)
        return
    with pytest.raises(InvalidValueError, match="astype"):
        store.append({"x": rows})
    assert store.get_shape("x") == (2,)


@for_each(
    ("held", "given_"),
    [("M8[s]", "M8[ms]"), ("S3", "S4"), ("U3", "S3"), ([("a", "i4")], [("b", "i4")])],
)
def test_append_refuses_another_unit_width_or_field_name(store, held, given_):
    store.save({"x": np.zeros(2, held)})
    before = contents()
    with pytest.raises(InvalidValueError, match="astype"):
        store.append({"x": np.zeros(2, given_)})
    assert contents() == before


@pytest.mark.parametrize("names", ["x", ["x"], ("x", "x"), ["absent", "x"]])
def test_drop_ignores_missing_names(filled, names):
    filled.drop(names)
    with NumPack("s.npk") as other:
        assert other.get_member_list() == ["number"]


def test_drop_of_several_names_is_one_commit(filled):
    commits = contents()["commits.log"].count(b'"time_us"')
    filled.drop(["x", "number"])
    assert contents()["commits.log"].count(b'"time_us"') == commits + 1
    assert filled.get_member_list() == []


def test_append_beyond_2_to_63_rows_is_refused(store):
    store.save({"x": np.empty((2**62, 0), "i1"), "y": np.zeros(1)})
    for rows in (
        {"x": np.empty((2**62, 0), "i1")},
        {"x": np.empty((2**62, 0), "i1"), "y": np.ones(1)},
    ):
        with pytest.raises(InvalidValueError, match="can be counted"):
            store.append(rows)
    assert store.get_shape("x") == (2**62, 0)
    assert store.load("y").tolist() == [0]
    store.append({"x": np.empty((2**62 - 1, 0), "i1")})
    assert store.get_shape("x") == (2**63 - 1, 0)
