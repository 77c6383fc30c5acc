"""Every reading method of a store in an object store gives what the local one gives."""

import shutil

import numpy as np
import pytest

import numpack
from numpack import NumPack


def test_loads_what_the_local_store_has(opened, arrays):
    npk, _ = opened()
    for name, expected in arrays.items():
        for found in (npk.load(name), npk[name], npk.load(name, verify=True), npk.get(name)):
            assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
            assert (found == expected).all(), name
            assert found.flags.writeable, name
            assert found.ctypes.data % 64 == 0, name


def test_lazy_arrays_are_equal(opened, arrays):
    npk, _ = opened()
    for name, expected in arrays.items():
        lazy = npk.load(name, lazy=True)
        assert isinstance(lazy, numpack.LazyArray), name
        assert (lazy.shape, lazy.dtype, lazy.nbytes) == (
            expected.shape,
            expected.dtype,
            expected.nbytes,
        )
        assert lazy.strides == expected.strides or not expected.size, name
        assert (np.asarray(lazy) == expected).all(), name
        assert npk.load(name, lazy=True) is lazy, name


def test_mapping_metadata_and_attributes(opened, arrays):
    npk, _ = opened()
    with NumPack("s.npk", mode="r") as local:
        assert list(npk) == list(local)
        assert len(npk) == len(local)
        assert "rows" in npk
        assert npk.get_metadata()["arrays"] == local.get_metadata()["arrays"]
        assert npk.get_shape("dropped") == local.get_shape("dropped")
        assert npk.commit == local.commit
    assert npk.attrs["rows"]["unit"] == "m"
    assert npk.attrs.store["owner"] == "us"
    assert "folder://" in repr(npk)
    with pytest.raises(numpack.NotFoundError, match="'rows'"):
        npk.load("rowz")


def test_getitem_of_every_kind_of_index(opened, arrays):
    npk, _ = opened()
    mask = np.zeros(len(arrays["rows"]), bool)
    mask[[3, 1000, 4999]] = True
    indexes = [5, [0, -1, 5, 5], slice(10, 20), slice(None, None, 700), slice(20, 10), []]
    indexes += [np.array([4999, 0]), mask, slice(0, 3000), slice(4000, None)]
    for index in indexes:
        expected = arrays["rows"][[index] if isinstance(index, int) else index]
        assert (npk.getitem("rows", index) == expected).all(), index
    live = arrays["dropped"]
    for index in ([0, 4, 5, -1], slice(3, 8), slice(0, 4900), slice(None, None, -3)):
        assert (npk.getitem("dropped", index) == live[index]).all(), index
    for index in (5000, -5001, [0, 5000]):
        with pytest.raises(numpack.IndexRangeError):
            npk.getitem("rows", index)
    with pytest.raises(numpack.InvalidValueError, match="0-d"):
        npk.getitem("scalar", 0)


def test_streams_in_batches(opened, arrays):
    npk, store = opened()
    for name in ("rows", "dropped", "small", "none"):
        for size in (1, 999, 5000, 10_000):
            parts = list(npk.stream_load(name, size))
            assert all(part.flags.owndata or part.base is not None for part in parts)
            assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
            joined = np.concatenate(parts) if parts else arrays[name]
            assert (joined == arrays[name]).all()
    parts = list(npk.stream_load("small", 2))
    parts[0][:] = -1
    assert (parts[1] == arrays["small"][2:]).all()
    assert len(store.requests) < 40


def test_shares_with_frameworks(opened, arrays):
    npk, _ = opened()
    shared = npk.share("rows", "numpy")
    assert (shared == arrays["rows"]).all()
    assert not shared.flags.writeable
    assert not numpack.explain(npk.load("rows", lazy=True), "numpy").nbytes


def test_reports_progress(opened, arrays):
    npk, _ = opened()
    seen = []
    npk.load("rows", progress=lambda done, total: seen.append((done, total)))
    assert seen[-1] == (arrays["rows"].nbytes, arrays["rows"].nbytes)


