"""The interface of the store: values read back, refusals, and unchanged files."""

from __future__ import annotations

import os
import pickle
import re
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.arrays import FIXED, cells, elements, make, values
from support.files import contents

from numpack import (
    IndexRangeError,
    InvalidIndexError,
    InvalidValueError,
    NotFoundError,
    NumPack,
    StoreClosedError,
    UnsupportedError,
    WrongTypeError,
)

ROWS = np.arange(12.0).reshape(6, 2)
MASKED = [(name, "masked") for name in FIXED]
STORED = [cell for cell in cells(FIXED) if cell not in MASKED]
UNUSUAL = {
    "titled": np.dtype([(("Title", "a"), "<i4"), ("b", "<f8")]),
    "padded": np.dtype({"names": ["a", "b"], "formats": ["u1", "<i8"]}, align=True),
    "overlapping": np.dtype(
        {"names": ["a", "b"], "formats": ["<i4", "<i2"], "offsets": [0, 0]}
    ),
    "reordered": np.dtype(
        {"names": ["a", "b"], "formats": ["<i4", "u1"], "offsets": [8, 0], "itemsize": 20}
    ),
    "nested": np.dtype([("é", [("b", "<i4"), ("c", "<M8[us]", (2,))], (3,)), ("s", "S3")]),
    "no fields": np.dtype([]),
    "empty void": np.dtype("V0"),
    "empty bytes": np.dtype("S0"),
    "empty text": np.dtype("U0"),
    "empty field": np.dtype([("a", "S0"), ("b", "<i4")]),
}


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        yield opened


def raw(dtype: np.dtype, count: int) -> np.ndarray:
    """Return elements of a dtype over bytes that all differ."""
    memory = np.arange(1, 1 + max(1, count * dtype.itemsize), dtype=np.uint8)
    return np.ndarray((count,), dtype, buffer=memory)


# Values read back


@pytest.mark.parametrize(("name", "layout"), STORED)
def test_save_and_load_every_dtype_and_layout(store, tmp_path, name, layout):
    array = make(name, layout, tmp_path)
    store.save({"x": array})
    with NumPack("s.npk") as other:
        loaded, lazy = other.load("x"), other.load("x", lazy=True)
        assert other.get_shape("x") == array.shape
    for result in (loaded, np.asarray(lazy)):
        assert type(result) is np.ndarray
        assert result.dtype == array.dtype.newbyteorder("=")
        assert result.shape == array.shape
        assert result.flags.c_contiguous
        assert elements(result) == elements(array)
    assert lazy.dtype == loaded.dtype


@pytest.mark.parametrize("name", FIXED)
def test_append_every_dtype(store, name):
    array = values(name)
    store.save({"x": array[:1]})
    store.append({"x": array[1:].astype(array.dtype.newbyteorder(">"))})
    with NumPack("s.npk") as other:
        assert elements(other.load("x")) == elements(array)


@pytest.mark.parametrize("name", UNUSUAL)
def test_save_and_load_unusual_dtypes(store, name):
    array = raw(UNUSUAL[name], 3)
    store.save({"x": array})
    with NumPack("s.npk") as other:
        for result in (other.load("x"), np.asarray(other.load("x", lazy=True))):
            assert (result.dtype, result.shape) == (array.dtype, array.shape)
            assert result.tobytes() == array.tobytes()


@pytest.mark.parametrize("name", UNUSUAL)
def test_append_unusual_dtypes(store, name):
    array = raw(UNUSUAL[name], 3)
    store.save({"x": array[:1]})
    store.append({"x": array[1:]})
    with NumPack("s.npk") as other:
        assert other.load("x").tobytes() == array.tobytes()
        assert other.get_shape("x") == (3,)


def test_padding_of_structs_is_zero(store):
    swapped = np.dtype({"names": ["a"], "formats": [">i2"], "itemsize": 64})
    np.full(4096, 0xAB, np.uint8)  # freed memory that the next allocation may reuse
    store.save({"x": np.zeros(64, swapped)})
    file = store.get_metadata()["arrays"]["x"]["data_file"]
    assert (Path("s.npk") / file).read_bytes() == bytes(64 * 64)


@pytest.mark.parametrize("value", [np.float32(1.5), np.datetime64("2024-02-29"), np.str_("é")])
def test_numpy_scalars_are_stored_as_0d_arrays(store, value):
    store.save({"x": value})
    loaded = store.load("x")
    assert (loaded.shape, loaded.dtype, loaded[()]) == ((), value.dtype, value)


