"""Pickles of remote stores and arrays hold a reference, and nothing secret."""

import pickle

import numpy as np
import pytest
from support.store.remote import FolderStore, url_of

import numpack
from numpack import CommitWarning, NumPack
from numpack.io import pickle_by_reference


def test_arrays_are_pickled_by_reference(opened, arrays):
    npk, _ = opened(storage_options={"region": "x", "secret_key": "hunter2"})
    for name, expected in arrays.items():
        content = pickle.dumps(npk.load(name, lazy=True))
        assert len(content) <= 1024
        assert b"hunter2" not in content
        found = pickle.loads(content)
        assert found.shape == expected.shape
        assert found.dtype == expected.dtype
        assert (found.copied() == expected).all()
    part = pickle.loads(pickle.dumps(npk.load("dropped", lazy=True).rows(3, 9)))
    assert (part[:] == arrays["dropped"][3:9]).all()


def test_unpickling_reads_no_log_and_opens_the_object_store_once(opened, arrays):
    npk, _ = opened()
    content = pickle.dumps(npk.load("rows", lazy=True))
    before = len(FolderStore.opened)
    for _ in range(20):
        assert (pickle.loads(content)[2] == arrays["rows"][2]).all()
    (store,) = FolderStore.opened[before:]
    assert sorted(kind for kind, *_ in store.requests) == ["many", "ranges"]
    assert not any(name == "commits.log" for _, name, *_ in store.requests)


def test_equal_tokens_are_of_equal_values(opened, arrays):
    npk, _ = opened()
    lazy = npk.load("rows", lazy=True)
    token = lazy.__dask_tokenize__()
    assert token == pickle.loads(pickle.dumps(lazy)).__dask_tokenize__()
    assert token != lazy.rows(0, 5).__dask_tokenize__()
    assert token != npk.load("span", lazy=True).__dask_tokenize__()
    npk.close()
    with NumPack("s.npk") as local:
        local.replace({"rows": np.zeros((1, 1000), np.uint8)}, [0])
    npk.open()
    assert token != npk.load("rows", lazy=True).__dask_tokenize__()


def test_rows_that_were_published_anew_are_not_found(opened, arrays):
    npk, _ = opened()
    content = pickle.dumps(npk.load("flat", lazy=True))
    with NumPack("s.npk") as local:
        local.replace({"flat": np.ones(1)}, [0])
    with pytest.raises(numpack.MovedError, match=r"'flat'.*published anew"):
        pickle.loads(content)[0]
    with pytest.raises(numpack.MovedError, match=r"'flat'.*published anew"):
        pickle.loads(content).take([5])
    with NumPack("s.npk") as local:
        local.drop("flat")
    with pytest.raises(numpack.MovedError, match=r"'flat'.*published anew"):
        pickle.loads(content)[0]


def test_stores_are_opened_at_the_newest_commit(opened, arrays):
    npk, _ = opened(storage_options={"secret": "hunter2"}, cache="here", cache_bytes=1 << 24)
    content = pickle.dumps(npk)
    assert b"hunter2" not in content
    with pickle.loads(content) as same:
        assert same.is_opened
        assert (same.load("small") == arrays["small"]).all()
    with NumPack("s.npk") as local:
        local.save({"later": np.arange(3)})
    with pytest.warns(CommitWarning, match="published anew"):
        newer = pickle.loads(content)
    assert "later" in newer
    newer.close()
    npk.close()
    closed = pickle.loads(pickle.dumps(npk))
    assert closed.is_closed
    with closed:
        assert "later" in closed


def test_views_are_pickled_by_reference_if_wanted(opened, arrays):
    npk, store = opened()
    lazy = npk.load("rows", lazy=True)
    views = [
        (lazy[2000:4000], arrays["rows"][2000:4000]),
        (lazy[7, ::-2], arrays["rows"][7, ::-2]),
    ]
    with pickle_by_reference():
        contents = [pickle.dumps(view) for view, _ in views]
    for content, (_, expected) in zip(contents, views, strict=True):
        assert len(content) <= 1024
        found = pickle.loads(content)
        assert (found == expected).all()
        assert not found.flags.writeable
    assert len(pickle.dumps(views[0][0])) > 1 << 20
    assert store.bytes_of("ranges") < arrays["rows"].nbytes


def test_another_store_is_not_opened(opened, arrays):
    npk, _ = opened()
    content = pickle.dumps(npk)
    with NumPack("s.npk", mode="w"):
        pass
    with pytest.raises(numpack.MovedError) as error:
        pickle.loads(content)
    assert error.value.reason == "another store"
    assert url_of("s.npk") in str(error.value)
