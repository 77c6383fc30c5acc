"""Filesystems of fsspec."""

import datetime
import pickle

import fsspec
import numpy as np
import pytest

from numpack.errors import (
    MissingFileError,
    ObjectChangedError,
    RemoteError,
    StorePermissionError,
    UnsupportedError,
)
from numpack.object_store import open_object_store

from .conftest import CONTENT


@pytest.fixture(params=["memory", "file", "s3"])
def store(request, tmp_path):
    """Return a store with the object "x"."""
    if request.param == "s3":
        bucket, remote = (request.getfixturevalue(name) for name in ("bucket", "remote"))
        filesystem = fsspec.filesystem(
            "s3",
            key=bucket.key,
            secret=bucket.secret,
            client_kwargs={"endpoint_url": bucket.endpoint, "region_name": "us-east-1"},
            skip_instance_cache=True,
        )
        return open_object_store(filesystem.get_mapper(remote.location))
    url = f"memory://fsspec{tmp_path}" if request.param == "memory" else tmp_path.as_uri()
    mapper = fsspec.get_mapper(url)
    mapper["x"] = CONTENT.tobytes()
    return open_object_store(mapper)


def test_reading(store):
    data, version = store.read("x")
    assert data == CONTENT.tobytes()
    assert version.size == CONTENT.size
    assert store.read_tail("x", 100) == (CONTENT[-100:].tobytes(), version)
    assert store.read_tail("x", 1 << 20)[0] == data
    starts = np.random.default_rng(2).integers(0, CONTENT.size // 512, 200) * 512
    out = np.empty(200 * 512, np.uint8)
    assert store.read_ranges("x", starts, starts + 512, out, version=version) == version
    assert np.array_equal(out, np.concatenate([CONTENT[a : a + 512] for a in starts]))
    assert store.read_many([("x", -1, -1), ("x", 3, 5), ("x", 3, 3)]) == [
        *(data, CONTENT[3:5].tobytes(), b"")
    ]
    assert list(store.list("")) == [("x", version)]
    assert list(store.list("data/")) == []


def test_pickles_open_the_same_filesystem(store, bucket, monkeypatch):
    for name, value in bucket.variables.items():
        monkeypatch.setenv(name, value)
    if store.location.startswith("memory"):
        with pytest.raises(UnsupportedError, match="memory of this process"):
            store.to_pickle()
        return
    url, options = pickle.loads(pickle.dumps(store.to_pickle()))
    assert bucket.secret not in repr(options)
    again = open_object_store(url, options)
    assert type(again) is type(store)
    assert again.location == store.location
    assert again.read("x") == store.read("x")


def test_errors(store):
    out = np.empty(10, np.uint8)
    for call in (
        lambda: store.read("y"),
        lambda: store.read_tail("y", 3),
        lambda: store.read_ranges("y", [0], [10], out),
    ):
        with pytest.raises(MissingFileError, match="y does not exist"):
            call()
    end = CONTENT.size
    with pytest.raises(RemoteError, match="were asked for|ends before"):
        store.read_ranges("x", [end - 5], [end + 5], out)
    for call in (lambda: store.write("y", b""), lambda: store.remove(["x"])):
        with pytest.raises(UnsupportedError, match="do not write under a condition"):
            call()


def test_other_version_is_noticed(tmp_path):
    mapper = fsspec.get_mapper(f"memory://fsspec{tmp_path}")
    mapper["x"] = b"0123456789"
    store = open_object_store(mapper)
    version = store.read("x")[1]
    mapper["x"] = b"9876543210"
    mapper.fs.store[f"{mapper.root}/x"].modified += datetime.timedelta(seconds=5)
    mapper.fs.store[f"{mapper.root}/x"].created += datetime.timedelta(seconds=5)
    with pytest.raises(ObjectChangedError):
        store.read_ranges("x", [0], [3], np.empty(3, np.uint8), version=version)


def test_urls_that_obstore_does_not_know(tmp_path):
    (tmp_path / "x").write_bytes(b"content")
    store = open_object_store(f"local://{tmp_path}")
    assert store.read("x")[0] == b"content"
    url, options = store.to_pickle()
    assert open_object_store(url, options).read("x")[0] == b"content"
    chained = open_object_store(
        f"simplecache::file://{tmp_path}",
        {"simplecache": {"cache_storage": str(tmp_path / "c")}},
    )
    assert chained.read("x")[0] == b"content"


def test_errors_of_filesystems_hold_no_secret(tmp_path):
    class Broken(fsspec.get_filesystem_class("memory")):
        protocol = "broken"

        def info(self, path, **kwargs):
            raise self.error

    filesystem = Broken(token="t0psecret", skip_instance_cache=True)
    store = open_object_store(filesystem.get_mapper("a"))
    for raised, error in (
        (ValueError("bad t0psecret at https://u:p@h/x?q=1"), RemoteError),
        (PermissionError("t0psecret"), StorePermissionError),
    ):
        filesystem.error = raised
        with pytest.raises(error) as caught:
            store.read("x")
        assert not {"t0psecret", "u:p", "q=1"} & set(
            str(caught.value).replace("@", " ").split()
        )
        assert "t0psecret" not in str(caught.value)
        assert caught.value.__context__ is None
    assert "t0psecret" not in repr(store.to_pickle())


def test_fork_after_use_raises(run_python):
    run_python(
        """
import os, fsspec, numpack
from numpack.object_store import open_object_store
mapper = fsspec.get_mapper("memory://a")
mapper["x"] = b"1"
store = open_object_store(mapper)
store.read("x")
child = os.fork()
if child == 0:
    try:
        store.read("x")
    except numpack.errors.RemoteError as error:
        os._exit(7 if "spawn" in str(error) else 8)
    os._exit(9)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
"""
    )
