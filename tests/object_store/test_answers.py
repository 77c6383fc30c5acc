"""Servers that answer strangely, slowly or not at all."""

import socket
import threading
import time
from datetime import timedelta

import numpy as np
import pytest
from support.each import assert_each

from numpack.errors import (
    MissingFileError,
    ObjectChangedError,
    RemoteError,
    StorePermissionError,
)
from numpack.object_store import open_object_store
from numpack.object_store.coalescing import PART

from .conftest import CONTENT


def read(store, version=None):
    out = np.empty(1000, np.uint8)
    store.read_ranges("x", [5, 100_000], [505, 100_500], out, version=version)
    assert np.array_equal(out, np.concatenate([CONTENT[5:505], CONTENT[100_000:100_500]]))


def test_faults_that_pass_are_retried(remote, proxy):
    def check(fault):
        proxy.reset()
        proxy.inject(method="GET", **fault)
        read(remote)
        assert len(proxy.requests) > 1

    assert_each(
        [{"status": 500}, {"status": 503}, {"reset": True}, {"truncate": 3}, {"lose": True}],
        check,
    )


def test_faults_that_stay_are_named(remote, proxy):
    def check(fault, error, message):
        proxy.reset()
        proxy.inject(method="GET", times=99, **fault)
        for call in (lambda: read(remote), lambda: remote.read_many([("x", 0, 10)])):
            with pytest.raises(error, match=message) as caught:
                call()
            assert "/x" in str(caught.value)
            assert caught.value.__cause__ is None
            assert len(proxy.requests) < 20

    assert_each(
        [
            ({"status": 403}, StorePermissionError, "AccessDenied.*pass credentials"),
            ({"status": 400}, StorePermissionError, "ExpiredToken.*pass credentials"),
            ({"status": 401}, StorePermissionError, "401.*pass credentials"),
            ({"status": 404}, MissingFileError, "does not exist"),
            ({"status": 404, "code": "NoSuchBucket"}, MissingFileError, "nor does the bucket"),
            ({"status": 416}, RemoteError, "ends before the range"),
            ({"status": 500}, RemoteError, "500.*check the URL"),
            ({"status": 503}, RemoteError, "503.*SlowDown"),
            ({"truncate": 0}, RemoteError, "body"),
            ({"reset": True}, RemoteError, "check the URL, the endpoint and the network"),
            ({"headers": {"content-range": "bytes 1-500/300000"}}, RemoteError, "got 1..501"),
        ],
        check,
    )


def test_other_version_is_noticed_in_every_answer(remote, proxy):
    version = remote.read("x")[1]
    proxy.inject(method="GET", first=1, times=99, headers={"etag": '"another"'})
    with pytest.raises(ObjectChangedError, match="written again"):
        read(remote, version)
    proxy.reset()
    proxy.inject(method="GET", times=99, headers={"etag": ""})
    read(remote, version)
    proxy.inject(method="GET", times=99, headers={"etag": ""})
    proxy.faults[0].headers = {"etag": "", "last-modified": "Mon, 30 Nov 2020 10:00:00 GMT"}
    with pytest.raises(ObjectChangedError):
        read(remote, version)


def test_body_of_another_length_than_its_range(remote, proxy):
    proxy.inject(
        method="GET",
        times=99,
        path="x",
        headers={"content-range": "bytes 5-504/300000", "content-length": "490"},
        truncate=490,
    )
    out = np.empty(500, np.uint8)
    with pytest.raises(RemoteError, match="sends 490 bytes where it says 500"):
        remote.read_ranges("x", [5], [505], out)
    proxy.faults[0].times = proxy.faults[0].met + 1
    remote.read_ranges("x", [5], [505], out)
    assert np.array_equal(out, CONTENT[5:505])


