"""Packing a store into one file, and unpacking it, all or nothing."""

from __future__ import annotations

import itertools
import os
import shutil
import struct
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import numpy as np
import pytest
from support.crash.operations import OLD, state_of, wide
from support.files import contents
from support.store import remote

import numpack
from numpack import NumPack, errors
from numpack.store.session import Session

ROWS = np.arange(6.0).reshape(3, 2)
COMPRESSIONS = (None, "zstd")


@pytest.fixture
def store():
    with NumPack("s.npk", mode="x") as store:
        store.save({"x": ROWS, "large": wide(3000), "e": ROWS[:0], "zero": np.array(3)})
        store.append({"large": wide(200, 3)})
        store.drop("large", [0, 5, 2100])
        store.replace({"x": -ROWS[:1]}, [2])
        store.attrs["x"].update(dims=["a", "b"])
        store.attrs.store["title"] = "t"
        yield store


@pytest.mark.parametrize("compress", COMPRESSIONS)
def test_a_package_holds_the_committed_state(store, compress):
    seen = []
    path = numpack.pack(store, compress=compress, progress=lambda *each: seen.append(each))
    assert path == "s.npkz"
    total = sum(store[name].nbytes for name in store)
    assert seen[-1] == (total, total)
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    with zipfile.ZipFile("s.npkz") as package:
        names = package.namelist()
        rows = [info for info in package.infolist() if info.filename.endswith(".bin")]
        assert {info.compress_type for info in rows} == {93 if compress else 0}
        if not compress:
            assert package.testzip() is None
            assert all(info.file_size == info.compress_size for info in rows)
    assert not any(name.endswith(".del") for name in names)
    assert {"numpack.json", "commits.log"} < set(names)
    seen.clear()
    assert (
        numpack.unpack("s.npkz", "u.npk", progress=lambda *each: seen.append(each)) == "u.npk"
    )
    assert seen[-1][0] == seen[-1][1] > total
    with NumPack("u.npk") as other:
        assert state_of(other) == state_of(store)
        assert other.commit == store.commit
        assert other.verify().ok
        assert other.get_metadata()["arrays"].keys() == store.get_metadata()["arrays"].keys()
        assert other._arrays()["large"].dropped == 0
        other.append({"large": wide(2)})
        other.replace({"x": ROWS[:1]}, [0])
        assert other.verify().ok
    assert sorted(os.listdir(".")) == ["s.npk", "s.npkz", "u.npk"]


def test_any_program_that_unpacks_archives_makes_a_store(store):
    numpack.pack(store)
    with zipfile.ZipFile("s.npkz") as package:
        package.extractall("by zipfile.npk")
    made = ["by zipfile.npk"]
    if shutil.which("unzip"):
        subprocess.run(["unzip", "-q", "s.npkz", "-d", "by unzip.npk"], check=True)
        made.append("by unzip.npk")
    for path in made:
        with NumPack(path) as other:
            assert state_of(other) == state_of(store)
            other.append({"x": ROWS})
            assert other.verify().ok


def test_rows_are_aligned(store):
    numpack.pack(store)
    data = Path("s.npkz").read_bytes()
    with zipfile.ZipFile("s.npkz") as package:
        for info in package.infolist():
            content = package.read(info)
            if info.filename.endswith(".bin") and content:
                at = info.header_offset + 30
                name, extra = struct.unpack_from("<2H", data, at - 4)
                start = at + name + extra
                assert start % 4096 == 0
                assert data[start : start + len(content)] == content


def test_other_sources(store):
    with NumPack("empty.npk", mode="x"):
        pass
    numpack.pack("empty.npk")
    with NumPack("empty.npkz", mode="r") as npk:
        assert len(npk) == 0
        assert npk.verify().ok
    shutil.copytree(OLD / "deleted_then_appended.npk", "old.npk")
    with NumPack("old.npk", mode="r") as old:
        expected = {name: old[name] for name in old}
    numpack.pack("old.npk")
    with NumPack("old.npkz", mode="r") as npk:
        assert {name: npk[name].tolist() for name in npk} == {
            name: array.tolist() for name, array in expected.items()
        }
        assert npk.verify().ok
    numpack.pack(store, "one.npkz")
    numpack.pack("one.npkz", "two.npkz")
    with NumPack("two.npkz", mode="r") as npk:
        assert state_of(npk) == state_of(store)
    with store.batch_mode():
        store.save({"x": ROWS + 100})
        numpack.pack(store, "batch.npkz")
    with NumPack("batch.npkz", mode="r") as npk:
        assert np.array_equal(npk["x"], ROWS + 100)


