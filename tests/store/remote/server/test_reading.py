"""Everything that reads gives the same from a bucket as from the local store."""

from __future__ import annotations

import numpy as np
import pytest
from support.each import for_each
from support.files import contents

import numpack
from numpack import Loader, NumPack
from numpack.errors import UnsupportedError

INDEXES = [
    slice(None),
    slice(5, 900, 7),
    slice(None, None, -1),
    -1,
    3,
    [1, 1, 0, -2],
    np.arange(9)[::-1],
    [],
]


def equal(first, second):
    np.testing.assert_array_equal(first, second, strict=True)


def test_whole_arrays(local, remote):
    assert list(remote) == list(local)
    for name in local:
        equal(remote.load(name), local.load(name))
        equal(remote[name], local[name])
        equal(np.asarray(remote.load(name, lazy=True)), local.load(name))
        equal(remote.load(name, verify=True), local.load(name))


def test_rows(local, remote):
    for name in local:
        for index in INDEXES:
            if len(local[name]) > 8:
                equal(remote.getitem(name, index), local.getitem(name, index))
                equal(remote.load(name, lazy=True)[index], local.load(name, lazy=True)[index])


def test_random_rows_of_an_array_with_deleted_ones(local, remote):
    random = np.random.default_rng(1)
    for name in ("x", "dropped"):
        rows = len(local[name])
        mask = random.random(rows) < 0.01
        equal(remote.getitem(name, mask), local.getitem(name, mask))
        for count in (1, 10, 1000):
            index = random.choice(rows, count)
            equal(remote.getitem(name, index), local.getitem(name, index))
            lazy = remote.load(name, lazy=True)
            equal(lazy.take(index), local.load(name, lazy=True).take(index))
            equal(lazy[index, 1], local[name][index, 1])
        for start in (0, 77, rows - 10):
            equal(np.asarray(lazy.rows(start, start + 10)), local[name][start : start + 10])


def test_streams(local, remote):
    for size in (None, 1 << 16):
        for name in ("x", "dropped", "empty", "complex"):
            found = list(remote.stream_load(name, size))
            expected = list(local.stream_load(name, size))
            assert [len(each) for each in found] == [len(each) for each in expected]
            for pair in zip(found, expected, strict=True):
                equal(*pair)


def test_descriptions(local, remote):
    assert remote.get_member_list() == local.get_member_list()
    assert remote.commit == local.commit
    assert len(remote) == len(local)
    assert "x" in remote
    assert "y" not in remote
    assert remote.get("y") is None
    for name in local:
        assert remote.get_shape(name) == local.get_shape(name)
        assert remote.get_modify_time(name) == local.get_modify_time(name)
        lazy, expected = remote.load(name, lazy=True), local.load(name, lazy=True)
        assert (lazy.dtype, lazy.shape, lazy.nbytes) == (
            expected.dtype,
            expected.shape,
            expected.nbytes,
        )
    assert dict(remote.attrs["x"]) == {"dims": ["row", "feature"]}
    assert dict(remote.attrs.store) == {"title": "of the tests"}
    with pytest.raises(KeyError):
        remote.load("y")


def test_lazy_arithmetic(local, remote):
    lazy, array = remote.load("x", lazy=True), local.load("x")
    equal(lazy + 1, array + 1)
    equal(lazy.T[5], array.T[5])
    assert lazy.sum() == array.sum()
    assert lazy.reshape(-1)[99] == array.reshape(-1)[99]
    assert [row[0] for row in lazy.rows(5, 8)] == array[5:8, 0].tolist()


def test_shared_arrays(local, remote):
    for name in ("x", "small", "complex"):
        shared = numpack.share(remote.load(name, lazy=True), "numpy")
        equal(shared, local.load(name))
        equal(remote.share(name, "numpy"), local.load(name))
        assert not shared.flags.writeable


def test_loaders(local, remote):
    for name in ("x", "dropped"):
        loaders = [
            Loader(source, name, batch_size=500, seed=3, target="numpy")
            for source in (remote, local)
        ]
        for _ in range(2):
            for found, expected in zip(*loaders, strict=True):
                equal(found, expected)


def test_verify(local, remote):
    assert repr(remote.verify()) == repr(local.verify())


def test_backup_is_a_download(local, remote):
    remote.backup("copy.npk")
    with NumPack("copy.npk") as copy:
        for name in local:
            equal(copy.load(name), local.load(name))
        assert dict(copy.attrs["x"]) == {"dims": ["row", "feature"]}
        copy.append({"small": np.arange(3)})
        assert copy.get_shape("small") == (13,)


@for_each("mode", ["a", "w", "r+", "x"])
def test_other_modes_are_refused(mode):
    with pytest.raises((UnsupportedError, ValueError), match="mode"):
        NumPack("s3://bucket/s.npk", mode=mode)


def test_changes_are_refused(remote, url, seaweedfs):
    for change in (
        lambda: remote.save({"z": np.zeros(3)}),
        lambda: remote.append({"small": np.zeros(3, int)}),
        lambda: remote.drop("small"),
        lambda: remote.replace({"small": np.zeros(1, int)}, [0]),
        remote.reset,
    ):
        with pytest.raises(numpack.NumpackError):
            change()
    found = seaweedfs.client().list_objects_v2(Bucket=seaweedfs.name, Prefix=url[12:])
    assert found["KeyCount"] == len(contents())


def test_web_server(local, web_server):
    """The same store, uploaded as files, from a web server."""
    with NumPack(
        f"{web_server}/s.npk",
        mode="r",
        storage_options={"client_options": {"allow_http": True}},
        cache="other",
    ) as npk:
        for name in local:
            equal(npk.load(name), local.load(name))
        index = np.arange(0, 20_000, 777)
        equal(npk.getitem("x", index), local.getitem("x", index))


def test_files(local, tmp_path):
    with NumPack((tmp_path / "s.npk").as_uri(), mode="r", cache="other") as npk:
        for name in local:
            equal(npk.load(name), local.load(name))


def test_filesystem_of_fsspec(local, url, seaweedfs):
    import s3fs

    filesystem = s3fs.S3FileSystem(
        key=seaweedfs.key, secret=seaweedfs.secret, endpoint_url=seaweedfs.endpoint
    )
    mapper = filesystem.get_mapper(url.removeprefix("s3://"))
    with NumPack(mapper, mode="r", cache="other") as npk:
        for name in local:
            equal(npk.load(name), local.load(name))
        index = np.arange(0, 20_000, 777)
        equal(npk.getitem("x", index), local.getitem("x", index))


def test_store_of_obstore(local, url, bucket):
    from obstore.store import from_url

    with NumPack(from_url(url, **bucket.options), mode="r", cache="other") as npk:
        for name in local:
            equal(npk.load(name), local.load(name))
