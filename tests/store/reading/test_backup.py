"""Backups: what they hold, and what they refuse."""

from __future__ import annotations

import os
import pickle
import resource
import signal
from pathlib import Path

import numpy as np
import pytest
from support.crash.operations import OLD, large, state_of, wide
from support.files import contents
from support.store.hostile import entry, snapshot, write

from numpack import CorruptStoreError, MovedError, NumPack, StoreError
from numpack.errors import InvalidValueError, NotAStoreError, StoreExistsError, WrongTypeError

ROWS = np.arange(6.0).reshape(3, 2)
ALL = {
    "x": wide(1048),
    "y": wide(2100),
    "exact": np.zeros(1 << 20, "u1"),
    "0d": np.array(2.5),
    "none": np.empty((0, 3)),
    "flat": np.empty((4, 0)),
    "struct": np.zeros(3, [("a", "<i4"), ("b", "S3")]),
    "a/\n\ud800": ROWS,
}


@pytest.fixture
def filled(store):
    """A store with arrays of every kind, changed in every way."""
    store.save({"gone": ROWS, **ALL})
    store.append({"x": wide(3)})
    store.drop("y", [0, 2000])
    store.replace({"y": wide(2, 9)}, [5, 2090])
    store.drop("gone")
    store.attrs["x"].update(dims=["a", "b"])
    store.attrs.store["title"] = "t"
    return store


def commit_of(store: NumPack) -> int:
    return store._handle.require_session().history.refresh().commit


def assert_backup(path, store):
    with NumPack(path, mode="r") as copy:
        assert state_of(copy) == state_of(store)
        assert list(copy) == list(store)
        assert commit_of(copy) == commit_of(store)
        times = [(each.get_modify_time(n)) for each in (copy, store) for n in store]
        assert times[: len(store)] == times[len(store) :]
        assert copy.verify().ok
        assert copy.verify().unchecked == []
    live = {entry.id for entry in copy_entries(path)}
    assert {name.partition(".")[0] for name in os.listdir(f"{path}/data")} == live
    assert set(os.listdir(path)) == {"numpack.json", "commits.log", "data", "lock"}


def copy_entries(path):
    with NumPack(path, mode="r") as copy:
        return list(copy._handle.require_session().arrays().values())


@pytest.mark.parametrize("verify", [False, True])
def test_backup_has_all_arrays_and_attributes(filled, verify):
    before = contents()
    filled.backup("b.npk", verify=verify)
    assert contents() == before
    assert_backup("b.npk", filled)
    with NumPack("b.npk") as copy:  # which can be changed on its own
        copy.append({"x": wide(3000)})
        copy.replace({"y": wide(1)}, [0])
        copy.save({"new": ROWS})
        assert copy.verify().ok
    assert contents() == before


def test_backup_through_a_reader_and_of_a_backup(filled):
    with NumPack("s.npk", mode="r") as reader:
        reader.backup("b.npk")
    with NumPack("b.npk", mode="r") as copy:
        copy.backup(Path("deep/er/c.npk"))
    assert_backup("deep/er/c.npk", filled)


def test_backup_of_an_empty_store_stays_of_version_1(store):
    store.backup("b.npk")
    assert_backup("b.npk", store)
    assert Path("b.npk/numpack.json").read_bytes() == Path("s.npk/numpack.json").read_bytes()


def test_backup_has_its_own_identity(filled):
    reference = pickle.dumps(filled.load("x", lazy=True))
    handle = pickle.dumps(filled)
    filled.backup("b.npk")
    filled.save({"x": ROWS})
    filled.close()
    os.rename("s.npk", "away.npk")
    os.rename("b.npk", "s.npk")
    for pickled in (reference, handle):
        with pytest.raises(MovedError) as raised:
            pickle.loads(pickled)
        assert raised.value.reason == "another store"


def test_batch_is_written_before_the_backup(filled):
    with filled.batch_mode():
        filled.load("x")[:] = 7
        filled.attrs["x"]["n"] = 1
        filled.backup("b.npk")
    assert_backup("b.npk", filled)


def test_progress_counts_all_bytes(filled):
    calls = []
    filled.backup("b.npk", progress=lambda *args: calls.append(args))
    total = sum(each.nbytes for each in filled._handle.require_session().arrays().values())
    assert calls[-1] == (total, total)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


def test_array_that_is_written_in_place_is_copied_with_checksums(filled):
    with filled.writable_batch_mode() as batch:
        batch.load("x")[:] = 5
        batch.load("none")
        filled.backup("b.npk", verify=True)
        assert_backup("b.npk", filled)


def test_replace_that_is_not_in_place_yet_is_in_the_backup(filled):
    filled.replace({"x": wide(2, 9), "y": wide(2, 4)}, [1, 1049])
    expected = state_of(filled)
    journal = Path("s.npk/journal").read_bytes()
    with NumPack("s.npk") as other:
        entries = other._handle.require_session().arrays()
        for name in ("x", "y"):  # as before the rows were put in place
            with open(f"s.npk/{entries[name].data_file}", "r+b") as file:
                file.write(bytes(2000))
            with open(f"s.npk/{entries[name].checksum_file}", "r+b") as file:
                file.write(bytes(4))
        Path("s.npk/journal").write_bytes(b"{" + journal[1:])
    filled.close()
    with NumPack("s.npk", mode="r") as reader:
        reader.backup("b.npk", verify=False)
    with NumPack("b.npk", mode="r") as copy:
        x, y = state_of(copy)["x"], state_of(copy)["y"]
    row = wide(1).nbytes  # the first row was overwritten, and is not in the journal
    for found, name in ((x, "x"), (y, "y")):
        assert found[:2] == expected[name][:2]
        assert found[2][row:] == expected[name][2][row:]
        assert found[2][:row] == bytes(row)


