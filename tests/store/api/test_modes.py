"""The modes and options of a store."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from support.files import contents

from numpack import InvalidValueError, NotAStoreError, NumPack
from numpack.store.format import folder

ROWS = np.arange(12.0).reshape(6, 2)
MODES = ["a", "r", "r+", "w", "x"]


@pytest.fixture
def filled():
    with NumPack("s.npk") as store:
        store.save({"x": ROWS, "number": np.array(5)})
    return contents()


@pytest.fixture
def store(filled):
    with NumPack("s.npk") as opened:
        yield opened


def names(path: str = "s.npk", **options: object) -> list[str]:
    with NumPack(path, **options) as store:
        return store.get_member_list()


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_with_a_missing_store(mode):
    if mode in ("r", "r+"):
        with pytest.raises(NotAStoreError, match="no store at .*; NumPack\\(path\\) creates"):
            NumPack("new.npk", mode=mode).open()
        assert not Path("new.npk").exists()
    else:
        assert names("new.npk", mode=mode) == []
        assert Path("new.npk/numpack.json").exists()


@pytest.mark.parametrize("mode", MODES)
def test_each_mode_with_an_existing_store(filled, mode):
    if mode == "x":
        with pytest.raises(NotAStoreError, match="there is a store at .* already"):
            NumPack("s.npk", mode=mode).open()
        assert contents() == filled
    else:
        assert names(mode=mode) == ([] if mode == "w" else ["x", "number"])


@pytest.mark.parametrize("before", [True, False])
def test_mode_x_refuses_a_store_created_meanwhile(monkeypatch, before):
    check = folder.check_creatable

    def create_meanwhile(path):
        monkeypatch.setattr(folder, "check_creatable", check)
        if not before:
            check(path)
        with NumPack("s.npk") as other:
            other.save({"x": np.arange(3)})
        if before:
            check(path)

    monkeypatch.setattr(folder, "check_creatable", create_meanwhile)
    with pytest.raises(NotAStoreError):
        NumPack("s.npk", mode="x").open()
    with NumPack("s.npk") as store:
        assert store.load("x").tolist() == [0, 1, 2]


@pytest.mark.parametrize("mode", MODES)
def test_nothing_happens_before_open(filled, mode):
    store = NumPack("s.npk", mode=mode)
    NumPack("other.npk", mode=mode)
    if mode in "aw":
        NumPack("s.npk", mode=mode, drop_if_exists=True)
    assert store.is_closed
    assert contents() == filled
    assert not Path("other.npk").exists()


@pytest.mark.parametrize("mode", ["w", "x"])
def test_reopening_in_mode_w_or_x_keeps_the_arrays(mode):
    store = NumPack("new.npk", mode=mode)
    for number in range(3):
        with store:
            store.save({f"x{number}": ROWS})
    assert names("new.npk") == ["x0", "x1", "x2"]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", ["file", "full"])
def test_no_mode_changes_a_path_that_is_not_a_store(path, mode):
    Path("file").write_bytes(b"mine")
    Path("full").mkdir()
    Path("full/mine").write_bytes(b"mine")
    for drops in {False, mode in "aw"}:
        with pytest.raises(NotAStoreError):
            NumPack(path, mode=mode, drop_if_exists=drops).open()
    assert Path("file").read_bytes() == Path("full/mine").read_bytes() == b"mine"
    assert os.listdir("full") == ["mine"]


@pytest.mark.parametrize("mode", MODES)
def test_drop_if_exists_with_each_mode(filled, mode):
    if mode in ("a", "w"):
        assert names(mode=mode, drop_if_exists=True) == []
    else:
        with pytest.raises(InvalidValueError, match=r"drop_if_exists=True is mode='w'"):
            NumPack("s.npk", mode=mode, drop_if_exists=True)
        assert contents() == filled


@for_each("mode", ["", "rw", "R", None, 0, "ab"])
def test_invalid_mode_is_refused(mode):
    with pytest.raises(
        InvalidValueError, match="mode must be one of 'a', 'r', 'r\\+', 'w', 'x'"
    ):
        NumPack("s.npk", mode=mode)


@for_each("durability", ["", "full", None, True])
def test_invalid_durability_is_refused(durability):
    with pytest.raises(InvalidValueError, match="durability must be 'process' or 'power'"):
        NumPack("s.npk", durability=durability)


def test_old_parameters_are_accepted_by_position(filled):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with NumPack("s.npk", True, True, True, True) as store:
            assert list(store) == []