@pytest.mark.parametrize("dtype", ["<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_larger_than_a_conversion_block(store, dtype, order):
    array = np.asarray(np.arange(3_000_000).reshape(3, 500, 2000), dtype, order=order)
    store.save({"x": array})
    store.append({"x": array[::-1]})
    assert np.array_equal(store.load("x"), np.concatenate([array, array[::-1]]))


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">f8", "S3", "<U2"])
def test_data_file_is_in_c_order_and_little_endian(store, dtype):
    array = np.asfortranarray(np.arange(12).reshape(3, 4).astype(dtype))
    store.save({"x": array})
    file = store.get_metadata()["arrays"]["x"]["data_file"]
    little = array.astype(array.dtype.newbyteorder("<"))
    assert (Path("s.npk") / file).read_bytes() == little.tobytes("C")


@pytest.mark.parametrize("shape", [(1,), (3,), (1, 7), (1000, 3), (5, 0), ()])
@pytest.mark.parametrize("dtype", ["u1", "S5", "f8"])
def test_loaded_array_is_aligned_writable_and_independent(store, shape, dtype):
    store.save({"x": np.ones(shape, dtype)})
    loaded = store.load("x")
    assert loaded.ctypes.data % 64 == 0 or loaded.size == 0
    assert loaded.flags.writeable
    before = contents()
    loaded[...] = 0
    assert (store.load("x") == np.ones(shape, dtype)).all()
    assert contents() == before


def test_saved_arrays_are_copied(store):
    array = ROWS.copy()
    store.save({"x": array})
    array[:] = -1
    assert np.array_equal(store.load("x"), ROWS)


def test_saving_again_replaces_dtype_shape_and_rows(store):
    store.save({"x": ROWS, "y": ROWS})
    store.save({"x": np.array(["a", "é"])})
    with NumPack("s.npk") as other:
        assert other.load("x").tolist() == ["a", "é"]
        assert other.get_member_list() == ["x", "y"]
        assert np.array_equal(other.load("y"), ROWS)


def test_replaced_and_dropped_data_files_are_removed(store):
    store.save({"x": ROWS, "y": ROWS, "z": ROWS})
    store.save({"x": ROWS})
    store.drop("y")
    live = {each["data_file"] for each in store.get_metadata()["arrays"].values()}
    assert {name for name in contents() if name.startswith("data")} == live


def test_save_a_lazy_array_under_its_own_and_another_name(store):
    store.save({"x": ROWS})
    lazy = store.load("x", lazy=True)
    store.save({"x": lazy, "y": lazy})
    store.append({"x": store.load("x", lazy=True)})
    assert np.array_equal(store.load("x"), np.concatenate([ROWS, ROWS]))
    assert np.array_equal(store.load("y"), ROWS)


def test_calls_that_change_nothing_make_no_commit(store):
    before = contents()
    store.save({})
    store.append({})
    store.drop([])
    store.drop("absent")
    assert contents() == before


# Names

NAMES = [
    "a/b",
    "/etc/passwd",
    "../../outside",
    "..",
    ".",
    "a\\b",
    "C:",
    "nul",
    "lock",
    "numpack.json",
    "data/00000001",
    "x",
    "X",
    "é",
    "e\N{COMBINING ACUTE ACCENT}",
    "日本語",
    "🎉",
    " ",
    "\n",
    "\r",
    "\x85\u2028",
    "\0",
    "\x7f\x1b[31m",
    '"quoted"',
    '","crc32":"00000000"}\n',
    "\ud800",
    "\udcff",
    "\udc00\ud800",
    "n" * 300,
    "long" * 50_000,
]


def test_any_string_is_a_name(store):
    for number, name in enumerate(NAMES):
        store.save({name: np.array([number])})
        store.append({name: np.array([-number])})
    with NumPack("s.npk") as other:
        assert other.get_member_list() == NAMES
        for number, name in enumerate(NAMES):
            assert other.has_array(name)
            assert other.load(name).tolist() == [number, -number]
    store.drop(NAMES[::2])
    with NumPack("s.npk") as other:
        assert other.get_member_list() == NAMES[1::2]


