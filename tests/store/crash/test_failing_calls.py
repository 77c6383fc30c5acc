"""A log that cannot be extended, and failing system calls; test_faults.py tries every call."""

from __future__ import annotations

import errno
import os
import resource

import numpy as np
import pytest
from support.files import contents

from numpack import NumPack

ROWS = np.arange(6.0).reshape(3, 2)


def state_of(store: NumPack) -> dict[str, list]:
    """Return all values of a store."""
    return {name: store.load(name).tolist() for name in store}


def state() -> dict[str, list]:
    """Return all values that a new handle sees."""
    with NumPack("s.npk") as store:
        return state_of(store)


@pytest.fixture
def limit_log():
    """Limit the size of files to the log and `room` more bytes; None lifts the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def limit(room: int | None) -> None:
        size = soft if room is None else os.path.getsize("s.npk/commits.log") + room
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))

    yield limit
    limit(None)


WRITES = {
    "save": lambda s: s.save({"new": ROWS, "x": -ROWS}),
    "append": lambda s: s.append({"x": ROWS, "y": ROWS}),
    "drop": lambda s: s.drop(["x", "y"]),
}


@pytest.mark.parametrize("call", WRITES)
@pytest.mark.parametrize("room", [0, 1, 30, 60])
def test_log_that_cannot_be_extended_is_an_error_and_changes_nothing(
    store, limit_log, call, room
):
    store.save({"x": ROWS, "y": ROWS})
    lazy = store.load("x", lazy=True)
    before, files = state(), contents()
    limit_log(room)
    with pytest.raises(OSError, match="File too large") as raised:
        WRITES[call](store)
    assert raised.value.errno == errno.EFBIG
    assert state() == state_of(store) == before
    assert contents() == files
    limit_log(None)
    WRITES[call](store)
    assert state() == state_of(store) != before
    assert np.array_equal(lazy, ROWS)
