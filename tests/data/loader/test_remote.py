"""Loaders of a store in an object store, which is a folder here."""

import itertools
import os
import pickle

import numpy as np
import pytest
from support.store import remote
from support.store.remote import FolderStore, url_of

from numpack import Loader, MovedError, NumPack
from numpack.data import Dataset

BLOCK = 1 << 20


@pytest.fixture
def url(monkeypatch, tmp_path):
    """Make a store, and return its URL."""
    remote.install(monkeypatch)
    monkeypatch.setenv("NUMPACK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NUMPACK_CACHE_BYTES", str(1 << 30))
    rng = np.random.default_rng(0)
    with NumPack("s.npk") as npk:
        rows = rng.integers(0, 256, (6000, 1000), dtype=np.uint8)
        npk.save({"x": rows, "y": np.arange(6000), "d": rows[:, :700].copy()})
        npk.drop("d", [3, 100, 5999])
        npk.save({"tokens": np.arange(100_000), "offsets": np.arange(0, 100_001, 50)})
    return url_of("s.npk")


def same(url, names, **options):
    """Return two loaders of equal batches: of the remote store and of the local one."""
    options = {"target": "numpy", "batch_size": 128, "shuffle": True, **options}
    return Loader(url, names, **options), Loader("s.npk", names, **options)


def assert_equal(one, other):
    count = 0
    for found, expected in itertools.zip_longest(one, other):
        assert found.keys() == expected.keys()
        for name, array in expected.items():
            assert found[name].dtype == array.dtype
            assert (found[name] == array).all()
        count += 1
    assert count


def test_batches_are_those_of_the_local_store(url):
    for names, options in (
        (["x", "y"], {}),
        (["x", "y"], {"shuffle": False}),
        (["x"], {"window": 5, "stride": 3}),
        (["d"], {}),
        (["d"], {"shuffle": False, "drop_last": True}),
        (["tokens"], {"offsets": "offsets"}),
        (["tokens"], {"offsets": "offsets", "pad": 0}),
        (["x"], {"rows": slice(100, 5000, 7)}),
        (["x"], {"prefetch": 0}),
        (["x"], {"rank": 1, "world_size": 3}),
    ):
        one, other = same(url, names, **options)
        for _ in range(2):
            assert_equal(one, other)


def test_without_room_in_the_cache_rows_are_fetched(url):
    for names, options in (
        (["x", "y"], {}),
        (["d"], {"shuffle": False}),
        (["x"], {"window": 5}),
        (["tokens"], {"offsets": "offsets"}),
    ):
        _, other = same(url, names, **options)
        with NumPack(url, mode="r", cache_bytes=0) as npk:
            one, _ = same(npk, names, **options)
            assert_equal(itertools.islice(one, 3), itertools.islice(other, 3))


def test_an_epoch_fetches_each_block_once_and_the_next_none(url):
    loader, _ = same(url, ["x", "y"])
    store = FolderStore.opened[-1]
    for _ in loader:
        pass
    fetched = store.bytes_of("ranges")
    assert fetched == 6_000_000 + 8 * 6000
    requests = len(store.requests)
    for _ in loader:
        pass
    assert len(store.requests) == requests


def test_blocks_of_several_batches_are_fetched_together(url):
    loader, _ = same(url, ["x"], batch_size=8, shuffle=False)
    store = FolderStore.opened[-1]
    first = iter(loader)
    next(first)
    assert store.bytes_of("ranges") <= 2 * BLOCK
    assert sum(kind == "ranges" for kind, *_ in store.requests) <= 2
    first.close()


def test_an_error_is_raised_by_the_batch(url):
    loader, _ = same(url, ["x"])
    os.unlink(
        next(iter(sorted(os.scandir("s.npk/data"), key=lambda each: -each.stat().st_size)))
    )
    with pytest.raises(MovedError, match="published anew"):
        for _ in loader:
            pass


def test_loaders_and_datasets_are_pickled_by_reference(url):
    loader, other = same(url, ["x", "y"])
    content = pickle.dumps(loader)
    assert len(content) < 4000
    assert_equal(pickle.loads(content), other)
    dataset = pickle.loads(pickle.dumps(Dataset(url, ["x", "y"], target="numpy")))
    with NumPack("s.npk", mode="r") as npk:
        assert (dataset[[5, 3]]["x"] == npk.load("x")[[5, 3]]).all()


def test_a_forked_child_fetches_what_the_thread_of_its_parent_began(url, run_python):
    del url
    run_python(
        """
import os
from support.store import remote
from numpack import Loader

remote.install()
options = {"target": "numpy", "batch_size": 1000, "shuffle": True}
batches = iter(Loader(remote.url_of("s.npk"), "x", **options))
expected = list(Loader("s.npk", "x", **options))
assert (next(batches) == expected[0]).all()
child = os.fork()
if not child:
    found = list(batches)
    assert len(found) == len(expected) - 1
    assert all((a == b).all() for a, b in zip(found, expected[1:], strict=True))
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
assert len(list(batches)) == len(expected) - 1
""",
        flags=("-W", "ignore::DeprecationWarning"),
    )