def test_file_names_do_not_contain_names(store):
    for name in NAMES:
        store.save({name: ROWS})
    assert [path.name for path in Path().iterdir()] == ["s.npk"]
    fixed = {"numpack.json", "commits.log", "lock"}
    others = set(contents()) - fixed
    assert len(others) == len(NAMES)
    assert all(re.fullmatch(r"data/\d{8}-[0-9a-f]{8}\.bin", each) for each in others)


def test_surrogate_pair_and_its_character_are_different_names(store):
    pair, character = "\ud83c\udf89", "\U0001f389"
    assert pair != character
    store.save({pair: np.array([1]), character: np.array([2])})
    with NumPack("s.npk") as other:
        assert (other.load(pair)[0], other.load(character)[0]) == (1, 2)


@given(st.lists(st.text(st.characters(), min_size=1, max_size=4), unique=True, max_size=5))
def test_names_keep_their_order(tmp_path_factory, names):
    path = tmp_path_factory.mktemp("names") / "s"
    with NumPack(path) as store, NumPack(path) as other:
        store.save(dict.fromkeys(names, ROWS))
        assert other.get_member_list() == names


# Refusals

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


@pytest.mark.parametrize("case", REFUSED)
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


@pytest.mark.parametrize("method", ["save", "append"])
@pytest.mark.parametrize("case", UNSTORABLE)
def test_unsupported_values_are_refused_with_a_fix(filled, case, method):
    array, phrase = UNSTORABLE[case]
    before = contents()
    with pytest.raises(UnsupportedError, match=phrase) as raised:
        getattr(filled, method)({"x": ROWS, "number": array})
    assert isinstance(raised.value, TypeError)
    assert phrase in raised.value.reason
    assert raised.value.fix in str(raised.value)
    assert contents() == before


@pytest.mark.parametrize(("name", "layout"), MASKED)
def test_masked_array_is_refused(store, tmp_path, name, layout):
    before = contents()
    with pytest.raises(UnsupportedError, match="mask"):
        store.save({"x": make(name, layout, tmp_path)})
    assert contents() == before


CALLS = {
    "save": lambda s: s.save({"x": ROWS}),
    "append": lambda s: s.append({"x": ROWS}),
    "drop": lambda s: s.drop("x"),
    "load": lambda s: s.load("x"),
    "lazy load": lambda s: s.load("x", lazy=True),
    "getitem": lambda s: s.getitem("x", 0),
    "stream_load": lambda s: s.stream_load("x"),
    "has_array": lambda s: s.has_array("x"),
    "get_member_list": lambda s: s.get_member_list(),
    "iteration": iter,
    "get_shape": lambda s: s.get_shape("x"),
    "get_modify_time": lambda s: s.get_modify_time("x"),
    "get_metadata": lambda s: s.get_metadata(),
}


@pytest.mark.parametrize("call", CALLS)
def test_store_never_opened_refuses_calls(call):
    with pytest.raises(StoreClosedError, match="not opened or has been closed") as raised:
        CALLS[call](NumPack("never"))
    assert isinstance(raised.value, RuntimeError)
    assert not Path("never").exists()


@pytest.mark.parametrize("call", CALLS)
def test_closed_store_refuses_calls(filled, call):
    filled.close()
    before = contents()
    with pytest.raises(StoreClosedError, match="not opened or has been closed"):
        CALLS[call](filled)
    assert contents() == before


# Opening and closing


def test_open_and_close_are_idempotent():
    store = NumPack("s.npk")
    assert (store.is_opened, store.is_closed) == (False, True)
    store.close()
    store.open()
    store.save({"x": ROWS})
    store.open()
    assert (store.is_opened, store.is_closed) == (True, False)
    assert np.array_equal(store.load("x"), ROWS)
    store.close()
    store.close()
    assert store.is_closed
    store.open()
    assert np.array_equal(store.load("x"), ROWS)
    store.close()


def fail_inside(store: NumPack) -> None:
    with store as entered:
        assert entered is store
        assert store.is_opened
        raise ZeroDivisionError


def test_with_statement_closes_after_an_exception():
    store = NumPack("s.npk")
    with pytest.raises(ZeroDivisionError):
        fail_inside(store)
    assert store.is_closed


def test_commit_is_visible_before_close():
    first = NumPack("s.npk")
    first.open()
    first.save({"x": ROWS})
    with NumPack("s.npk") as other:
        assert np.array_equal(other.load("x"), ROWS)
    first.close()