def test_verifies_the_objects_not_the_cache(opened, arrays):
    npk, store = opened()
    assert npk.verify()
    npk.load("rows", lazy=True).sum()
    before = store.bytes_of("ranges")
    seen = []
    report = npk.verify(lambda done, total: seen.append((done, total)))
    assert report
    assert report.nbytes == seen[-1][0] == seen[-1][1]
    assert store.bytes_of("ranges") - before == report.nbytes

    def flip(name, content):
        return content[:-1] + bytes([content[-1] ^ 1]) if name.endswith(".bin") else content

    store.alter = flip
    report = npk.verify()
    assert {each.array for each in report.damaged} >= {"rows", "small"}


def test_verifying_before_a_load_fetches_once(opened, arrays):
    npk, store = opened()
    npk.load("rows", verify=True)
    npk.load("dropped", lazy=True, verify=True)
    assert store.bytes_of("ranges") == 2 * arrays["rows"].nbytes
    npk, store = opened(cache_bytes=0)
    assert (npk.load("rows", verify=True) == arrays["rows"]).all()


def test_what_is_loaded_was_verified(opened, arrays):
    for options in ({}, {"cache_bytes": 0}):
        npk, store = opened(**options)
        for name in ("rows", "dropped", "flat"):
            flips = [b"\1"]

            def flip(name, content, flips=flips):
                if not name.endswith(".bin") or not flips:
                    return content
                flips.pop()
                return bytes([content[0] ^ 1]) + content[1:]

            store.alter = flip
            assert (npk.load(name) == arrays[name]).all(), name
            assert not flips
        npk.close()
        shutil.rmtree("cache", ignore_errors=True)


def test_backs_up_to_a_local_store(opened, arrays):
    for options in ({}, {"cache_bytes": 0}):
        npk, _ = opened(**options)
        target = f"backup-{len(options)}.npk"
        npk.backup(target, verify=True)
        with NumPack(target, mode="r") as copy:
            assert copy.verify()
            assert copy.commit == npk.commit
            assert copy.attrs["rows"]["unit"] == "m"
            for name, expected in arrays.items():
                assert (copy.load(name) == expected).all(), name


def test_stays_at_its_commit_until_it_is_opened_again(opened, arrays):
    npk, _ = opened()
    with NumPack("s.npk") as local:
        local.save({"later": np.arange(3)})
    assert "later" not in npk
    npk.close()
    with pytest.raises(numpack.StoreClosedError):
        npk.load("rows")
    npk.open()
    assert (npk.load("later") == [0, 1, 2]).all()


def test_arrays_outlive_the_store(opened, arrays):
    npk, _ = opened()
    lazy = npk.load("rows", lazy=True)
    npk.close()
    assert (lazy[4321] == arrays["rows"][4321]).all()


def test_objects_that_are_gone_are_named(opened, arrays):
    npk, _ = opened()
    lazy = npk.load("rows", lazy=True)
    with NumPack("s.npk") as local:
        local.drop("rows")
    for use in (lambda: lazy[0], lambda: npk.load("rows"), lambda: npk.getitem("rows", [1])):
        with pytest.raises(numpack.MovedError, match=r"'rows'.*published anew.*open") as error:
            use()
        assert error.value.reason == "published anew"


def test_objects_that_are_replaced_are_noticed(opened, arrays):
    npk, _ = opened()
    npk.getitem("rows", [1])
    with NumPack("s.npk") as local:
        local.replace({"rows": np.zeros((1, 1000), np.uint8)}, [0])
    with pytest.raises(numpack.MovedError, match="published anew"):
        npk.getitem("rows", [2000])


def test_blocks_of_another_version_are_never_served(opened, arrays):
    npk, _ = opened()
    assert (npk.load("rows", lazy=True)[0] == arrays["rows"][0]).all()
    npk.close()
    with NumPack("s.npk") as local:
        local.replace({"rows": np.zeros((1, 1000), np.uint8)}, [0])
    npk.open()
    assert not npk.load("rows", lazy=True)[0].any()
    assert (npk.load("rows")[1:] == arrays["rows"][1:]).all()


def test_changing_it_is_refused(opened, arrays):
    npk, _ = opened()
    change = {"rows": arrays["rows"]}
    for call in (
        lambda: npk.save(change),
        lambda: npk.append(change),
        lambda: npk.replace(change, slice(None)),
        lambda: npk.drop("rows"),
        lambda: npk.update("rows"),
        npk.sync,
        lambda: npk.attrs["rows"].update({"a": 1}),
    ):
        with pytest.raises(numpack.StoreError, match=r"folder://.*publish"):
            call()
