"""A server that fails, breaks off or answers wrongly: right values, or an error with a name."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import numpy as np
import pytest
from support.servers.bucket import SECRET

from numpack import Loader, NumPack
from numpack.errors import (
    CorruptStoreError,
    MovedError,
    NotAStoreError,
    RemoteError,
    StorePermissionError,
)

from .conftest import QUICK, upload

NAMED = (RemoteError, StorePermissionError, CorruptStoreError, MovedError, NotAStoreError)
INDEX = np.arange(0, 20_000, 997)
FOREVER = float("inf")
OTHER = '"0123456789abcdef0123456789abcdef"'

READS = {
    "load": lambda npk: npk.load("x"),
    "getitem": lambda npk: npk.getitem("x", INDEX),
    "slice": lambda npk: npk.load("x", lazy=True)[100:15_000],
    "take": lambda npk: npk.load("x", lazy=True).take(INDEX),
    "mapped": lambda npk: np.asarray(npk.load("x", lazy=True)),
    "stream": lambda npk: np.concatenate(list(npk.stream_load("x"))),
    "loader": lambda npk: np.concatenate(
        list(Loader(npk, "x", batch_size=900, shuffle=False, target="numpy"))
    ),
}


def expected(array, name):
    if name in ("getitem", "take"):
        return array[INDEX]
    return array[100:15_000] if name == "slice" else array


PASSING = {
    "500": {"status": 500},
    "503": {"status": 503},
    "reset": {"reset": True},
    "lost": {"lose": True},
    "truncated": {"truncate": 100},
    "slow": {"pause": 0.001},
    "flipped": {"flip": 77},
}


@pytest.mark.parametrize("fault", PASSING)
def test_one_failure_is_made_good(open_remote, url, local, proxy, fault):
    """An answer that fails once is asked for again; scattered rows have no checksums."""
    for number, (name, read) in enumerate(READS.items()):
        if fault == "flipped" and name in ("getitem", "take"):
            continue
        for first in (0, 2):
            npk = open_remote(url, cache=f"cache {number} {first}")
            proxy.inject(method="GET", path=".bin", first=first, **PASSING[fault])
            found = read(npk)
            np.testing.assert_array_equal(found, expected(local["x"], name), err_msg=name)
            proxy.reset()


@pytest.mark.parametrize("fault", PASSING)
def test_one_failure_while_opening_is_made_good(open_remote, url, local, proxy, fault):
    if fault == "flipped":
        return  # has its own test
    for number, path in enumerate(("numpack.json", "commits.log", ".sum")):
        proxy.inject(method="GET", path=path, **PASSING[fault])
        npk = open_remote(url, cache=f"cache {number}")
        assert (npk.load("x") == local["x"]).all()
        proxy.reset()


LASTING = {
    "400": ({"status": 400}, StorePermissionError),
    "403": ({"status": 403}, StorePermissionError),
    "404": ({"status": 404}, (MovedError, NotAStoreError, CorruptStoreError)),
    "412": ({"status": 412}, (RemoteError, MovedError)),
    "416": ({"status": 416}, NAMED),
    "500": ({"status": 500}, RemoteError),
    "503": ({"status": 503}, RemoteError),
    "reset": ({"reset": True}, RemoteError),
    "truncated": ({"truncate": 99}, RemoteError),
    "flipped": ({"flip": 77}, CorruptStoreError),
}


@pytest.mark.parametrize("fault", LASTING)
def test_lasting_failures_have_names(open_remote, url, local, proxy, fault):
    """Every method raises; afterwards the same handle gives right values, and no stale ones."""
    what, error = LASTING[fault]
    for number, (name, read) in enumerate(READS.items()):
        if fault == "flipped" and name in ("getitem", "take"):
            continue
        for first in (0, 1):
            npk = open_remote(url, cache=f"cache {number} {first}")
            injected = proxy.inject(path=".bin", first=first, times=FOREVER, **what)
            try:
                found = read(npk)
            except error as caught:
                text = str(caught)
            else:
                assert injected.met <= first, name
                text = f"{url} {found.shape}"
            assert url in text or "'x'" in text
            assert SECRET not in text
            proxy.reset()
            found = read(npk)
            np.testing.assert_array_equal(found, expected(local["x"], name), err_msg=name)


@pytest.mark.parametrize("fault", LASTING)
def test_lasting_failures_while_opening_have_names(open_remote, url, proxy, fault):
    """Bodies that break off are continued; the first lines of a log may be of no use."""
    what, _ = LASTING[fault]
    what = {name: min(value, 15) if value < 100 else value for name, value in what.items()}
    for path in ("numpack.json", "commits.log"):
        proxy.inject(method="GET", path=path, times=FOREVER, **what)
        try:
            found = open_remote(url, cache=f"cache {path}").get_shape("x")
        except NAMED:
            found = None
        assert found is None or (fault in ("truncated", "flipped") and found == (20_000, 128))
        proxy.reset()
        assert len(open_remote(url, cache=f"cache {path}")) == 7


def test_flipped_bits_in_every_kind_of_file(open_remote, url, local, proxy):
    """Values are right, since what is wrong is asked for again, or an error says so."""
    for number, path in enumerate((".bin", ".sum", ".del", "commits.log", "numpack.json")):
        for flip in (0, 50, 200):
            proxy.inject(method="GET", path=path, flip=flip, times=2)
            try:
                npk = open_remote(url, cache=f"cache {number} {flip}")
                for name in ("x", "dropped", "small"):
                    assert (npk.load(name) == local[name]).all()
            except NAMED:
                pass
            proxy.reset()
            npk = open_remote(url, cache=f"cache {number} {flip}")
            for name in ("x", "dropped", "small"):
                assert (npk.load(name) == local[name]).all()


def test_another_version_is_never_mixed_in(open_remote, url, local, proxy):
    """An object that is written anew while it is read has another tag."""
    for number, read in enumerate(READS.values()):
        npk = open_remote(url, cache=f"cache {number}")
        npk.getitem("x", [5])
        proxy.inject(method="GET", path=".bin", times=FOREVER, headers={"ETag": OTHER})
        with pytest.raises((RemoteError, MovedError)):
            read(npk)
        proxy.reset()


def test_an_array_that_was_overwritten_in_place(open_remote, url, seaweedfs, prefix, local):
    """Another tool has put other values into the object of the same name."""
    npk = open_remote(url)
    assert (npk.getitem("x", [5]) == local["x"][5]).all()
    with NumPack("s.npk") as other:
        other.replace({"x": np.zeros((20_000, 128), "f4")}, slice(None))
    upload(seaweedfs, "s.npk", prefix)
    for read in READS.values():
        with pytest.raises(NAMED):
            read(npk)
    assert (open_remote(url).load("x") == 0).all()


def test_servers_without_ranges(open_remote, moto_bucket, moto_server, moto_proxy, prefix, url):
    """Whole objects come in place of ranges: right values, or an error with a name."""
    upload(moto_server, "s.npk", prefix)
    moto_proxy.inject(method="GET", path=".bin", whole=True, times=FOREVER)
    npk = open_remote(moto_bucket.url(prefix), endpoint=moto_bucket.endpoint)
    with NumPack("s.npk", mode="r") as local:
        for name, read in READS.items():
            try:
                found = read(npk)
            except NAMED:
                continue
            np.testing.assert_array_equal(found, expected(local["x"], name), err_msg=name)


def test_there_is_no_store(open_remote, bucket, prefix, url):
    for wrong in (bucket.url(f"{prefix}/other"), "s3://no-such-bucket/s.npk"):
        with pytest.raises(NotAStoreError) as caught:
            open_remote(wrong)
        assert wrong.removeprefix("s3://") in str(caught.value)


def test_wrong_credentials(url, bucket):
    other = dataclasses.replace(bucket, secret="not/the/secret/at/all")
    options = {**other.options, "retry_config": QUICK}
    with pytest.raises(StorePermissionError) as caught:
        NumPack(url, mode="r", storage_options=options, cache="cache").open()
    assert other.secret not in str(caught.value)


def test_credentials_that_expire(open_remote, url, local, proxy):
    """S3 answers with 400 and the code ExpiredToken."""
    npk = open_remote(url)
    assert (npk.getitem("x", INDEX) == local["x"][INDEX]).all()
    proxy.inject(status=400, code="ExpiredToken", times=FOREVER)
    with pytest.raises(StorePermissionError, match="(?i)expired"):
        npk.load("x")


def test_a_server_that_does_not_answer(open_remote, url, proxy):
    npk = open_remote(
        url, client_options={"allow_http": True, "timeout": "300ms"}, retry_config=NO_RETRY
    )
    proxy.delay = 60.0
    with pytest.raises(RemoteError):
        npk.load("x")
    proxy.delay = 0.0


NO_RETRY = {"max_retries": 0, "retry_timeout": timedelta(seconds=1)}


def test_no_server(bucket):
    options = {**bucket.at("http://127.0.0.1:9").options, "retry_config": NO_RETRY}
    with pytest.raises(RemoteError):
        NumPack("s3://bucket/s.npk", mode="r", storage_options=options, cache="cache").open()
