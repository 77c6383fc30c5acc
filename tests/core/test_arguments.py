"""Arguments of any kind: names, paths and row indexes, and the length of error messages."""

from __future__ import annotations

import collections
import enum
import os
import threading
import types
from pathlib import Path

import numpy as np
import pytest
from support.ids import stable_repr

from numpack import (
    InvalidIndexError,
    InvalidValueError,
    NotFoundError,
    NumPack,
    NumpackError,
    WrongTypeError,
)

ROWS = np.arange(12.0).reshape(6, 2)


class Name(str, enum.Enum):  # noqa: UP042 -- hashes by the name of the member
    FIRST = "x"


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS, "y": ROWS})
        yield opened


@pytest.mark.parametrize("wrong", [["x", "y"], ("x",), None, 5, b"x", {"x"}])
def test_name_of_wrong_type_is_refused(store, wrong):
    kind = type(wrong).__name__
    for call in (
        lambda: store[wrong],
        lambda: store.load(wrong),
        lambda: store.load(wrong, lazy=True),
        lambda: store.getitem(wrong, 0),
        lambda: store.stream_load(wrong),
        lambda: store.get_shape(wrong),
        lambda: store.get_modify_time(wrong),
        lambda: store.has_array(wrong),
        lambda: store.update(wrong),
        lambda: store.clone(wrong, "z"),
        lambda: store.clone("x", wrong),
        lambda: store.__delitem__(wrong),
        lambda: store.share(wrong, "numpy"),
    ):
        with pytest.raises(WrongTypeError, match=kind):
            call()
    if isinstance(wrong, collections.abc.Hashable):
        assert wrong not in store
        assert store.get(wrong, 7) == 7
    else:
        with pytest.raises(WrongTypeError, match=kind):
            store.get(wrong)


def test_mappings_and_str_subclasses_are_accepted(store):
    for mapping in (
        collections.OrderedDict(x=ROWS[:1]),
        types.MappingProxyType({"x": ROWS[:1]}),
        {Name.FIRST: ROWS[:1]},
        {np.str_("x"): ROWS[:1]},
    ):
        store.save(mapping)
        assert {type(name) for name in store} == {str}
        assert np.array_equal(store[Name.FIRST], ROWS[:1])
        assert Name.FIRST in store
    with NumPack("other.npk") as other:
        other.save(store)
        assert list(other) == list(store)


def test_error_names_the_array_it_concerns(store):
    good, bad = ROWS[:1], np.array([None])
    for call in (
        lambda: store.save({"y": good, "x": [1, 2]}),
        lambda: store.save({"y": good, "x": "text"}),
        lambda: store.save({"y": good, "x": bad}),
        lambda: store.append({"y": good, "x": bad}),
        lambda: store.append({"y": good, "x": ROWS[:, :1]}),
        lambda: store.replace({"y": good, "x": [1]}, 0),
        lambda: store.replace({"x": good}, [99]),
        lambda: store.replace({"x": good}, "0"),
        lambda: store.drop(["x", "y"], [99]),
    ):
        with pytest.raises(NumpackError, match="'x'"):
            call()
    assert np.array_equal(store["y"], ROWS)


class Indexable:
    def __index__(self) -> int:
        return 2


ROW_INDEXES = [range(4), range(5, 0, -2), range(0), range(3, 4), np.int8(-1), Indexable()]
ROW_INDEXES += [np.array(2), np.array([1, 1], "u1").view(np.ma.MaskedArray).data]


@pytest.mark.parametrize("index", ROW_INDEXES, ids=stable_repr)
def test_row_indexes_of_any_integer_kind_are_accepted(store, index):
    numbers = np.atleast_1d(
        np.asarray(index.__index__() if isinstance(index, Indexable) else index)
    )
    numbers = numbers.astype(int)
    assert np.array_equal(store.getitem("x", index), ROWS[numbers])
    if isinstance(index, range):
        assert np.array_equal(store.load("x", lazy=True)[index], ROWS[numbers])
    store.replace({"x": -ROWS[: len(numbers)]}, index)
    assert np.array_equal(store["x"][numbers[-1:]], -ROWS[: len(numbers)][-1:])
    store.drop("x", index)
    assert len(store["x"]) == 6 - len(set(numbers.tolist()))


