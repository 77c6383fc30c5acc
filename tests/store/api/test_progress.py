"""Progress callbacks, and I/O statistics."""

from __future__ import annotations

import numpy as np
import pytest
from support.files import contents

from numpack import NumPack, StoreClosedError
from numpack.store.format import data_files
from numpack.store.kernels.checksums import BLOCK
from numpack.store.reading import verify
from numpack.store.rows import live_rows

ROWS = np.arange(12.0).reshape(6, 2)


@pytest.fixture
def filled():
    with NumPack("s.npk") as store:
        store.save({"x": ROWS, "number": np.array(5)})
    return contents()


@pytest.fixture
def store(filled):
    with NumPack("s.npk") as opened:
        yield opened


LARGE = np.arange(5_000_000.0 / 8)  # several chunks


def save_in_a_batch(store, progress):
    with store.batch_mode():
        store.save({"new": LARGE, "also": ROWS}, progress=progress)


def load_in_a_batch(store, progress):
    with store.batch_mode():
        store.load("large")
        store.load("large", progress=progress)


LONG = {
    "save": lambda s, p: s.save({"new": LARGE, "also": ROWS}, progress=p),
    "save of another byte order": lambda s, p: s.save({"new": LARGE.astype(">f8")}, progress=p),
    "save in a batch": save_in_a_batch,
    "load": lambda s, p: s.load("large", progress=p),
    "load in a batch": load_in_a_batch,
    "load where rows were dropped": lambda s, p: s.load("holed", progress=p),
    "clone": lambda s, p: s.clone("large", "new", progress=p),
    "update": lambda s, p: s.update("holed", progress=p),
    "verify": lambda s, p: s.verify(progress=p),
}


AT_ONCE = ("save in a batch", "load in a batch", "load where rows were dropped")


@pytest.fixture
def large(store, monkeypatch):
    """Save arrays of several chunks, which are made smaller."""
    for module, name in (
        (data_files, "_CHUNK_BYTES"),
        (data_files, "_CONVERTED_BYTES"),
        (live_rows, "_READ_NBYTES"),
        (verify, "_READ_NBYTES"),
    ):
        monkeypatch.setattr(module, name, 2 * BLOCK)
    store.save({"large": LARGE, "holed": LARGE})
    store.drop("holed", [5, 7])
    return store


@pytest.mark.parametrize("call", LONG)
def test_progress_increases_to_the_total(large, call):
    calls_made: list[tuple[int, int]] = []
    LONG[call](large, lambda done, total: calls_made.append((done, total)))
    assert len(calls_made) > 1 or call in AT_ONCE
    total = calls_made[0][1]
    assert calls_made[-1] == (total, total)
    assert total > 0
    assert all(each[1] == total for each in calls_made)
    assert [done for done, _ in calls_made] == sorted({done for done, _ in calls_made})


class Stopped(Exception):
    pass


@pytest.mark.parametrize("at", [0.0, 1.0])
@pytest.mark.parametrize("call", LONG)
def test_exception_in_the_callback_leaves_the_store_unchanged(large, call, at):
    def stop(done: int, total: int) -> None:
        if done >= at * total:
            raise Stopped

    before = contents()
    with pytest.raises(Stopped):
        LONG[call](large, stop)
    assert contents() == before
    assert large.verify().ok
    LONG[call](large, None)
    assert large.verify().ok


def test_io_stats_count_commits_bytes_and_mappings():
    with NumPack("s.npk") as store:
        assert store.get_io_stats() == {
            "commits": 0,
            "bytes_read": 0,
            "bytes_written": 0,
            "mappings": 0,
        }
        store.save({"x": ROWS, "y": ROWS})
        stats = store.get_io_stats()
        assert stats["commits"] == 1
        assert 2 * ROWS.nbytes < stats["bytes_written"] < 2 * ROWS.nbytes + 1000
        store.load("x")
        assert store.get_io_stats()["bytes_read"] == ROWS.nbytes
        store.getitem("x", [0, 0, 1])
        assert store.get_io_stats()["bytes_read"] == ROWS.nbytes + 3 * 16
        for _ in range(3):
            store.load("y", lazy=True)
        assert store.get_io_stats()["mappings"] <= 2
        store.append({"x": ROWS})
        store.replace({"x": ROWS[:1]}, 0)
        store.drop("x", 0)
        store.drop("absent")
        store.save({})
        assert store.get_io_stats()["commits"] == 4
        store.get_io_stats()["commits"] = 99
        assert store.get_io_stats()["commits"] == 4
    with pytest.raises(StoreClosedError):
        store.get_io_stats()
