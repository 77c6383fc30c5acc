"""Writing under conditions, listing and removing."""

import ml_dtypes
import numpy as np
import pytest

from numpack.errors import (
    InvalidValueError,
    ObjectChangedError,
    RemoteError,
    StorePermissionError,
    UnsupportedError,
)
from numpack.object_store import Version, open_object_store
from numpack.object_store.obstore_engine import writing

from .conftest import CONTENT


def test_create_and_replace(objects):
    first = objects.write("log", b"one", create=True)
    with pytest.raises(ObjectChangedError, match="log"):
        objects.write("log", b"one", create=True)
    second = objects.write("log", b"two", replaces=first)
    for old in (first, Version(3, '"another"', 0.0)):
        with pytest.raises(ObjectChangedError, match="log"):
            objects.write("log", b"three", replaces=old)
    assert objects.read("log") == (b"two", second)
    objects.remove(["log"])
    with pytest.raises(ObjectChangedError, match="log"):
        objects.write("log", b"three", replaces=second)
    with pytest.raises(InvalidValueError, match="pass one of them"):
        objects.write("log", b"", replaces=second, create=True)
    with pytest.raises(UnsupportedError, match="no ETag"):
        objects.write("log", b"", replaces=Version(3, "", 1.0))


def test_buffers_of_any_kind(objects):
    values = np.arange(6, dtype="f4").reshape(2, 3)
    for data, wanted in (
        (b"abc", b"abc"),
        (bytearray(b"abc"), b"abc"),
        (memoryview(b"abcd")[1:3], b"bc"),
        (values, values.tobytes()),
        (values.astype(ml_dtypes.bfloat16), values.astype(ml_dtypes.bfloat16).tobytes()),
        (np.empty((0, 3)), b""),
        (np.array(3, "u2"), b"\x03\0"),
        ([b"ab", values, b"", np.empty(0), b"c"], b"ab" + values.tobytes() + b"c"),
        ([], b""),
    ):
        for how in ({}, {"create": True}):
            version = objects.write("x", data, **how)
            assert objects.read("x") == (wanted, version)
            assert version.size == len(wanted)
            objects.remove(["x"])


def test_large_objects_are_sent_in_parts(objects, monkeypatch):
    monkeypatch.setattr(writing, "MULTIPART", 1 << 18)
    version = objects.write("x", [CONTENT[:1000], CONTENT[1000:]], create=True)
    assert objects.read("x") == (CONTENT.tobytes(), version)
    with pytest.raises(ObjectChangedError, match="exists already"):
        objects.write("x", CONTENT, create=True)


def test_list_and_remove(objects):
    assert list(objects.list("")) == []
    versions = {
        name: objects.write(name, name.encode())
        for name in ("numpack.json", "data/1.bin", "data/1.sum", "data/20.bin", "database")
    }
    assert dict(objects.list("")) == versions
    found = dict(objects.list("data/"))
    assert found == {name: versions[name] for name in versions if name.startswith("data/")}
    assert all(abs(each.modified - found[name].modified) < 60 for name, each in found.items())
    objects.remove([*found, "data/9.bin"])
    assert sorted(dict(objects.list(""))) == ["database", "numpack.json"]
    objects.remove([])


def test_version_that_was_read_is_replaced(objects):
    objects.write("log", b"one")
    objects.write("log", b"two", replaces=objects.read("log")[1])
    version = objects.write("log", b"three", replaces=objects.read_tail("log", 1)[1])
    assert objects.read("log") == (b"three", version)
    assert dict(objects.list("")) == {"log": version}


@pytest.mark.parametrize("configured", [False, True])
def test_lost_answers_are_settled(remote, proxy, bucket, prefix, configured):
    """The next attempt meets what the lost one wrote."""
    if configured:
        from obstore.store import S3Store

        remote = open_object_store(S3Store(bucket.name, prefix=prefix, **bucket.options))
    for how in ({"create": True}, {"replaces": remote.read("x")[1]}):
        name = "new" if "create" in how else "x"
        proxy.inject(method="PUT", lose=True)
        written = remote.write(name, b"content", **how)
        assert remote.read(name) == (b"content", written)
    proxy.inject(method="PUT", reset=True, times=2)
    assert remote.write("another", b"1", create=True).size == 1


def test_lost_request_and_another_writer(remote, proxy, seaweedfs, prefix):
    """What another wrote meanwhile is not taken for one's own."""
    version = remote.read("x")[1]

    def write(request):
        seaweedfs.client().put_object(Bucket="bucket", Key=f"{prefix}/x", Body=b"theirs")

    proxy.inject(method="PUT", reset=True, call=write)
    with pytest.raises(ObjectChangedError):
        remote.write("x", b"mine", replaces=version)
    assert remote.read("x")[0] == b"theirs"


def test_servers_that_refuse(remote, proxy, monkeypatch):
    monkeypatch.setattr(writing, "_PAUSE", 0.001)
    for status, error in ((403, StorePermissionError), (503, RemoteError)):
        proxy.reset()
        proxy.inject(method="PUT", status=status, times=99)
        for how in ({}, {"create": True}):
            with pytest.raises(error, match=str(status)):
                remote.write("new", b"1", **how)
    proxy.reset()
    assert "new" not in dict(remote.list(""))


def test_web_servers_are_not_written(web_server):
    web = open_object_store(web_server)
    for call in (lambda: web.write("x", b"1"), lambda: web.remove(["x"])):
        with pytest.raises(UnsupportedError, match="web servers do not write"):
            call()