def test_long_ranges_survive_a_fault_in_one_part(bucket, prefix, proxy, options):
    store = open_object_store(bucket.url(prefix), options)
    content = np.random.default_rng(1).integers(0, 256, 3 * PART, np.uint8)
    version = store.write("x", content)
    proxy.reset()
    proxy.inject(method="GET", first=1, truncate=1 << 20)
    out = np.empty_like(content)
    assert store.read_ranges("x", [0], [content.size], out, version=version) == version
    assert np.array_equal(out, content)
    assert len({each.range for each in proxy.requests}) >= 3


def test_requests_are_few(remote, proxy):
    proxy.reset()
    remote.read_tail("x", 1000)
    assert len(proxy.requests) == 1
    rows = np.arange(100) * 1000
    with proxy.counted() as made:
        remote._pace.latency, remote._pace.bandwidth = 0.1, 1e8
        remote.read_ranges("x", rows, rows + 600, np.empty(60_000, np.uint8))
    assert len(made) == 1
    with proxy.counted() as made:
        remote._pace.latency, remote._pace.bandwidth = 0.1, 1e8
        remote.read_ranges("x", rows, rows + 100, np.empty(10_000, np.uint8))
    assert sum(each.received for each in made) <= 20_000


def test_requests_are_in_flight_together(remote, proxy):
    proxy.reset()
    arrived = []
    proxy.delay = 0.5
    proxy.inject(times=999, call=lambda _: arrived.append(time.monotonic()))
    starts = np.arange(64) * 4000
    remote._pace.latency, remote._pace.bandwidth = 1e-5, 1e5
    remote.read_ranges("x", starts, starts + 10, np.empty(640, np.uint8))
    assert len(arrived) == 64
    assert arrived[-1] - arrived[0] < 0.5  # no answer had arrived yet


def refused_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_server_that_cannot_be_reached(bucket):
    address = f"http://127.0.0.1:{refused_port()}"
    for url, options in (
        ("s3://bucket/x", {**bucket.options, "endpoint": address}),
        (address, {}),
    ):
        begin = time.monotonic()
        store = open_object_store(url, {**options, "retry_config": {"max_retries": 1}})
        with pytest.raises(RemoteError, match="check the URL, the endpoint and the network"):
            store.read("x")
        assert time.monotonic() - begin < 20


def test_server_that_is_silent(bucket):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        options = {
            "client_options": {"read_timeout": "200ms"},
            "retry_config": {"max_retries": 1, "retry_timeout": timedelta(seconds=5)},
        }
        store = open_object_store(address, options)
        with pytest.raises(RemoteError, match="check the URL"):
            store.read("x")


def test_no_credentials(run_python):
    """They are looked for in the instance's metadata, which does not exist here."""
    run_python(
        """
import numpack
from numpack.object_store import open_object_store
store = open_object_store("s3://bucket/x", {
    "metadata_endpoint": "http://127.0.0.1:9", "region": "us-east-1",
    "retry_config": {"max_retries": 0}})
try:
    store.read("x")
except numpack.StorePermissionError as error:
    assert "no credentials were found; pass credentials" in str(error), error
else:
    raise AssertionError
"""
    )


def test_server_without_ranges(tmp_path, monkeypatch):
    from functools import partial
    from http.server import HTTPServer, SimpleHTTPRequestHandler

    monkeypatch.setattr(SimpleHTTPRequestHandler, "log_message", lambda *_: None)
    (tmp_path / "x").write_bytes(CONTENT.tobytes())
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with HTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        store = open_object_store(f"http://127.0.0.1:{server.server_port}")
        assert store.read("x")[0] == CONTENT.tobytes()
        for call in (lambda: read(store), lambda: store.read_tail("x", 10)):
            with pytest.raises(RemoteError, match="use a server that supports range requests"):
                call()
        server.shutdown()


def test_web_server(web_server, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_bytes(CONTENT.tobytes())
    store = open_object_store(f"{web_server}/data")
    data, version = store.read("x")
    assert data == CONTENT.tobytes()
    read(store, version)
    assert store.read_tail("x", 10) == (CONTENT[-10:].tobytes(), version)
    with pytest.raises(MissingFileError):
        store.read("y")