@pytest.mark.parametrize("path", [Path("p.npk"), "deep/er/p.npk", "é \n.npk", Path("empty")])
def test_paths_of_many_forms(path):
    Path("empty").mkdir()
    with NumPack(path) as store:
        store.save({"x": ROWS})
    with NumPack(Path(path).absolute()) as store:
        assert np.array_equal(store.load("x"), ROWS)


def test_drop_if_exists_applies_to_the_first_open_only(store):
    store.save({"x": ROWS})
    recreated = NumPack("s.npk", drop_if_exists=True)
    assert store.get_member_list() == ["x"]
    recreated.open()
    assert recreated.get_member_list() == store.get_member_list() == []
    recreated.save({"y": ROWS})
    recreated.close()
    recreated.open()
    assert recreated.get_member_list() == ["y"]
    recreated.close()


def test_bytes_path_is_refused():
    with pytest.raises(WrongTypeError, match="bytes"):
        NumPack(b"s.npk")


def test_handle_never_closed_releases_its_descriptor():
    with NumPack("s.npk"):
        pass
    before = len(os.listdir("/dev/fd"))
    for _ in range(20):
        NumPack("s.npk").open()
    assert len(os.listdir("/dev/fd")) == before


def test_relative_path_survives_a_change_of_the_working_directory(tmp_path):
    Path("elsewhere").mkdir()
    with NumPack("s.npk") as store:
        store.save({"x": ROWS})
        os.chdir("elsewhere")
        assert np.array_equal(store.load("x"), ROWS)
        store.append({"x": ROWS})
        store.save({"y": ROWS})
    with NumPack(tmp_path / "s.npk") as other:
        assert other.get_member_list() == ["x", "y"]
        assert other.get_shape("x") == (12, 2)
    assert not list(Path().iterdir())


def test_store_of_the_same_relative_path_elsewhere_is_unchanged(tmp_path):
    Path("elsewhere").mkdir()
    with NumPack("elsewhere/s.npk") as neighbour:
        neighbour.save({"mine": ROWS})
    with NumPack("s.npk") as store:
        os.chdir("elsewhere")
        before = contents()
        store.save({"x": ROWS})
        assert contents() == before
    with NumPack(tmp_path / "s.npk") as other:
        assert np.array_equal(other.load("x"), ROWS)


def test_repr_shows_path_and_number_of_arrays(filled):
    assert repr(filled) == "NumPack('s.npk', 2 arrays)"
    filled.close()
    assert repr(filled) == "NumPack('s.npk', closed)"


# Names and metadata


def test_member_list_is_in_order_of_insertion(store):
    assert store.get_member_list() == list(store) == []
    store.save({"b": ROWS, "a": ROWS})
    store.save({"c": ROWS})
    store.save({"b": ROWS})
    store.append({"a": ROWS})
    assert store.get_member_list() == list(store) == ["b", "a", "c"]
    store.drop("b")
    store.save({"b": ROWS})
    assert store.get_member_list() == ["a", "c", "b"]


def test_member_list_is_a_copy(filled):
    filled.get_member_list().clear()
    assert filled.get_member_list() == ["x", "number"]


def test_members_can_be_dropped_during_iteration(filled):
    for name in filled:
        filled.drop(name)
    assert filled.get_member_list() == []


def test_has_array(filled):
    assert filled.has_array("x")
    assert not filled.has_array("X")
    assert not filled.has_array("")
    filled.drop("x")
    assert not filled.has_array("x")


def test_metadata_describe_every_array(filled):
    metadata = filled.get_metadata()
    files = [each.pop("data_file") for each in metadata["arrays"].values()]
    assert metadata == {
        "arrays": {
            "x": {
                "shape": (6, 2),
                "dtype": "float64",
                "size_bytes": 96,
                "last_modified": filled.get_modify_time("x"),
            },
            "number": {
                "shape": (),
                "dtype": "int64",
                "size_bytes": 8,
                "last_modified": filled.get_modify_time("number"),
            },
        },
        "base_dir": "s.npk",
        "total_arrays": 2,
    }
    assert [(Path("s.npk") / file).stat().st_size for file in files] == [96, 8]


