"""Rows are fetched by ranges or by blocks, whichever is less."""

import numpy as np

BLOCK = 1 << 20


def test_few_rows_of_many_blocks_are_fetched_by_ranges(opened, arrays):
    npk, store = opened()
    rows = [4999, 3, 1500, 3, 2600]
    assert (npk.getitem("rows", rows) == arrays["rows"][rows]).all()
    assert store.bytes_of("ranges") == 4000
    assert (npk.getitem("rows", [10, 11, 12]) == arrays["rows"][10:13]).all()
    assert store.requests[-1][:3] == ("ranges", store.requests[-1][1], 1)


def test_a_loader_fetches_large_arrays_by_huge_pages(opened, arrays, monkeypatch):
    npk, store = opened()
    rows = npk.load("rows", lazy=True)
    rows.fetch(np.array([3]))
    assert store.bytes_of("ranges") == BLOCK  # of a small array
    monkeypatch.setattr("numpack.store.remote.rows._LARGE", 0)
    rows.fetch(np.array([3]))
    assert store.bytes_of("ranges") == 2 * BLOCK
    rows.fetch(np.array([2500, 4999]))  # the last block is alone
    assert rows.is_complete
    assert store.bytes_of("ranges") == arrays["rows"].nbytes
    assert (rows[:] == arrays["rows"]).all()


def test_most_rows_of_a_block_fetch_it(opened, arrays):
    npk, store = opened()
    rows = np.random.default_rng(0).permutation(1048)[:700]
    assert (npk.getitem("rows", rows) == arrays["rows"][rows]).all()
    assert store.bytes_of("ranges") == BLOCK
    assert (npk.getitem("rows", rows[::-1]) == arrays["rows"][rows[::-1]]).all()
    assert store.bytes_of("ranges") == BLOCK


def test_bytes_are_never_more_than_twice_those_asked_for(opened, arrays):
    rng = np.random.default_rng(5)
    for name, most in (("rows", 5000), ("flat", 400_000), ("wide", 5)):
        width = arrays[name].nbytes // len(arrays[name])
        for count in (1, 2, 5, 100, 3000):
            npk, store = opened(cache=f"cache-{name}-{count}")
            rows = rng.integers(0, most, min(count, most))
            assert (npk.getitem(name, rows) == arrays[name][rows]).all()
            assert store.bytes_of("ranges") <= 2 * width * len(np.unique(rows)), (name, count)


def test_reading_again_and_again_ends_in_the_cache(opened, arrays):
    npk, store = opened()
    rng = np.random.default_rng(2)
    for _ in range(200):
        rows = rng.integers(0, 5000, 200)
        assert (npk.getitem("rows", rows) == arrays["rows"][rows]).all()
    assert npk.load("rows", lazy=True).is_complete
    assert store.bytes_of("ranges") <= 2 * arrays["rows"].nbytes + 5 * 200_000


def test_rows_read_one_after_another_fetch_blocks(opened, arrays):
    npk, store = opened()
    for row in range(0, 2000, 10):
        assert (
            npk.getitem("rows", slice(row, row + 10)) == arrays["rows"][row : row + 10]
        ).all()
    assert sum(kind == "ranges" for kind, *_ in store.requests) <= 4


def test_masks_and_steps(opened, arrays):
    npk, store = opened()
    mask = np.arange(5000) % 997 == 1
    assert (npk.getitem("rows", mask) == arrays["rows"][mask]).all()
    assert store.bytes_of("ranges") <= 2000 * mask.sum()
    step = slice(None, None, -1300)
    assert (npk.getitem("rows", step) == arrays["rows"][step]).all()
    assert (npk.load("rows", lazy=True)[step] == arrays["rows"][step]).all()


def test_wide_rows_that_are_read_twice_end_in_the_cache(opened, arrays):
    npk, store = opened()
    for _ in range(3):
        assert (npk.getitem("wide", [2]) == arrays["wide"][[2]]).all()
    assert store.bytes_of("ranges") <= 2 * arrays["wide"][2].nbytes + 2 * BLOCK
    before = len(store.requests)
    npk.getitem("wide", [2])
    assert len(store.requests) == before


def test_wide_rows(opened, arrays):
    npk, _ = opened()
    for rows in ([1], [4, 0], [2, 2, 3]):
        assert (npk.getitem("wide", rows) == arrays["wide"][rows]).all()
    assert (npk.load("wide", lazy=True)[3, 1] == arrays["wide"][3, 1]).all()
