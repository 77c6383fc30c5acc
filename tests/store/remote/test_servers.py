"""The servers of the tests: what they serve, count and do wrong."""

from __future__ import annotations

import email.utils
import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from botocore.exceptions import ClientError
from support.servers.proxy import Proxy

DATA = bytes(range(256)) * 40
NAME = "bucket"


def get(address, path, **headers):
    """Send a request of its own connection; return the status, the headers and the body."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=10)
    try:
        names = {name.replace("_", "-"): text for name, text in headers.items()}
        connection.request("GET", path, headers=names)
        answer = connection.getresponse()
        return answer.status, dict(answer.getheaders()), answer.read()
    finally:
        connection.close()


def failed(call, **arguments):
    """Return the status of an error of S3."""
    with pytest.raises(ClientError) as caught:
        call(Bucket=NAME, **arguments)
    return caught.value.response["ResponseMetadata"]["HTTPStatusCode"]


def check_server(bucket, proxy, key):
    """Check ranges, conditions, signatures and counts of a server behind a proxy."""
    client = bucket.client()
    client.put_object(Bucket=NAME, Key=key, Body=DATA)
    part = client.get_object(Bucket=NAME, Key=key, Range="bytes=300-309")
    assert part["Body"].read() == DATA[300:310]
    tail = client.get_object(Bucket=NAME, Key=key, Range="bytes=-7")
    assert tail["Body"].read() == DATA[-7:]
    assert tail["ETag"] == part["ETag"]
    assert failed(client.put_object, Key=key, Body=b"", IfNoneMatch="*") == 412
    assert failed(client.put_object, Key=key, Body=b"", IfMatch='"other"') == 412
    client.put_object(Bucket=NAME, Key=key, Body=b"new", IfMatch=part["ETag"])
    assert failed(client.get_object, Key=key, IfMatch=part["ETag"]) == 412
    counts = [(r.method, r.range, r.sent, r.received, r.status) for r in proxy.requests]
    assert counts[:3] == [
        ("PUT", "", len(DATA), 0, 200),
        ("GET", "bytes=300-309", 0, 10, 206),
        ("GET", "bytes=-7", 0, 7, 206),
    ]
    assert [request.status for request in proxy.requests[3:]] == [412, 412, 200, 412]
    assert proxy.sent == len(DATA) + 3
    assert {request.key for request in proxy.requests} == {f"/{NAME}/{key}"}


def test_seaweedfs_behind_a_proxy(bucket, proxy, prefix):
    check_server(bucket, proxy, f"{prefix}/x")


def test_moto_behind_a_proxy(moto_bucket, moto_proxy, prefix):
    check_server(moto_bucket, moto_proxy, f"{prefix}/x")


def test_seaweedfs_checks_signatures(bucket, proxy, prefix):
    """A signature is valid through the proxy, and an invalid one is refused."""
    import dataclasses

    bucket.client().put_object(Bucket=NAME, Key=f"{prefix}/x", Body=DATA)
    other = dataclasses.replace(bucket, secret="another").client()
    assert failed(other.get_object, Key=f"{prefix}/x") == 403
    assert get(proxy.endpoint, f"/{NAME}/{prefix}/x")[0] == 403


@pytest.fixture
def behind(web_server):
    """Return a proxy before a web server, which has the file ``x``."""
    Path("x").write_bytes(DATA)
    proxy = Proxy(web_server)
    yield proxy
    proxy.close()


def test_web_server(web_server):
    Path("sub").mkdir()
    Path("sub/x").write_bytes(DATA)
    status, headers, body = get(web_server, "/sub/x")
    assert (status, body, headers["Accept-Ranges"]) == (200, DATA, "bytes")
    assert email.utils.parsedate_to_datetime(headers["Last-Modified"])
    for asked, expected in (("0-0", DATA[:1]), ("10000-", DATA[10000:]), ("-9", DATA[-9:])):
        status, partial, body = get(web_server, "/sub/x", Range=f"bytes={asked}")
        assert (status, body) == (206, expected)
        assert partial["ETag"] == headers["ETag"]
    assert get(web_server, "/sub/x", Range="bytes=99999-")[0] == 416
    assert get(web_server, "/sub/y")[0] == 404
    Path("sub/x").write_bytes(DATA[::-1])
    assert get(web_server, "/sub/x")[1]["ETag"] != headers["ETag"]


@pytest.mark.parametrize("status", [400, 403, 404, 412, 416, 500, 503])
def test_status(behind, status):
    behind.inject(status=status, path="x", first=1, times=2)
    assert [get(behind.endpoint, "/x")[0] for _ in range(4)] == [200, status, status, 200]
    assert [request.status for request in behind.requests] == [200, status, status, 200]


def test_truncated_body(behind):
    behind.inject(truncate=100)
    with pytest.raises(http.client.IncompleteRead) as caught:
        get(behind.endpoint, "/x")
    assert caught.value.partial == DATA[:100]
    assert get(behind.endpoint, "/x")[2] == DATA


def test_flipped_byte(behind):
    behind.inject(flip=5000)
    found = get(behind.endpoint, "/x")[2]
    assert [n for n in range(len(DATA)) if found[n] != DATA[n]] == [5000]
    assert found[5000] ^ DATA[5000] == 255


def test_slow_body(behind):
    behind.inject(pause=0.01, step=1024)
    begin = time.monotonic()
    assert get(behind.endpoint, "/x")[2] == DATA
    assert time.monotonic() - begin >= 0.1


def test_changed_headers(behind):
    behind.inject(headers={"ETag": '"other"', "Last-Modified": ""})
    headers = get(behind.endpoint, "/x")[1]
    assert headers["etag"] == '"other"'
    assert "last-modified" not in headers


def test_all_in_place_of_a_range(behind):
    behind.inject(whole=True)
    status, _, body = get(behind.endpoint, "/x", Range="bytes=5-9")
    assert (status, body) == (200, DATA)


def test_reset_connections(behind):
    with behind.counted() as counted:
        behind.stop_at(1)
        assert get(behind.endpoint, "/x")[2] == DATA
        for _ in range(3):
            with pytest.raises(ConnectionResetError):
                get(behind.endpoint, "/x")
    assert [request.status for request in counted] == [200, 0, 0, 0]


def test_lost_answers(moto_bucket, moto_proxy, prefix):
    """The server has carried out what the client got no answer to."""
    moto_proxy.inject(lose=True)
    client = moto_bucket.client()
    with pytest.raises(Exception, match="Connection"):
        client.put_object(Bucket=NAME, Key=prefix, Body=DATA)
    assert client.get_object(Bucket=NAME, Key=prefix)["Body"].read() == DATA


def test_calls(behind):
    seen = []
    behind.inject(call=seen.append, reset=True)
    with pytest.raises(ConnectionResetError):
        get(behind.endpoint, "/x", Range="bytes=0-9")
    assert [request.range for request in seen] == ["bytes=0-9"]


def test_delayed_requests_wait_beside_each_other(behind):
    behind.delay = 0.3
    begin = time.monotonic()
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: get(behind.endpoint, "/x")[2], range(20)))
    assert answers == [DATA] * 20
    assert 0.3 <= time.monotonic() - begin < 20 * 0.3
