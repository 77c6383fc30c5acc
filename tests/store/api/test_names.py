"""Names of arrays: any string, many names and long ones."""

from __future__ import annotations

import collections
import enum
import os
import re
import threading
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.each import for_each
from support.files import contents

from numpack import NotFoundError, NumPack, WrongTypeError

ROWS = np.arange(12.0).reshape(6, 2)
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


class Subclass(str):
    __slots__ = ()


@for_each("kind", [np.str_, Subclass])
@for_each("name", ["x", "é" * 500, '"\\\ud800\n', "n" * 5000])
def test_names_can_be_str_subclasses_of_any_length(store, name, kind):
    store.reset()
    store.save({kind(name): np.arange(5)})
    store.append({kind(name): np.arange(2)})
    store.replace({kind(name): np.array([9])}, [0])
    store.drop(kind(name), [1, 2])
    assert store.load(kind(name)).tolist() == [9, 3, 4, 0, 1]
    with NumPack("s.npk") as other:
        assert other.get_member_list() == [name]
        assert other.load(name, verify=True).tolist() == [9, 3, 4, 0, 1]


class Name(str, enum.Enum):  # noqa: UP042 -- hashes by the name of the member
    FIRST = "x"


@pytest.fixture
def filled(store):
    store.save({"x": ROWS, "y": ROWS})
    return store


@for_each("wrong", [["x", "y"], ("x",), None, 5, b"x", {"x"}])
def test_name_of_wrong_type_is_refused(filled, wrong):
    kind = type(wrong).__name__
    for call in (
        lambda: filled[wrong],
        lambda: filled.load(wrong),
        lambda: filled.load(wrong, lazy=True),
        lambda: filled.getitem(wrong, 0),
        lambda: filled.stream_load(wrong),
        lambda: filled.get_shape(wrong),
        lambda: filled.get_modify_time(wrong),
        lambda: filled.has_array(wrong),
        lambda: filled.update(wrong),
        lambda: filled.clone(wrong, "z"),
        lambda: filled.clone("x", wrong),
        lambda: filled.__delitem__(wrong),
        lambda: filled.share(wrong, "numpy"),
    ):
        with pytest.raises(WrongTypeError, match=kind):
            call()
    if isinstance(wrong, collections.abc.Hashable):
        assert wrong not in filled
        assert filled.get(wrong, 7) == 7
    else:
        with pytest.raises(WrongTypeError, match=kind):
            filled.get(wrong)


def test_mappings_and_str_subclasses_are_accepted(filled):
    for mapping in (
        collections.OrderedDict(x=ROWS[:1]),
        types.MappingProxyType({"x": ROWS[:1]}),
        {Name.FIRST: ROWS[:1]},
        {np.str_("x"): ROWS[:1]},
    ):
        filled.save(mapping)
        assert {type(name) for name in filled} == {str}
        assert np.array_equal(filled[Name.FIRST], ROWS[:1])
        assert Name.FIRST in filled
    with NumPack("other.npk") as other:
        other.save(filled)
        assert list(other) == list(filled)


def test_messages_stay_short_with_many_names(filled):
    filled.save({f"img/{number:05d}/points": np.array(number) for number in range(1000)})
    with pytest.raises(NotFoundError) as raised:
        filled.load("img/00017/point")
    assert "'img/00017/points'" in str(raised.value)
    assert "1,002 arrays" in str(raised.value)
    assert len(str(raised.value)) < 400
    with pytest.raises(NotFoundError) as raised:
        filled.load("n" * 10_000)
    assert len(str(raised.value)) < 400


def test_commit_size_does_not_grow_with_the_number_of_names(filled):
    filled.save({f"img/{number:05d}": np.array(number) for number in range(1000)})
    filled.close()
    size = os.path.getsize("s.npk/commits.log")
    for number in range(20):
        with NumPack("s.npk") as opened:
            opened.append({"x": ROWS[:1]})
            opened.save({f"new {number}": ROWS[:1]})
            opened.drop(f"img/{number:05d}")
    assert os.path.getsize("s.npk/commits.log") - size < 20 * 1000
    with NumPack("s.npk", mode="r") as opened:
        assert len(opened) == 1002
        assert opened.get_shape("x") == (26, 2)
        assert list(opened)[-1] == "new 19"
        assert opened.verify().ok


def test_names_can_be_iterated_over_during_concurrent_commits(filled):
    errors, done = [], threading.Event()

    def read():
        try:
            with NumPack("s.npk", mode="r") as opened:
                while not done.is_set():
                    for found in (filled, opened):
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
        filled.save({f"a{number}": ROWS[:1], f"b{number}": ROWS[:1]})
        filled.drop(f"a{number - 1}" if number % 2 else f"b{number}")
    done.set()
    for thread in threads:
        thread.join()
    assert not errors