REFUSED = [None, 1.5, True, "1", b"\x01", bytearray(b"\x01"), [1.0], ["a"], [None], [[0], [1]]]
REFUSED += [[True, 2], {1}, {1: 2}, iter([1]), (n for n in [1]), np.ones((2, 2), int), object()]
REFUSED += [np.array([1.0]), np.ma.MaskedArray([1, 2], [True, False]), np.array(True)]


@pytest.mark.parametrize("index", REFUSED, ids=lambda index: type(index).__name__)
def test_invalid_row_index_is_refused(store, index):
    for call in (
        lambda: store.getitem("x", index),
        lambda: store.replace({"x": ROWS[:1]}, index),
        lambda: store.drop("x", index),
    ):
        if index is None and call.__code__.co_names[-1] == "drop":
            continue
        with pytest.raises(InvalidIndexError, match="must be int or list or numpy.ndarray"):
            call()
    assert np.array_equal(store["x"], ROWS)


def test_range_beyond_the_rows_is_out_of_range(store):
    for index in (range(10**12), range(5, -10, -1), range(0, 2**70, 2**69)):
        with pytest.raises(IndexError, match="out of range"):
            store.getitem("x", index)


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", InvalidValueError),
        ("a\0b", InvalidValueError),
        (b"s", WrongTypeError),
        (5, WrongTypeError),
    ],
)
def test_invalid_path_is_refused(path, kind):
    with pytest.raises(kind, match=r"path|str"):
        NumPack(path)
    assert os.listdir(".") == []


def test_current_folder_is_a_path_and_overlong_path_is_refused(store):
    Path("here").mkdir()
    os.chdir("here")
    with NumPack(".") as opened:
        opened.save({"x": ROWS})
    assert Path("numpack.json").exists()
    with pytest.raises(NumpackError, match="File name too long"):
        NumPack("n" * 300).open()


# Stores of many names


def test_messages_stay_short_with_many_names(store):
    store.save({f"img/{number:05d}/points": np.array(number) for number in range(3000)})
    with pytest.raises(NotFoundError) as raised:
        store.load("img/00017/point")
    assert "'img/00017/points'" in str(raised.value)
    assert "3,002 arrays" in str(raised.value)
    assert len(str(raised.value)) < 400
    with pytest.raises(NotFoundError) as raised:
        store.load("n" * 10_000)
    assert len(str(raised.value)) < 400


def test_commit_size_does_not_grow_with_the_number_of_names(store):
    store.save({f"img/{number:05d}": np.array(number) for number in range(3000)})
    store.close()
    size = os.path.getsize("s.npk/commits.log")
    for number in range(20):
        with NumPack("s.npk") as opened:
            opened.append({"x": ROWS[:1]})
            opened.save({f"new {number}": ROWS[:1]})
            opened.drop(f"img/{number:05d}")
    assert os.path.getsize("s.npk/commits.log") - size < 20 * 1000
    with NumPack("s.npk", mode="r") as opened:
        assert len(opened) == 3002
        assert opened.get_shape("x") == (26, 2)
        assert list(opened)[-1] == "new 19"
        assert opened.verify().ok


def test_names_can_be_iterated_over_during_concurrent_commits(store):
    errors, done = [], threading.Event()

    def read():
        try:
            with NumPack("s.npk", mode="r") as opened:
                while not done.is_set():
                    for found in (store, opened):
                        list(found)
                        len(dict.fromkeys(found))
                        assert found.get_metadata()["total_arrays"] >= 2
                        assert "x" in found
                        assert found.get("nope") is None
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(150):
        store.save({f"a{number}": ROWS[:1], f"b{number}": ROWS[:1]})
        store.drop(f"a{number - 1}" if number % 2 else f"b{number}")
    done.set()
    for thread in threads:
        thread.join()
    assert not errors
