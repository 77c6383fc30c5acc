"""Arrays of a temporary store that become those of another in one commit; appended ones too."""

from __future__ import annotations

import errno
import itertools
import os
from pathlib import Path

import numpy as np
import pytest
from support.crash.operations import state_of, wide
from support.files import contents

from numpack import NumPack, errors
from numpack.store.commits.attributes import AttributeChange

ROWS = np.arange(6.0).reshape(3, 2)


@pytest.fixture
def temporary(store):
    """Make a store beside the other one, with an array of several blocks and deleted rows."""
    with NumPack("temporary.npk", mode="x") as other:
        other.save({"x": -ROWS, "new": wide(3000), "e": ROWS[:0], "zero": np.array(3)})
        other.drop("new", [0, 2])
        other.replace({"x": ROWS[:1] + 7}, [1])
        other.attrs["x"]["ignored"] = True
        yield other


def test_adopted_arrays_are_renamed_files_in_one_commit(store, temporary):
    store.save({"x": ROWS, "y": ROWS})
    store.attrs["x"].update(dims=["a", "b"], old=1)
    lazy, before = store.load("x", lazy=True), state_of(temporary)
    inode = os.stat(f"temporary.npk/{temporary._arrays()['new'].data_file}").st_ino
    commit = store.commit
    written = store.get_io_stats()["bytes_written"]
    store._adopt(
        temporary, {"new": AttributeChange({"n": 1}), None: AttributeChange({"title": "t"})}
    )
    assert store.commit == commit + 1
    assert store.get_io_stats()["bytes_written"] - written < 5000
    assert os.stat(f"s.npk/{store._arrays()['new'].data_file}").st_ino == inode
    for name in ("x", "new", "e", "zero"):
        assert state_of(store)[name][:3] == before[name][:3]
    assert dict(store.attrs["x"]) == {"dims": ["a", "b"], "old": 1}
    assert dict(store.attrs["new"]) == {"n": 1}
    assert dict(store.attrs.store) == {"title": "t"}
    assert lazy.tolist() == ROWS.tolist()
    assert store.verify().ok
    store.append({"new": wide(2, 1), "x": ROWS})
    store.replace({"new": wide(1, 5)}, [7])
    store.close()
    store.open()
    assert store.verify().ok
    assert len(store["new"]) == 3000


def test_an_adoption_that_fails_leaves_both_stores_as_they_were(store, temporary, monkeypatch):
    store.save({"x": ROWS})
    before, files = state_of(store), contents()
    others, other_files = state_of(temporary), contents("temporary.npk")
    rename = os.rename

    def fail(number):
        numbers = itertools.count(1)

        def rename_or_fail(*args, **options):
            if next(numbers) == number:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            rename(*args, **options)

        return rename_or_fail

    for number in range(1, 7):  # four data files, checksums and deleted rows
        with monkeypatch.context() as patched:
            patched.setattr(os, "rename", fail(number))
            with pytest.raises(OSError, match="cannot be used"):
                store._adopt(temporary)
        assert (state_of(store), contents()) == (before, files)
        assert (state_of(temporary), contents("temporary.npk")) == (others, other_files)
    store._adopt(temporary)
    assert state_of(store).keys() == others.keys()


def test_attributes_that_are_too_large_move_nothing(store, temporary):
    files = contents("temporary.npk")
    with pytest.raises(errors.InvalidValueError, match="attributes of 'x'"):
        store._adopt(temporary, {"x": AttributeChange({"a": "x" * (1 << 20)})})
    assert contents("temporary.npk") == files


def test_rows_of_several_arrays_are_appended_in_one_commit(store, temporary):
    for name in ("e", "zero"):
        temporary.drop(name)
    store.save({"x": ROWS, "new": wide(1000)})
    commit, rows = store.commit, temporary["new"]
    store._append_from(temporary, {"new": AttributeChange({"n": 1})})
    assert store.commit == commit + 1
    assert np.array_equal(store["new"], np.concatenate([wide(1000), rows]))
    assert np.array_equal(store["x"], np.concatenate([ROWS, temporary["x"]]))
    assert dict(store.attrs["new"]) == {"n": 1}
    assert store.verify().ok
    assert np.array_equal(temporary["new"], rows)


def test_rows_that_do_not_fit_are_refused_before_any_is_written(store, temporary):
    for rows, what in (
        (ROWS.astype("f4"), "convert them"),
        (ROWS[:, :1], "reshape the array"),
        (np.array(3.0), "0-d"),
    ):
        store.save({"new": wide(5), "x": rows, "e": ROWS, "zero": np.arange(3)})
        size = Path("s.npk", store._arrays()["new"].data_file).stat().st_size
        with pytest.raises(errors.InvalidValueError, match=what):
            store._append_from(temporary)
        assert Path("s.npk", store._arrays()["new"].data_file).stat().st_size == size
    store.save({"x": ROWS})
    store.drop("e")
    with pytest.raises(errors.NotFoundError, match="'e'"):
        store._append_from(temporary)
