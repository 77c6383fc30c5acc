"""Opening a remote store: two requests, and errors that say what is wrong."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from support.store.remote import FolderStore, url_of

import numpack
from numpack import NumPack

LOG = Path("s.npk/commits.log")


def test_opening_takes_two_requests(opened, arrays):
    _, store = opened()
    assert sorted(each[:2] for each in store.requests) == [
        ("read", "numpack.json"),
        ("tail", "commits.log"),
    ]


def test_a_long_log_is_read_from_its_last_snapshot(opened, arrays):
    with NumPack("s.npk") as local:
        for number in range(700):
            local.append({"flat": np.full(10, number, "f8")})
            local.attrs["flat"]["note"] = "n" * 400
        expected = local.load("flat")
    npk, store = opened()
    assert LOG.stat().st_size > 1 << 16
    assert len(store.requests) == 2
    assert store.bytes_of("tail") == 1 << 16
    assert (npk.load("flat") == expected).all()
    assert npk.verify()


def test_a_snapshot_longer_than_the_tail_is_found(opened, arrays):
    names = [f"{'n' * 100}{number}" for number in range(1000)]
    with NumPack("s.npk") as local:
        local.save({name: np.arange(2) for name in names})
    npk, store = opened()
    assert len(store.requests) == 3
    assert set(names) <= set(npk)


def test_nothing_is_left_on_the_disk(opened, arrays, tmp_path, monkeypatch):
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    npk, _ = opened()
    assert npk.verify()
    assert not os.listdir(temporary)


def test_a_torn_last_line_is_no_commit(opened, arrays):
    with LOG.open("ab") as log:
        log.write(b'{"commit":9')
    npk, _ = opened()
    assert (npk.load("small") == arrays["small"]).all()


def test_missing_and_damaged_stores_are_told_apart(arrays):
    def error_of(change):
        shutil.rmtree("copy.npk", ignore_errors=True)
        shutil.copytree("s.npk", "copy.npk")
        change(Path("copy.npk"))
        with (
            pytest.raises(numpack.NumpackError) as error,
            NumPack(url_of("copy.npk"), mode="r"),
        ):
            pass
        assert url_of("copy.npk") in str(error.value)
        return type(error.value), str(error.value)

    def header(**members):
        def change(path):
            (path / "numpack.json").write_text(json.dumps(members))

        return change

    kind, text = error_of(shutil.rmtree)
    assert kind is numpack.StoreNotFoundError
    assert "publish" in text
    kind, text = error_of(header(format="numpack", version=99))
    assert kind is numpack.NewerFormatError
    assert "upgrade numpack" in text
    kind, text = error_of(header(format="other", version=1))
    assert kind is numpack.NotAStoreError
    kind, text = error_of(lambda path: (path / "numpack.json").write_text("x"))
    assert kind is numpack.CorruptStoreError
    kind, text = error_of(lambda path: (path / "commits.log").unlink())
    assert kind is numpack.CorruptStoreError
    assert "commits.log" in text
    kind, text = error_of(lambda path: (path / "commits.log").write_bytes(b""))
    assert kind is numpack.CorruptStoreError
    kind, text = error_of(lambda path: (path / "commits.log").write_bytes(b"x" * 100_000))
    assert kind is numpack.CorruptStoreError

    def older(path):
        (path / "numpack.json").unlink()
        (path / "metadata.npkm").write_bytes(b"")

    kind, text = error_of(older)
    assert kind is numpack.UnsupportedError
    assert "upgrade=True" in text


def test_copies_made_beside_a_writer_are_refused(arrays):
    shutil.copytree("s.npk", "replaced.npk")
    with NumPack("s.npk") as local:
        local.replace({"small": np.zeros((1, 3))}, [0])
        with local.writable_batch_mode() as batch:
            batch.load("flat")
            shutil.copytree("s.npk", "writable.npk")
    with (
        pytest.raises(numpack.UnsupportedError, match=r"'flat'.*publish"),
        NumPack(url_of("writable.npk"), mode="r"),
    ):
        pass


def test_a_journal_that_is_not_cleared_is_refused(arrays):
    with NumPack("s.npk") as local:
        local.replace({"small": np.zeros((1, 3))}, [0])
        with NumPack(url_of("s.npk"), mode="r") as npk:  # it was cleared
            assert not npk.load("small")[0].any()
        path = Path("s.npk/journal")
        content = path.read_bytes()
        path.write_bytes(b"{" + content[1:])
        with (
            pytest.raises(numpack.UnsupportedError, match=r"journal.*publish"),
            NumPack(url_of("s.npk"), mode="r"),
        ):
            pass


def test_a_server_that_fails_is_reported(arrays, monkeypatch):
    def fail(self, name):
        raise numpack.errors.RemoteError("the server is busy")

    monkeypatch.setattr(FolderStore, "read", fail)
    with (
        pytest.raises(numpack.errors.RemoteError, match="busy"),
        NumPack(url_of("s.npk"), mode="r"),
    ):
        pass
