"""Requests and bytes, counted by the proxy."""

from __future__ import annotations

import numpy as np

ROW = 512  # bytes of a row of "x"


def test_opening_takes_two_requests(open_remote, url, proxy):
    with proxy.counted() as requests:
        store = open_remote(url)
        assert store.get_shape("x") == (20_000, 128)
        assert len(list(store)) == 7
        store.load("x", lazy=True)
    assert len(requests) <= 2
    assert sum(request.received for request in requests) < 1 << 17


def test_closing_and_opening_again_takes_two_requests(open_remote, url, proxy):
    for _ in range(2):
        with proxy.counted() as requests:
            open_remote(url).close()
        assert len(requests) <= 2


def test_opening_beside_a_long_log(open_remote, seaweedfs, bucket, prefix, proxy):
    """A log longer than its snapshot needs more than the tail at most once."""
    from numpack import NumPack

    from .conftest import upload

    with NumPack("s.npk") as npk:
        for number in range(300):
            npk.save({f"array {number}": np.arange(number)})
    upload(seaweedfs, "s.npk", prefix)
    with proxy.counted() as requests:
        assert len(open_remote(bucket.url(prefix))) == 300
    assert len(requests) <= 3


def test_rows_far_apart_are_not_fetched_with_what_is_between(remote, local, proxy):
    random = np.random.default_rng(0)
    for _ in range(5):
        index = random.choice(20_000, 200, replace=False)
        with proxy.counted() as requests:
            found = remote.getitem("x", index)
        assert (found == local.getitem("x", index)).all()
        assert sum(request.received for request in requests) <= 2 * 200 * ROW + (1 << 10)


def test_neighbouring_rows_are_fetched_together(remote, local, proxy):
    proxy.delay = 0.02
    index = np.arange(3000, 5000)[::2]
    with proxy.counted() as requests:
        found = remote.getitem("x", index)
    assert (found == local.getitem("x", index)).all()
    assert len(requests) < 100
    assert sum(request.received for request in requests) <= 2.5 * 1000 * ROW + (2 << 20)


def test_cached_rows_take_no_request(remote, local, proxy):
    """Consecutive rows fill the cache; a second read, and rows between, need no request."""
    for name in ("x", "dropped"):
        remote.load(name, lazy=True)[:]
        with proxy.counted() as requests:
            assert (remote.load(name, lazy=True)[:] == local[name]).all()
            assert (remote.getitem(name, [5, 7, 5000]) == local[name][[5, 7, 5000]]).all()
            assert (remote.load(name) == local[name]).all()
        assert requests == []


def test_the_cache_serves_the_next_handle(open_remote, url, local, proxy):
    for number in range(2):
        with open_remote(url) as store, proxy.counted() as requests:
            assert (store.load("x", lazy=True)[:] == local["x"]).all()
        if number:
            assert sum(request.received for request in requests) < 1 << 16  # checksums


def test_another_folder_begins_empty(open_remote, url, proxy):
    open_remote(url).load("x", lazy=True)[:]
    with proxy.counted() as requests:
        open_remote(url, cache="other").load("x", lazy=True)[:]
    assert sum(request.received for request in requests) >= 20_000 * ROW


def test_random_rows_end_in_the_cache(remote, local, proxy):
    """Reading rows again and again fetches each byte a few times, not six."""
    random = np.random.default_rng(0)
    for _ in range(24):
        index = random.choice(20_000, 5000, replace=False)
        assert (remote.getitem("x", index) == local.getitem("x", index)).all()
    with proxy.counted() as requests:
        assert (remote.getitem("x", index) == local.getitem("x", index)).all()
    assert requests == []
    assert proxy.received <= 4 * 20_000 * ROW


def test_an_epoch_fetches_each_block_once(remote, local, proxy):
    from numpack import Loader

    loader = Loader(remote, "x", batch_size=250, target="numpy")
    counts = []
    for _ in range(2):
        with proxy.counted() as requests:
            assert sum(len(batch) for batch in loader) == 20_000
        counts.append(sum(request.received for request in requests))
    assert counts[0] <= 1.1 * 20_000 * ROW
    assert counts[1] == 0
