"""Lazy arrays of a remote store behave as local ones, and fetch what they need."""

import copy
import ctypes
import itertools

import numpy as np
import pytest

import numpack
from numpack import NumPack
from numpack.store.remote.array import RemoteArray

BLOCK = 1 << 20

KEYS = [
    0, -1, np.int64(3), slice(2, 4), slice(None), slice(None, None, -1), slice(1, 90, 7), ...,
    None, (0, 1), (slice(1, 3), 0), (slice(None), slice(2, 5)), (..., 0), (0, ...), [0, 2, -1],
    np.array([[0, 1], [2, 3]]), (slice(0, 3), [0, 1]), ([0, 1], 0), ([0, 1], slice(1, 2)), (),
    (None, 1), (slice(3, 3),), True, ([1, 0], 1),
    (np.array([2, 1]), slice(0, 2)), ([0, 1], None, 1),
    ([0, 1], ..., 2), ([0, 1], [0, 1]),
]  # fmt: skip


def test_indexes_as_the_local_array_does(opened, arrays):
    npk, _ = opened()
    with NumPack("s.npk", mode="r") as local:
        for name, key in itertools.product(("rows", "wide", "dropped", "span"), KEYS):
            npk._session().release_cached()
            expected, found = local.load(name, lazy=True)[key], npk.load(name, lazy=True)[key]
            assert type(found) is type(expected), (name, key)
            assert (found.shape, found.dtype) == (expected.shape, expected.dtype), (name, key)
            assert (found == expected).all(), (name, key)
            if isinstance(found, np.ndarray):
                assert found.flags.writeable == expected.flags.writeable, (name, key)


def test_flat_arrays_yield_scalars(opened, arrays):
    npk, _ = opened()
    flat = npk.load("flat", lazy=True)
    assert flat[7] == 7
    assert type(flat[7]) is np.float64
    assert list(itertools.islice(flat, 3)) == [0, 1, 2]


def test_an_index_out_of_range_fetches_nothing(opened, arrays):
    npk, store = opened()
    for name in ("rows", "dropped"):
        lazy = npk.load(name, lazy=True)
        for key in (5000, -5001, (5000, 0)):
            with pytest.raises(IndexError):
                lazy[key]
    assert not store.bytes_of("ranges")


def test_iterates_as_the_local_array_does(opened, arrays):
    npk, _ = opened()
    for name, expected in arrays.items():
        if expected.shape:
            rows = list(npk.load(name, lazy=True))
            assert len(rows) == len(expected)
            assert all(np.all(a == b) for a, b in zip(rows[:50], expected[:50], strict=True))
    with pytest.raises(TypeError):
        iter(npk.load("scalar", lazy=True))
    npk.close()
    npk.open()
    first = next(iter(npk.load("rows", lazy=True)))
    assert (first == arrays["rows"][0]).all()


def test_rows_and_views_fetch_their_blocks_only(opened, arrays):
    npk, store = opened()
    lazy = npk.load("rows", lazy=True)
    assert lazy.shape == (5000, 1000)
    assert lazy.flags.c_contiguous
    assert lazy.size == 5_000_000
    assert not store.bytes_of("ranges")
    lazy[10], lazy[20:30], lazy.rows(5, 500)[3], lazy[::-1][:0]
    fetched = {name for kind, name, _, _ in store.requests if kind == "ranges"}
    assert len(fetched) == 1
    lazy = npk.load("flat", lazy=True)
    before = store.bytes_of("ranges")
    assert lazy[-1] == 399_999
    assert store.bytes_of("ranges") - before == arrays["flat"].nbytes % BLOCK
    np.asarray(lazy.rows(0, 10))
    assert store.bytes_of("ranges") - before == arrays["flat"].nbytes % BLOCK + BLOCK


def test_ranges_of_rows_are_arrays_of_their_own(opened, arrays):
    npk, _ = opened()
    for name in ("rows", "dropped", "span"):
        part = npk.load(name, lazy=True).rows(10, -5)
        assert isinstance(part, RemoteArray)
        assert (part.rows(3, 4)[0] == arrays[name][13]).all()
        assert (part.take([0, -1]) == arrays[name][10:-5][[0, -1]]).all()
        assert (part.copied() == arrays[name][10:-5]).all()
        assert part.rows(4, 4).shape == (0, 1000)


def test_computes_and_copies_as_the_local_array_does(opened, arrays):
    npk, _ = opened()
    for name in ("rows", "dropped", "wide"):
        lazy, expected = npk.load(name, lazy=True), arrays[name]
        assert (lazy + 1 == expected + 1).all()
        assert lazy.sum() == expected.sum()
        assert lazy.max() == expected.max()
        assert (lazy.mean(axis=0) == expected.mean(axis=0)).all()
        assert copy.copy(lazy) is lazy
        assert (copy.deepcopy(lazy) == expected).all()
        assert lazy.tobytes() == expected.tobytes()
    assert bytes(npk.load("flat", lazy=True)) == arrays["flat"].tobytes()
    with pytest.raises(numpack.UnsupportedError):
        npk.load("rows", lazy=True)[0] = 1


def test_writes_to_a_view_stay_private(opened, arrays):
    npk, _ = opened()
    view = np.asarray(npk.load("rows", lazy=True))
    view.flags.writeable = False
    ctypes.memset(view.ctypes.data, 0, 1000)
    assert not view[0].any()
    assert (npk.load("rows", lazy=True)[0] == arrays["rows"][0]).all()


def test_costs_nothing_more_when_all_is_there(opened, arrays):
    npk, store = opened()
    lazy = npk.load("rows", lazy=True)
    lazy.sum()
    assert lazy.is_complete
    before = len(store.requests)
    lazy[3], lazy.take([1, 2]), lazy[5:9], list(lazy.rows(0, 3)), npk.getitem("rows", [4])
    assert len(store.requests) == before


def test_an_array_that_does_not_fit_is_read_by_rows(opened, arrays):
    for options in ({"cache_bytes": 0}, {"cache_bytes": BLOCK}):
        npk, store = opened(**options)
        lazy, expected = npk.load("rows", lazy=True), arrays["rows"]
        assert (lazy[7] == expected[7]).all()
        assert not lazy[7].flags.writeable
        assert (lazy[3:5] == expected[3:5]).all()
        assert not lazy[3:5].flags.writeable
        assert (lazy[3:5, 7] == expected[3:5, 7]).all()
        assert (lazy.take([4, 4999]) == expected[[4, 4999]]).all()
        assert store.bytes_of("ranges") < BLOCK
        assert (next(iter(lazy)) == expected[0]).all()
        assert (lazy.copied() == expected).all()
        assert (npk.load("rows") == expected).all()
        live = npk.load("dropped", lazy=True)
        assert (live[3:8] == arrays["dropped"][3:8]).all()
        assert (live.copied() == arrays["dropped"]).all()
        for use in (lambda x=lazy: np.asarray(x), lambda x=lazy: x + 1, lazy.sum):
            with pytest.raises(
                numpack.StoreError, match=r"cannot be mapped.*cache_bytes=.*load"
            ):
                use()
    assert (npk.load("small", lazy=True) + 0 == arrays["small"]).all()