def test_modify_time_is_the_time_of_the_commit_in_microseconds(store):
    def commit(method: str, names: str) -> range:
        start = time.time_ns() // 1000
        getattr(store, method)(dict.fromkeys(names, ROWS))
        return range(start, time.time_ns() // 1000 + 1)

    assert store.get_modify_time("x") is None
    first = commit("save", "xy")
    saved = store.get_modify_time("x")
    assert saved in first
    assert store.get_modify_time("y") == saved
    commit("append", "y")
    assert store.get_modify_time("x") == saved
    second = commit("append", "x")
    with NumPack("s.npk") as other:
        assert other.get_modify_time("x") in second
        assert other.get_modify_time("y") >= saved
    store.drop("x")
    assert store.get_modify_time("x") is None


# append


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


@pytest.mark.parametrize("dtype", ["i8", ">i4", "u4", "f4", "M8[s]", "S4", "V4", "?"])
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


@pytest.mark.parametrize(
    ("held", "given_"),
    [("M8[s]", "M8[ms]"), ("S3", "S4"), ("U3", "S3"), ([("a", "i4")], [("b", "i4")])],
)
def test_append_refuses_another_unit_width_or_field_name(store, held, given_):
    store.save({"x": np.zeros(2, held)})
    before = contents()
    with pytest.raises(InvalidValueError, match="astype"):
        store.append({"x": np.zeros(2, given_)})
    assert contents() == before


# drop


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


# getitem

INDEXES = {
    "first": 0,
    "last": -1,
    "numpy int": np.int16(4),
    "unsigned": np.uint8(2),
    "list": [3, 0, 3],
    "negative list": [-1, -6],
    "tuple": (1, 2),
    "no list": [],
    "no tuple": (),
    "array": np.array([5, 0, -1]),
    "small ints": np.array([1, -1], "i1"),
    "unsigned array": np.array([5], "u8"),
    "big-endian array": np.array([1, 2], ">i4"),
    "strided array": np.arange(6)[::-2],
    "empty array": np.zeros(0, np.intp),
    "mask": np.array([True, False, False, True, True, False]),
    "list of bools": [True, False, True, False, False, False],
    "mask of none": np.zeros(6, bool),
    "mask of all": np.ones(6, bool),
    "slice": slice(1, 4),
    "open slice": slice(None),
    "reversed": slice(None, None, -1),
    "stepped": slice(-1, 0, -2),
    "far slice": slice(-100, 100, 3),
    "empty slice": slice(4, 2),
    "numpy slice": slice(np.int64(1), np.int8(4)),
}


@pytest.mark.parametrize("case", INDEXES)
@pytest.mark.parametrize("shape", [(6,), (6, 2), (6, 0), (6, 2, 3)])
def test_getitem_agrees_with_numpy(store, shape, case):
    array = np.arange(np.prod(shape)).reshape(shape)
    store.save({"x": array})
    index = INDEXES[case]
    selected = store.getitem("x", index)
    if isinstance(index, int | np.integer):
        index = [index]
    if not isinstance(index, slice):
        index = np.asarray(index) if np.size(index) else np.zeros(0, np.intp)
    assert selected.shape == array[index].shape
    assert np.array_equal(selected, array[index])
    assert selected.dtype == array.dtype
    assert selected.flags.writeable
    selected[...] = -1
    assert np.array_equal(store.load("x"), array)


@pytest.mark.parametrize(
    "index",
    [6, -7, [0, 6], (-7,), np.array([6]), np.array([2**63], "u8"), np.array([100], "i1")],
)
def test_row_out_of_range_is_an_index_error(filled, index):
    with pytest.raises(IndexRangeError, match="out of range: there are 6 rows") as raised:
        filled.getitem("x", index)
    assert isinstance(raised.value, IndexError)


@pytest.mark.parametrize("index", [2**70, -(2**70), [0, 2**70]])
def test_row_beyond_64_bits_is_an_index_error(filled, index):
    with pytest.raises(IndexRangeError, match="out of range"):
        filled.getitem("x", index)


@pytest.mark.parametrize("index", [[True], np.ones(5, bool), np.ones(7, bool)])
def test_mask_of_wrong_length_is_an_index_error(filled, index):
    with pytest.raises(IndexRangeError, match="does not fit 6 rows"):
        filled.getitem("x", index)


@pytest.mark.parametrize(
    "index",
    [
        None,
        ...,
        "0",
        1.0,
        [0.0],
        ["x"],
        {0},
        True,
        np.bool_(True),
        [[0, 1]],
        [[0], [1, 2]],
        np.zeros((0, 2), int),
        np.zeros(6),
        [None],
        slice("a", None),
        slice(0, 3, 0),
    ],
    ids=repr,
)
def test_invalid_index_is_refused(filled, index):
    phrase = "The indexes must be int or list or numpy.ndarray or slice"
    with pytest.raises(InvalidIndexError, match=phrase) as raised:
        filled.getitem("x", index)
    assert isinstance(raised.value, TypeError)
    assert isinstance(raised.value, ValueError)


@given(
    st.slices(20)
    | st.lists(st.integers(-20, 19))
    | st.lists(st.booleans(), min_size=20, max_size=20)
)
def test_getitem_of_drawn_rows_agrees_with_numpy(tmp_path_factory, index):
    path = tmp_path_factory.getbasetemp() / "twenty"
    array = np.arange(40).reshape(20, 2)
    with NumPack(path) as store:
        if not store.has_array("x"):
            store.save({"x": array})
        expected = array[index] if isinstance(index, slice) or index else array[:0]
        assert np.array_equal(store.getitem("x", index), expected)


# stream_load


@pytest.mark.parametrize("size", [None, 1, 2, 4, 6, 7, 10**30, np.int64(4), np.uint8(4)])
def test_stream_yields_all_rows_in_batches(filled, size):
    batches = list(filled.stream_load("x", size))
    rows = 1 if size is None else min(int(size), 6)
    assert [len(batch) for batch in batches] == [
        len(ROWS[i : i + rows]) for i in range(0, 6, rows)
    ]
    assert np.array_equal(np.concatenate(batches), ROWS)
    assert all(batch.flags.writeable for batch in batches)


@pytest.mark.parametrize("size", [np.int8(100), np.uint8(100), np.int16(300)])
def test_stream_with_a_huge_batch_size(store, size):
    array = np.arange(40_000)
    store.save({"x": array})
    assert np.array_equal(np.concatenate(list(store.stream_load("x", size))), array)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (4, 0)])
