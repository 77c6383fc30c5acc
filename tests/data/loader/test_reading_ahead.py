"""Files that are not in the page cache, and that are larger than memory."""

from __future__ import annotations

import os
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from numpack import Loader, NumPack
from numpack.data.epoch import passes, resident

pytestmark = pytest.mark.system

ROWS, WIDTH = 60_000, 512  # 30 MB


@pytest.fixture
def store():
    with NumPack("s.npk") as npk:
        npk.save({"x": np.arange(ROWS, dtype="u4").repeat(WIDTH // 4).reshape(ROWS, -1)})
        yield npk


def drop_from_page_cache(npk):
    file = Path("s.npk") / npk.get_metadata()["arrays"]["x"]["data_file"]
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def loader(npk, **options):
    return Loader(npk, "x", **{"batch_size": 64, "target": "numpy", **options})


def mincore(array):
    """Return how many pages of an array's mapping are in the page cache, of how many."""
    import ctypes

    page = os.sysconf("SC_PAGE_SIZE")
    start = array.__array_interface__["data"][0] // page * page
    length = array.__array_interface__["data"][0] + array.nbytes - start
    found = (ctypes.c_ubyte * (-(-length // page)))()
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.mincore(ctypes.c_void_p(start), ctypes.c_size_t(length), found) == 0
    return sum(each & 1 for each in found), len(found)


def test_pages_of_later_batches_are_requested(store):
    whole = np.asarray(store.load("x", lazy=True))
    for threads in (1, 3):
        batches = iter(loader(store, threads=threads, prefetch=2))
        batches._samples.unmap_pages()
        drop_from_page_cache(store)
        before, pages = mincore(whole)
        assert before < pages // 10
        for _ in range(10):
            next(batches)
        known = batches._requested
        assert sum(len(samples) for _, samples, _ in known) >= passes._AHEAD_SAMPLES - 64
        for each in [copy for _, _, requests in known for copy in requests]:
            batches._queue.wait(each)
        rows = np.concatenate([samples for _, samples, _ in known])
        resident_rows = [mincore(whole[row : row + 1])[0] > 0 for row in rows[::500]]
        assert np.mean(resident_rows) > 0.8
        found = np.concatenate([batch[:, 0] for batch in batches])
        assert len(found) == ROWS - 640


def test_requests_end_when_all_pages_are_in_memory(store):
    batches = iter(loader(store, threads=1))
    batches._samples.unmap_pages()
    drop_from_page_cache(store)
    for _ in range(3):
        next(batches)
    assert batches._cold
    int(store.load("x").sum())  # reads the file
    for _ in range(passes._AHEAD_SAMPLES // 64 + passes._WARM_BATCHES + 3):
        next(batches)
    assert not batches._cold


def test_values_from_a_cold_cache(store):
    for options in ({}, {"prefetch": 0}, {"window": 3, "stride": 2}, {"shuffle": False}):
        drop_from_page_cache(store)
        for batch in loader(store, batch_size=1000, **options):
            first = batch[:, 0] if batch.ndim == 3 else batch
            assert (
                batch
                == first[..., :1].reshape(len(batch), *[1] * (batch.ndim - 1))
                + (np.arange(3)[:, None] if batch.ndim == 3 else 0)
            ).all()


def test_ragged_values_from_a_cold_cache(store):
    store.save({"o": np.arange(0, ROWS + 1, 6)})
    drop_from_page_cache(store)
    seen = []
    for batch in Loader(store, offsets="o", batch_size=100, target="numpy"):
        assert (np.diff(batch["cu_seqlens"]) == 6).all()
        firsts = batch["x"][::6, 0]
        assert (batch["x"][:, 0] == firsts.repeat(6) + np.tile(np.arange(6), 100)).all()
        seen += firsts.tolist()
    assert sorted(seen) == list(range(0, ROWS, 6))


def test_the_first_batch_of_a_billion_rows_takes_no_memory():
    rows = np.memmap("sparse.bin", "u1", "w+", shape=(10**9,))
    rows[123_456_789:123_456_792] = 1, 2, 3
    loaders = {
        "rows": Loader({"x": rows}, "x", target="numpy"),
        "ranks": Loader({"x": rows}, "x", target="numpy", rank=3, world_size=8),
        "windows": Loader({"x": rows}, "x", target="numpy", window=3, stride=1, shuffle=False),
    }
    tracemalloc.start()
    for given in loaders.values():
        assert len(next(iter(given))) == 256
    given = loaders["windows"]
    given.load_state_dict({**given.state_dict(), "epoch": 5, "position": 123_456_789})
    assert next(iter(given))[0].tolist() == [1, 2, 3]
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()
    assert os.stat("sparse.bin").st_blocks * 512 < 1 << 20


def test_nothing_is_requested_of_memory():
    given = Loader({"x": np.zeros((100_000, 16))}, "x", batch_size=64, target="numpy")
    batches = iter(given)
    for _ in range(50):
        next(batches)
    assert not batches._cold


def test_the_resident_size_stays_below_a_limit(monkeypatch):
    resident_files = resident.resident_files
    rows, nbytes = 50_000, 200_000_000  # the kernel may map 2 MB of them at a time
    with NumPack("s.npk") as npk:
        npk.save({"x": np.arange(rows, dtype="u4").repeat(1000).reshape(rows, -1)})
        given = loader(npk, batch_size=16)
    before = resident_files()
    for _ in range(2):
        for _ in given:
            pass
    assert resident_files() - before > nbytes * 3 // 4
    monkeypatch.setattr(resident, "resident_files", lambda: resident_files() - before)
    monkeypatch.setattr(resident, "limit", lambda: 4 << 20)
    monkeypatch.setattr(passes, "_CHECKED", 1)
    most = 0
    for batch in given:
        most = max(most, resident_files())
        assert (batch == batch[:, :1]).all()
    assert most - before < nbytes // 2


def test_the_limit_is_below_what_the_machine_has():
    physical = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    assert 0 < resident.limit() <= physical // 2
    assert not resident.ResidentLimit().is_exceeded()


def test_what_other_mappings_take_is_accepted(monkeypatch):
    size, asked = [100], resident.ResidentLimit()
    monkeypatch.setattr(resident, "resident_files", lambda: size[0])
    monkeypatch.setattr(resident, "limit", lambda: 80)
    assert asked.is_exceeded()
    asked.accept()
    for size[0], exceeded in ((100, False), (110, False), (111, True)):
        assert asked.is_exceeded() == exceeded