# Refusals


def test_target_that_exists_is_refused_and_left_alone(filled):
    Path("file").write_text("x")
    os.mkdir("folder")
    Path("folder/file").write_text("x")
    os.symlink("nowhere", "link")
    NumPack("other.npk").open()
    before = {name: contents(Path(name)) for name in ("folder", "other.npk", "s.npk")}
    for target, what in (
        ("file", "is a file"),
        ("folder", "is not empty"),
        ("link", "is a file"),
        ("other.npk", "is a store; choose another path"),
        ("s.npk", "is a store"),
    ):
        with pytest.raises(StoreExistsError, match=what):
            filled.backup(target)
    assert before == {name: contents(Path(name)) for name in before}
    assert not Path("nowhere").exists()
    with pytest.raises(InvalidValueError, match="inside of the store"):
        filled.backup("s.npk/b.npk")
    with pytest.raises(InvalidValueError, match="must not be empty"):
        filled.backup("")
    with pytest.raises(WrongTypeError, match="backup"):
        filled.backup(3)
    os.mkdir("empty")
    filled.backup("empty")
    assert_backup("empty", filled)


def test_folder_of_numpack_0_is_refused(tmp_path):
    with NumPack(OLD / "shapes.npk") as old, pytest.raises(StoreError, match="upgrade=True"):
        old.backup(tmp_path / "b.npk")
    assert not (tmp_path / "b.npk").exists()


def test_unusable_array_is_refused(tmp_path):
    write(tmp_path / "s.npk", snapshot({"x": entry(tail=-1)}))
    refused = pytest.raises(CorruptStoreError, match="drop the array")
    with NumPack(tmp_path / "s.npk", mode="r") as store, refused:
        store.backup(tmp_path / "b.npk")
    assert not (tmp_path / "b.npk").exists()


def test_damage_is_refused_or_copied_with_its_checksums(filled):
    session = filled._handle.require_session()
    x = session.arrays()["x"]
    with open(f"s.npk/{x.data_file}", "r+b") as file:
        file.seek(1 << 20)
        file.write(b"\xff")
    with pytest.raises(CorruptStoreError, match="'x' cannot be backed up .* block 1 is wrong"):
        filled.backup("b.npk", verify=True)
    assert not Path("b.npk").exists()
    filled.backup("b.npk")
    with NumPack("b.npk", mode="r") as copy:
        assert [(each.array, each.block) for each in copy.verify()] == [("x", 1)]
    for name, size in ((x.checksum_file, 0), (x.data_file, 1 << 20)):
        os.truncate(f"s.npk/{name}", size)
        with pytest.raises(CorruptStoreError, match="is damaged: it should have"):
            filled.backup("c.npk")
        os.unlink(f"s.npk/{name}")
        with pytest.raises(CorruptStoreError, match="missing"):
            filled.backup("c.npk")
        assert not Path("c.npk").exists()


@pytest.fixture
def failed_at():
    """Limit the size of files, as a full disk does."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_failed_backup_removes_what_it_wrote(filled, failed_at):
    before = contents()
    os.mkdir("empty")
    for size in (0, 64, 1000, 1 << 20, 1_100_000):
        failed_at(size)
        for target in ("b.npk", "empty"):
            with pytest.raises(StoreError, match="File too large") as raised:
                filled.backup(target)
            assert raised.value.errno == 27
            assert not Path("b.npk").exists()
            assert os.listdir("empty") == []
    assert contents() == before
    failed_at(1 << 30)
    filled.backup("b.npk")
    assert_backup("b.npk", filled)


def test_interrupted_backup_removes_what_it_wrote(filled):
    for stop in (1, 3, 5):
        calls = []

        def interrupt(*args, calls=calls, stop=stop):
            calls.append(args)
            if len(calls) == stop:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            filled.backup("b.npk", progress=interrupt)
        assert not Path("b.npk").exists()


def test_more_arrays_than_descriptors_are_copied_without_writers(store):
    store.save({f"n{number}": np.full(3, number) for number in range(100)})
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 40, before[1]))
    try:
        store.backup("b.npk")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert_backup("b.npk", store)


def test_without_locks_of_open_files_writers_are_excluded(filled, monkeypatch):
    from numpack.store.reading import snapshot as module

    monkeypatch.setattr(module, "hold", lambda _: False)
    filled.backup("b.npk")
    assert_backup("b.npk", filled)


def test_folder_has_the_permissions_of_the_store(filled):
    os.chmod("s.npk", 0o700)
    filled.backup("b.npk")
    assert os.stat("b.npk").st_mode & 0o777 == 0o700


def test_killed_backup_is_no_store(start_module, tmp_path):
    large("s.npk")
    for stop in range(1, 5):
        process = start_module("support.crash.killed_backup", str(stop))
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        with pytest.raises(NotAStoreError):
            NumPack(f"b{stop}.npk", mode="r").open()
        with NumPack("s.npk") as store:
            with pytest.raises(StoreExistsError, match="interrupted backup"):
                store.backup(f"b{stop}.npk")
            assert store.verify().ok