def test_arguments_are_checked(store):
    for call, kind, words in (
        (lambda: numpack.pack(store, "x.zip"), errors.InvalidValueError, "ends in .npkz"),
        (lambda: numpack.pack(store, compress="gzip"), errors.InvalidValueError, "'zstd'"),
        (lambda: numpack.pack(3), errors.WrongTypeError, "the path of a"),
        (lambda: numpack.pack("absent.npk"), errors.StoreNotFoundError, "no store"),
        (lambda: numpack.pack(store, "absent/x.npkz"), FileNotFoundError, "absent"),
        (lambda: numpack.unpack("absent.npkz"), errors.StoreNotFoundError, "no package"),
        (lambda: numpack.unpack("absent.zip"), errors.InvalidValueError, "pass the path"),
        (lambda: numpack.package_info("absent.npkz"), errors.StoreNotFoundError, "no package"),
    ):
        with pytest.raises(kind, match=words):
            call()
    assert os.listdir(".") == ["s.npk"]


def test_a_package_is_replaced_and_a_store_is_not(store):
    numpack.pack(store)
    store.save({"x": ROWS + 5})
    numpack.pack(store)
    with NumPack("s.npkz", mode="r") as npk:
        assert np.array_equal(npk["x"], ROWS + 5)
    with pytest.raises(errors.StoreExistsError, match="already"):
        numpack.unpack("s.npkz")
    with pytest.raises(errors.StoreExistsError, match="already"):
        numpack.unpack("s.npkz", "s.npkz")
    os.mkdir("empty.npk")
    numpack.unpack("s.npkz", "empty.npk")
    with NumPack("empty.npk") as other:
        assert np.array_equal(other["x"], ROWS + 5)


def test_an_exception_leaves_what_there_was(store):
    numpack.pack(store)
    before = Path("s.npkz").read_bytes()

    def stop(done: int, _total: int) -> None:
        if done > 100_000:
            raise RuntimeError("stopped")

    with pytest.raises(RuntimeError, match="stopped"):
        numpack.pack(store, progress=stop)
    assert Path("s.npkz").read_bytes() == before
    with pytest.raises(RuntimeError, match="stopped"):
        numpack.unpack("s.npkz", "u.npk", progress=stop)
    assert sorted(os.listdir(".")) == ["s.npk", "s.npkz"]


def test_a_killed_process_leaves_no_package(store, run_python):
    for function in ("pack('s.npk')", "unpack('t.npkz', 'u.npk')"):
        numpack.pack(store, "t.npkz")
        run_python(
            f"""
import os, signal, numpack
def stop(done, total):
    if done > 100_000:
        os.kill(os.getpid(), signal.SIGKILL)
numpack.{function[:-1]}, progress=stop)
""",
            expect=-9,
        )
        left = {name for name in os.listdir(".") if not name.startswith(".")}
        assert left == {"s.npk", "t.npkz"}
    numpack.pack(store)
    numpack.unpack("t.npkz", "u.npk")
    assert sorted(os.listdir(".")) == ["s.npk", "s.npkz", "t.npkz", "u.npk"]


def test_damaged_rows_are_not_packed(store):
    numpack.pack(store)
    before = Path("s.npkz").read_bytes()
    for name in ("x", "large"):
        file = Path("s.npk", store._arrays()[name].data_file)
        data = bytearray(file.read_bytes())
        data[3] ^= 1
        file.write_bytes(data)
        with pytest.raises(errors.CorruptStoreError, match=f"'{name}'"):
            numpack.pack(store)
        data[3] ^= 1
        file.write_bytes(data)
    assert Path("s.npkz").read_bytes() == before
    numpack.pack(store)


