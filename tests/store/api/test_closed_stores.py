"""Calls on stores that are closed, read-only, or opened outside of a with statement."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from support.files import contents

from numpack import NumPack, StoreClosedError, StoreError

ROWS = np.arange(12.0).reshape(6, 2)


@pytest.fixture
def filled():
    """Create and close a store; return the contents of its files."""
    with NumPack("s.npk") as store:
        store.save({"x": ROWS, "number": np.array(5)})
    return contents()


def write_in_place(store: NumPack) -> None:
    with store.writable_batch_mode() as batch:
        batch.load("x")


MUTATIONS = {
    "save": lambda s: s.save({"y": ROWS}),
    "save of nothing": lambda s: s.save({}),
    "append": lambda s: s.append({"x": ROWS}),
    "replace": lambda s: s.replace({"x": ROWS[:1]}, 0),
    "drop": lambda s: s.drop("x"),
    "drop of rows": lambda s: s.drop("x", 0),
    "update": lambda s: s.update("x"),
    "clone": lambda s: s.clone("x", "y"),
    "reset": lambda s: s.reset(),
    "set": lambda s: s.__setitem__("y", ROWS),
    "del": lambda s: s.__delitem__("x"),
    "write in place": write_in_place,
    "begin of a parallel write": lambda s: s.begin("y", 3, "f8"),
}
READING = {
    "load": lambda s: s.load("x"),
    "verified load": lambda s: s.load("x", verify=True),
    "lazy load": lambda s: s.load("x", lazy=True),
    "getitem": lambda s: s.getitem("x", [0]),
    "stream_load": lambda s: list(s.stream_load("x")),
    "share": lambda s: s.share("x", "dlpack"),
    "verify": lambda s: s.verify(),
    "get_metadata": lambda s: s.get_metadata(),
    "items": lambda s: dict(s.items()),
    "batch_mode": lambda s: s.batch_mode().__enter__().load("x"),
}
CALLS = {
    **MUTATIONS,
    **READING,
    "begin of stream_load": lambda s: s.stream_load("x"),
    "has_array": lambda s: s.has_array("x"),
    "get_member_list": lambda s: s.get_member_list(),
    "iteration": iter,
    "get_shape": lambda s: s.get_shape("x"),
    "get_modify_time": lambda s: s.get_modify_time("x"),
    "begin of batch_mode": lambda s: s.batch_mode().__enter__(),
    "begin of writable_batch_mode": lambda s: s.writable_batch_mode().__enter__(),
    "sync": lambda s: s.sync(),
}


@for_each("call", CALLS)
def test_store_never_opened_refuses_calls(filled, call):
    for path in ("never", "s.npk"):
        with pytest.raises(StoreClosedError, match="not opened or has been closed") as raised:
            CALLS[call](NumPack(path))
        assert isinstance(raised.value, RuntimeError)
    assert not Path("never").exists()
    assert contents() == filled


@for_each("call", CALLS)
def test_closed_store_refuses_calls(filled, call):
    with NumPack("s.npk") as store:
        pass
    with pytest.raises(StoreClosedError, match="not opened or has been closed"):
        CALLS[call](store)
    assert contents() == filled


@for_each("call", MUTATIONS)
def test_read_only_store_refuses_every_change(filled, call):
    with NumPack("s.npk", mode="r") as store:
        with pytest.raises(StoreError, match=r"opened with mode='r'; open it with mode='r\+'"):
            MUTATIONS[call](store)
        assert np.array_equal(store.load("x"), ROWS)
    assert contents() == filled


@for_each("call", READING)
def test_reading_changes_no_file(filled, call):
    Path("s.npk/lock").unlink(missing_ok=True)
    before = contents()
    with NumPack("s.npk", mode="r") as store:
        READING[call](store)
    assert contents() == before


def test_strict_store_requires_a_with_statement(filled):
    store = NumPack("s.npk", strict_context_mode=True)
    store.open()
    for call in [*READING.values(), *MUTATIONS.values(), len, iter, NumPack.get_io_stats]:
        with pytest.raises(StoreClosedError, match="strict context mode") as raised:
            call(store)
        assert "not opened or has been closed" in str(raised.value)
    assert contents() == filled
    with store:
        with store:
            assert len(store) == 2
        store.open()
        assert np.array_equal(store.load("x"), ROWS)
    with pytest.raises(StoreClosedError, match="strict context mode"):
        store.load("x")
    store.close()
