"""Opening and closing a store, and its path."""

from __future__ import annotations

import gc
import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from support.files import contents

from numpack import InvalidValueError, NumPack, NumpackError, WrongTypeError

ROWS = np.arange(12.0).reshape(6, 2)


@pytest.fixture
def filled(store):
    store.save({"x": ROWS, "number": np.array(5)})
    return store


def test_open_and_close_are_idempotent():
    store = NumPack("s.npk")
    assert (store.is_opened, store.is_closed) == (False, True)
    store.close()
    store.open()
    assert (store.is_opened, store.is_closed) == (True, False)
    store.save({"x": ROWS})
    store.open()
    assert (store.is_opened, store.is_closed) == (True, False)
    assert np.array_equal(store.load("x"), ROWS)
    store.close()
    store.close()
    assert (store.is_opened, store.is_closed) == (False, True)
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
    assert (store.is_opened, store.is_closed) == (False, True)


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
        assert store.get_metadata()["base_dir"] == "s.npk"
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


def names(path: str = "s.npk", **options: object) -> list[str]:
    with NumPack(path, **options) as store:
        return store.get_member_list()


def test_warning_without_a_with_statement_names_the_line_of_the_caller(filled):
    store = NumPack("s.npk", warn_no_context=True)
    with pytest.warns(UserWarning, match="strict context mode") as caught:
        store.open()
    assert [Path(each.filename) for each in caught] == [Path(__file__)]
    store.close()
    for option in (True, False, None):
        with NumPack("s.npk", warn_no_context=option) as quiet:
            assert quiet.is_opened
    silent = NumPack("s.npk")
    silent.open()
    silent.close()


@pytest.mark.parametrize(
    ("option", "argument", "collects"),
    [
        (False, None, False),
        (True, None, True),
        (False, True, True),
        (True, False, False),
    ],
)
def test_close_collects_garbage_on_request(monkeypatch, option, argument, collects):
    calls = []
    store = NumPack("s.npk", force_gc_on_close=option)
    store.open()
    monkeypatch.setattr(gc, "collect", lambda: calls.append(1))
    store.close(force_gc=argument)
    assert len(calls) == collects


class Pathlike:
    def __init__(self, path: str | bytes) -> None:
        self.path = path

    def __fspath__(self) -> str | bytes:
        return self.path


def test_path_like_objects_are_accepted(filled):
    assert names(Pathlike("s.npk")) == names(Path("s.npk")) == ["x", "number"]
    with pytest.raises(WrongTypeError, match="os.PathLike"):
        NumPack(Pathlike(b"s.npk"))


def test_relative_path_is_resolved_at_construction(filled):
    store = NumPack(Path("s.npk"))
    Path("elsewhere").mkdir()
    os.chdir("elsewhere")
    with store:
        assert store.get_member_list() == ["x", "number"]
        assert store.get_metadata()["base_dir"] == "s.npk"
    with pickle.loads(pickle.dumps(store)) as again:
        assert again.get_member_list() == ["x", "number"]
    assert not os.listdir()


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("", InvalidValueError),
        ("a\0b", InvalidValueError),
        (b"s.npk", WrongTypeError),
        (None, WrongTypeError),
        (5, WrongTypeError),
    ],
)
def test_invalid_path_is_refused(path, kind):
    phrase = f"os.PathLike.*{type(path).__name__}" if kind is WrongTypeError else "path"
    with pytest.raises(kind, match=phrase):
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