def test_stream_of_an_empty_array(store, shape):
    store.save({"x": np.zeros(shape)})
    assert [batch.shape for batch in store.stream_load("x", 3)] == [
        (min(3, shape[0] - start), *shape[1:]) for start in range(0, shape[0], 3)
    ]


@pytest.mark.parametrize(
    "change",
    [
        lambda s: s.append({"x": ROWS}),
        lambda s: s.save({"x": ROWS[::-1]}),
        lambda s: s.drop("x"),
        lambda s: NumPack("s.npk", drop_if_exists=True).open(),
        lambda s: s.close(),
    ],
    ids=["append", "save", "drop", "drop_if_exists", "close"],
)
def test_stream_shows_the_state_at_the_call(filled, change):
    begun, fresh = filled.stream_load("x", 2), filled.stream_load("x", 2)
    batches = [next(begun)]
    change(filled)
    batches += begun
    assert np.array_equal(np.concatenate(batches), ROWS)
    assert np.array_equal(np.concatenate(list(fresh)), ROWS)


def test_batches_are_independent(filled):
    first, second, *_ = filled.stream_load("x", 2)
    first[:] = -1
    assert np.array_equal(second, ROWS[2:4])
    assert np.array_equal(filled.load("x"), ROWS)


# Several handles


def test_handles_see_commits_of_other_handles(store):
    with NumPack("s.npk") as other:
        store.save({"x": ROWS})
        assert np.array_equal(other.load("x"), ROWS)
        other.append({"x": ROWS})
        assert store.get_shape("x") == (12, 2)
        store.append({"x": ROWS})
        other.save({"y": ROWS})
        store.drop("x")
        assert other.get_member_list() == store.get_member_list() == ["y"]


def test_pickled_store_is_opened_by_another_process(filled, run_python):
    script = """
import os, pickle, sys
os.mkdir("there"); os.chdir("there")
store = pickle.loads(bytes.fromhex(sys.argv[1]))
print(store.is_opened, store.load("x").sum() if store.is_opened else None)
"""
    assert run_python(script, pickle.dumps(filled).hex()) == f"True {ROWS.sum()}\n"
    filled.close()
    Path("there").rmdir()
    assert run_python(script, pickle.dumps(filled).hex()) == "False None\n"


def test_pickled_store_is_not_dropped():
    with NumPack("s.npk", drop_if_exists=True) as store:
        store.save({"x": ROWS})
        with pickle.loads(pickle.dumps(store)) as again:
            assert again.get_member_list() == ["x"]
    unopened = pickle.loads(pickle.dumps(NumPack("s.npk", drop_if_exists=True)))
    with unopened:
        assert unopened.get_member_list() == ["x"]