def test_rows_of_a_replace_that_is_not_in_place_are_packed(store, monkeypatch):
    class Died(BaseException):
        pass

    def die(*args, **options):
        raise Died

    fresh = wide(2, 77)
    with monkeypatch.context() as patched:
        patched.setattr(Session, "apply_replacement", die)
        with pytest.raises(Died):
            store.replace({"large": fresh}, [0, 1500])
    store.close()
    os.chmod("s.npk/journal", 0o400)
    numpack.pack("s.npk")
    with NumPack("s.npkz", mode="r") as npk:
        assert np.array_equal(npk["large"][[0, 1500]], fresh)
        assert npk.verify().ok


def test_packing_beside_a_writer(store):
    done = threading.Event()

    def write() -> None:
        with NumPack("s.npk") as other:
            for number in itertools.count():
                if done.is_set():
                    return
                rows = np.full((400, 1000), number % 250, np.uint8)
                other.save({"a": rows, "b": rows})
                other.replace({"a": rows[:3] + 1, "b": rows[:3] + 1}, slice(0, 3))
                other.append({"a": rows[:9], "b": rows[:9]})

    store.save({"a": wide(1), "b": wide(1)})
    thread = threading.Thread(target=write)
    thread.start()
    try:
        for _ in range(12):
            numpack.pack("s.npk")
            with NumPack("s.npkz", mode="r") as npk:
                assert np.array_equal(npk["a"], npk["b"]), "two arrays of different commits"
                assert npk.verify().ok
    finally:
        done.set()
        thread.join()


def test_more_arrays_than_files_can_be_open(store, run_python):
    store.save({f"a{number}": np.full(3, number) for number in range(200)})
    run_python(
        """
import resource, numpack, numpy as np
numpack.pack
with numpack.NumPack("s.npk", mode="r") as npk:
    npk.load("x")
    resource.setrlimit(resource.RLIMIT_NOFILE, (60, 60))
    numpack.pack(npk)
"""
    )
    with NumPack("s.npkz", mode="r") as npk:
        assert state_of(npk) == state_of(store)


def test_package_info(store):
    for compress in COMPRESSIONS:
        numpack.pack(store, compress=compress)
        info = numpack.get_package_info("s.npkz")
        assert info["compress"] == compress
        assert info["size_bytes"] == os.path.getsize("s.npkz")
        assert info["commit"] == store.commit
        assert info["arrays"]["large"] == {
            "shape": [3197, 1000],
            "dtype": "uint8",
            "size_bytes": 3_197_000,
            "last_modified": store.get_modify_time("large"),
        }
        assert info["total_arrays"] == len(info["arrays"]) == 4


def test_a_compressed_package_is_smaller_and_not_opened_in_place(store):
    numpack.pack(store, compress="zstd")
    assert os.path.getsize("s.npkz") < 100_000
    with pytest.raises(errors.UnsupportedError, match="unpack it: numpack.unpack") as caught:
        NumPack("s.npkz", mode="r").open()
    assert "compressed" in caught.value.reason
    before = contents()
    numpack.unpack("s.npkz", "u.npk")
    assert contents() == before


def test_without_zstandard(store, monkeypatch):
    numpack.pack(store, compress="zstd")
    monkeypatch.setitem(sys.modules, "zstandard", None)
    with pytest.raises(errors.MissingDependencyError, match=r"numpack\[zstd\]"):
        numpack.pack(store, compress="zstd")
    with pytest.raises(errors.MissingDependencyError, match=r"numpack\[zstd\]"):
        numpack.unpack("s.npkz", "u.npk")
    assert numpack.package_info("s.npkz")["total_arrays"] == 4
    assert sorted(os.listdir(".")) == ["s.npk", "s.npkz"]


def test_a_compressed_package_at_a_url_is_refused(store, monkeypatch):
    remote.install(monkeypatch)
    url = remote.url_of(numpack.pack(store, "small.npkz", compress="zstd"))
    with pytest.raises(errors.UnsupportedError, match="is compressed"):
        NumPack(url, mode="r").open()


def test_publishing_a_package_is_refused(store, tmp_path):
    with (
        NumPack(numpack.pack(store), mode="r") as package,
        pytest.raises(errors.UnsupportedError, match="is a package"),
    ):
        package.publish((tmp_path / "there").as_uri())
