"""Calls during a call on the same thread: by callbacks, conversions and signal handlers."""

from __future__ import annotations

import os
import signal
import threading

import numpy as np
import pytest

from numpack import NumPack, StoreError
from numpack.store import session

ROWS = np.arange(6.0).reshape(3, 2)


@pytest.fixture
def store():
    with NumPack("s.npk") as opened:
        opened.save({"x": ROWS})
        yield opened


def run_with_timeout(call, seconds=20):
    """Make a call on a thread and return its result or exception; fail if it does not end."""
    results = []

    def run():
        try:
            results.append(call())
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    assert results, "it waits for ever"
    return results[0]


def read_all(mode):
    with NumPack("s.npk", mode=mode) as reader:
        found = reader.load("x").tolist()
        assert reader.getitem("x", [0, 1, 2]).tolist() == found
        assert reader.load("x", lazy=True)[:].tolist() == found
        assert reader.verify().ok
        return found


class Reentrant:
    """An array whose conversion uses the store."""

    def __init__(self, use):
        self.use = use

    @property
    def __array_interface__(self):
        self.use()
        return ROWS.__array_interface__


WRITES = {
    "append": lambda s: s.append({"x": ROWS}),
    "save": lambda s: s.save({"y": ROWS}),
    "replace": lambda s: s.replace({"x": ROWS[:1]}, 0),
    "drop": lambda s: s.drop("x"),
    "sync": lambda s: s.sync(),
}


@pytest.mark.parametrize("write", WRITES)
def test_write_by_another_handle_in_a_callback_is_refused_at_once(store, write):
    def report(done, total):
        with (
            NumPack("s.npk") as other,
            pytest.raises(StoreError, match=r"this thread is writing .* do so after the call"),
        ):
            WRITES[write](other)
        with pytest.raises(StoreError, match="this thread is writing"):
            NumPack("s.npk", mode="w").open()
        calls.append(done)

    calls = []
    assert run_with_timeout(lambda: store.save({"new": ROWS}, progress=report)) is None
    assert calls
    with NumPack("s.npk") as other:
        WRITES[write](other)


def test_read_by_another_handle_in_a_callback(store):
    def report(done, total):
        found.append(read_all("a"))
        found.append(read_all("r"))

    found = []
    assert run_with_timeout(lambda: store.save({"new": ROWS}, progress=report)) is None
    assert found == [ROWS.tolist()] * len(found) != []


def test_write_while_reading_with_writers_excluded_is_refused(store, monkeypatch):
    monkeypatch.setattr(session, "_OPTIMISTIC_READS", 0)

    def report(done, total):
        with pytest.raises(StoreError, match="reading from it with writers excluded"):
            store.append({"x": ROWS})
        calls.append(done)

    calls = []
    found = run_with_timeout(lambda: store.load("x", progress=report))
    assert found.tolist() == ROWS.tolist()
    assert calls
    store.append({"x": ROWS})


def test_array_whose_conversion_writes_to_the_store(store):
    def use():
        with NumPack("s.npk") as other:
            other.save({"other": ROWS})

    assert run_with_timeout(lambda: store.save({"new": Reentrant(use)})) is None
    assert store.get_member_list() == ["x", "other", "new"]


def test_signal_handler_that_writes_by_its_own_handle_is_refused(store):
    errors = []

    def handle(number, frame):
        try:
            with NumPack("s.npk") as mine:
                mine.save({"state": ROWS})
        except StoreError as error:
            errors.append(str(error))

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        report = lambda done, total: os.kill(os.getpid(), signal.SIGUSR1)
        store.save({"new": ROWS}, progress=report)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert len(errors) == 1
    assert "this thread is writing" in errors[0]
    assert store.verify().ok
