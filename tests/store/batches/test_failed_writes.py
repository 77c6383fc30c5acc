"""`batch_mode` on a full disk: changes are kept and written later."""

from __future__ import annotations

import errno

import numpy as np
import pytest
from support.files import contents

from numpack import NumPack

ROWS = np.arange(1.0, 13.0).reshape(6, 2)


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS, "y": ROWS, "z": np.array(5)})
        yield opened


@pytest.fixture
def full(monkeypatch):
    """Patch writing of data files so that it fails with ENOSPC while `state["full"]` is set."""
    from numpack.store.format import data_files

    whole = data_files.write_checksummed
    state = {"full": False}

    def write(*arguments):
        if state["full"]:
            raise OSError(errno.ENOSPC, "No space left on device")
        return whole(*arguments)

    monkeypatch.setattr(data_files, "write_checksummed", write)
    return state


def read_back(name: str = "x") -> np.ndarray:
    with NumPack("s.npk", mode="r") as other:
        return other.load(name, verify=True)


def with_first_row_changed(rows: np.ndarray) -> np.ndarray:
    rows = rows.copy()
    rows[0] = -1
    return rows


CHANGED = with_first_row_changed(ROWS)


def fail_to_write(store: NumPack, full: dict) -> None:
    full["full"] = True
    with store.batch_mode():
        store.load("x")[0] = -1
        store.save({"new": ROWS})


@pytest.fixture
def failed(store, full):
    before = contents()
    with pytest.raises(OSError, match="No space left"):
        fail_to_write(store, full)
    assert contents() == before
    assert np.array_equal(store.load("x"), ROWS)
    assert "new" not in store
    yield store
    full["full"] = False


def run_block(store: NumPack) -> None:
    with store.batch_mode():
        assert np.array_equal(store.load("x"), CHANGED)


LATER = {"sync": lambda s: s.sync(), "close": lambda s: s.close(), "block": run_block}


@pytest.mark.parametrize("later", LATER)
def test_failed_write_is_retried_later(failed, full, later):
    with pytest.raises(OSError, match="No space left"):
        LATER[later](failed)
    assert failed.is_opened
    full["full"] = False
    LATER[later](failed)
    assert np.array_equal(read_back(), CHANGED)
    assert np.array_equal(read_back("new"), ROWS)


@pytest.mark.parametrize("later", LATER)
def test_retried_write_does_not_overwrite_later_changes(failed, full, later):
    full["full"] = False
    failed.save({"x": ROWS * 2})
    failed.drop("new")
    if later != "block":
        LATER[later](failed)
    assert np.array_equal(read_back(), ROWS * 2)
    with NumPack("s.npk") as other:
        assert "new" not in other


def test_append_after_a_failed_write_sees_the_pending_changes(failed, full):
    full["full"] = False
    failed.append({"x": ROWS[:1], "new": ROWS[:1]})
    assert np.array_equal(read_back(), np.concatenate([CHANGED, ROWS[:1]]))
    assert np.array_equal(read_back("new"), np.concatenate([ROWS, ROWS[:1]]))


def test_reset_discards_pending_changes(failed, full):
    full["full"] = False
    failed.reset()
    failed.sync()
    assert list(failed) == []


def test_failed_early_write_loses_nothing(store, full):
    held = []

    def fill() -> None:
        with store.batch_mode(memory_limit=0):
            held.append(store.load("x"))
            held[0][0] = -1
            full["full"] = True
            store.load("y")

    with pytest.raises(OSError, match="No space left"):
        fill()
    full["full"] = False
    store.sync()
    assert np.array_equal(read_back(), CHANGED)
