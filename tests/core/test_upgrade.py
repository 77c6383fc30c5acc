"""Folders of NumPack 0.7 as stores: read in place, refused to writers, and upgraded."""

from __future__ import annotations

import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support.files import contents
from support.memory import address, file_position
from support.numpack0_store import FOLDER, META, write

from numpack import CorruptStoreError, InvalidValueError, NotAStoreError, NumPack, StoreError
from numpack.store.format.numpack0 import reader

FIXTURES = Path(__file__).parents[1] / "data" / "numpack-0.7.0"
FOLDERS = sorted(path.name.removesuffix(".npk") for path in FIXTURES.glob("*.npk"))
ROWS = np.arange(12.0).reshape(6, 2)
OLD = str(FOLDER)


@pytest.fixture(params=FOLDERS)
def old(request):
    """A folder that NumPack 0.7 wrote, and what it read back."""
    shutil.copytree(FIXTURES / f"{request.param}.npk", OLD)
    with np.load(FIXTURES / f"{request.param}.expected.npz") as expected:
        return dict(expected)


@pytest.fixture
def written():
    write({"x": ROWS, "y": ROWS[:, 0].copy(), "empty": ROWS[:0]}, {"x": [1, 3]})
    return {"x": np.delete(ROWS, [1, 3], 0), "y": ROWS[:, 0], "empty": ROWS[:0]}


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return (found.dtype, found.shape, found.tobytes()) == (
        expected.dtype,
        expected.shape,
        expected.tobytes(),
    )


def holds(expected: dict[str, np.ndarray], **options: object) -> None:
    """Make sure that a store holds these arrays, whichever way they are read."""
    with NumPack(OLD, **options) as store:
        assert sorted(store) == sorted(expected)
        for name, array in expected.items():
            assert same(store.load(name), array), name
            assert same(np.asarray(store.load(name, lazy=True)), array), name
            assert store.get_shape(name) == array.shape
            if array.ndim:
                half = slice(None, None, -2)
                assert same(store.getitem(name, half), array[half].copy())
                batches = list(store.stream_load(name, 7))
                assert same(np.concatenate([array[:0], *batches]), array)


def inodes() -> dict[int, int]:
    """The files of rows, by their inodes, with their sizes."""
    files = [*Path(OLD).glob("data_*.npkd"), *Path(OLD).glob("data/*.bin")]
    return {file.stat().st_ino: file.stat().st_size for file in files}


# Reader in place


@pytest.mark.parametrize("mode", ["a", "r", "r+"])
def test_what_0_7_wrote_is_read_as_0_7_reads_it_and_left_alone(old, mode):
    before = contents(OLD)
    holds(old, mode=mode)
    assert contents(OLD) == before


def test_metadata_are_those_of_the_old_folder(old):
    with NumPack(OLD) as store:
        metadata = store.get_metadata()
        assert metadata["total_arrays"] == len(old)
        for name, array in old.items():
            found = metadata["arrays"][name]
            assert (found["shape"], found["dtype"]) == (array.shape, str(array.dtype))
            assert found["size_bytes"] == array.nbytes
            assert (Path(OLD) / found["data_file"]).stat().st_size >= array.nbytes
            assert 1.7e15 < found["last_modified"] == store.get_modify_time(name) < 2e15


def test_lazy_arrays_map_the_very_files(written):
    with NumPack(OLD) as store:
        lazy = store.load("y", lazy=True)
        file = Path(OLD) / store.get_metadata()["arrays"]["y"]["data_file"]
        assert file_position(address(np.asarray(lazy))) == (file.stat().st_ino, 0)
        assert store.load("x", lazy=True).obstacle() is not None
        again = pickle.loads(pickle.dumps(store.load("x", lazy=True)))
        assert np.array_equal(again, written["x"])
        assert np.array_equal(np.from_dlpack(store.share("y", "dlpack")), written["y"])


def test_an_old_store_is_read_in_batches(written):
    with NumPack(OLD) as store, store.batch_mode():
        assert store.load("x") is store.load("x")
        assert np.array_equal(store.getitem("x", 0), ROWS[:1])


def test_an_old_store_has_no_checksums_and_says_so(written):
    with NumPack(OLD) as store:
        report = store.verify()
        assert report.ok
        assert report.unchecked == ["x", "y", "empty"]
        assert report.blocks == 0
        assert "not checked" in str(report)
        with pytest.raises(
            StoreError, match="no checksums to verify it with: it was written by NumPack"
        ):
            store.load("x", verify=True)


WRITES = {
    "save": lambda s: s.save({"z": ROWS}),
    "append": lambda s: s.append({"x": ROWS}),
    "replace": lambda s: s.replace({"x": ROWS[:1]}, 0),
    "drop": lambda s: s.drop("x"),
    "drop of rows": lambda s: s.drop("x", 0),
    "update": lambda s: s.update("x"),
    "clone": lambda s: s.clone("x", "z"),
    "reset": lambda s: s.reset(),
    "write in place": lambda s: s.writable_batch_mode().__enter__().load("x"),
    "save in a batch": lambda s: s.batch_mode().__enter__().save({"z": ROWS}),
}


@pytest.mark.parametrize("upgrade", [False, True])
@pytest.mark.parametrize("call", WRITES)
def test_writing_is_refused_with_the_way_to_upgrade(written, call, upgrade):
    before = contents(OLD)
    mode = "r" if upgrade else "a"
    refused = pytest.raises(StoreError, match=r"NumPack 0\.x .*upgrade=True")
    with NumPack(OLD, mode=mode, upgrade=upgrade) as store, refused:
        WRITES[call](store)
    assert contents(OLD) == before


@pytest.mark.parametrize("options", [{"mode": "x"}, {"mode": "x", "upgrade": True}])
def test_mode_x_refuses_an_old_store(written, options):
    before = contents(OLD)
    with pytest.raises(NotAStoreError, match="a store at .* already"):
        NumPack(OLD, **options).open()
    assert contents(OLD) == before


# Upgrading


@pytest.mark.parametrize("mode", ["a", "r+"])
def test_an_upgrade_keeps_every_array_and_rewrites_no_rows(old, mode):
    before = inodes()
    holds(old, mode=mode, upgrade=True)
    assert inodes() == before
    assert not {name for name in contents(OLD) if name.endswith((".npkd", ".npkb", ".npkm"))}
    after = contents(OLD)
    holds(old)
    holds(old, mode="r")
    holds(old, upgrade=True)
    assert contents(OLD).keys() == after.keys()
    with NumPack(OLD) as store:
        report = store.verify()
        assert report.ok
        assert report.unchecked == []


def test_times_and_order_survive_an_upgrade(old):
    with NumPack(OLD) as store:
        before = [(name, store.get_modify_time(name)) for name in store]
    with NumPack(OLD, upgrade=True) as store:
        assert [(name, store.get_modify_time(name)) for name in store] == before


def test_an_upgraded_store_is_written_like_any(old):
    with NumPack(OLD, upgrade=True) as store:
        expected = {}
        for name, array in old.items():
            if array.ndim and array.dtype.kind != "b":
                rows = np.ones((2, *array.shape[1:]), array.dtype)
                store.append({name: rows})
                store.append({name: rows})
                store.drop(name, [-1, len(array)])
                store.replace({name: rows[:1] + rows[:1]}, -1)
                expected[name] = np.concatenate([array, rows])
                expected[name][-1:] = rows[:1] + rows[:1]
        store.save({"new": ROWS})
    expected = {**old, **expected, "new": ROWS}
    holds(expected)
    with NumPack(OLD) as store:
        assert store.verify().ok
        for name in expected:
            store.update(name)
        assert store.verify().ok
    holds(expected)


def test_large_arrays_get_right_checksums():
    array = np.random.default_rng(1).random(400_001)
    write({"x": array}, {"x": [7]})
    with NumPack(OLD, upgrade=True) as store:
        assert store.verify().blocks == 4
        assert np.array_equal(store.load("x", verify=True), np.delete(array, 7))
        store.replace({"x": np.zeros(1)}, 0)
        assert store.verify().ok


def test_lazy_arrays_of_the_old_folder_outlive_the_upgrade(written):
    with NumPack(OLD) as before:
        lazy = before.load("x", lazy=True)
        with NumPack(OLD, upgrade=True) as store:
            store.append({"x": ROWS})
            store.drop("x", 0)
        assert np.array_equal(lazy, written["x"])


@pytest.mark.parametrize("options", [{"mode": "w"}, {"drop_if_exists": True}])
def test_an_old_store_is_emptied_if_asked_for(written, options):
    with NumPack(OLD, **options) as store:
        assert list(store) == []
        store.save({"x": ROWS})
    assert set(contents(OLD)) == {
        "numpack.json",
        "commits.log",
        "lock",
        *(f"data/{file}" for file in os.listdir(f"{OLD}/data")),
    }
    holds({"x": ROWS})


def test_what_an_old_folder_holds_besides_is_left_alone(written):
    Path(OLD, "notes.txt").write_text("mine")
    holds(written, upgrade=True)
    assert Path(OLD, "notes.txt").read_text() == "mine"


def test_a_new_store_may_be_opened_with_upgrade():
    with NumPack(OLD, upgrade=True) as store:
        store.save({"x": ROWS})
    holds({"x": ROWS}, upgrade=True)


def test_a_damaged_folder_is_not_upgraded(written):
    META.write_bytes(META.read_bytes()[:-1])
    before = contents(OLD)
    with pytest.raises(CorruptStoreError, match="damaged"):
        NumPack(OLD, upgrade=True).open()
    after = contents(OLD)
    after.pop("lock", None)
    assert after == before


@pytest.mark.parametrize("options", [{"drop_if_exists": True, "mode": "r"}])
def test_contradictions_are_refused(written, options):
    with pytest.raises(InvalidValueError):
        NumPack(OLD, **options)


# Interrupted, and at once

AT_ONCE = """
import sys
from numpack import NumPack
sys.stdin.readline()
with NumPack("old.npk", upgrade=True) as store:
    assert sorted(store) == ["empty", "x", "y"], list(store)
    assert store.get_shape("x") == (4, 2)
    store.append({"y": store.load("y")[:1]})
"""


@pytest.mark.parametrize("attempt", range(3))
def test_processes_that_upgrade_at_once_agree(written, attempt):
    workers = [
        subprocess.Popen([sys.executable, "-W", "error", "-c", AT_ONCE], stdin=subprocess.PIPE)
        for _ in range(3)
    ]
    for worker in workers:
        worker.stdin.write(b"\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=60)
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    holds({**written, "y": np.concatenate([written["y"], [0.0] * 3])})
    with NumPack(OLD) as store:
        assert store.verify().ok


STEPS = ["link", "write_checksums", "write_store", "remove_numpack0_files"]


class Died(BaseException):
    pass


@pytest.mark.parametrize("step", STEPS)
def test_an_interrupted_upgrade_is_the_old_store_or_the_new_one(monkeypatch, written, step):
    from numpack.store.format import data_files, folder
    from numpack.store.format.numpack0 import upgrade as module

    large = np.arange(200_000.0)
    write({"x": ROWS, "y": ROWS[:, 0].copy(), "empty": ROWS[:0], "large": large}, {"x": [1, 3]})

    def die(*arguments, **keywords):
        raise Died

    owner = {
        "link": os,
        "write_checksums": data_files,
        "write_store": folder,
        "remove_numpack0_files": module,
    }[step]
    with monkeypatch.context() as patched:
        patched.setattr(owner, step, die)
        with pytest.raises(Died):
            NumPack(OLD, upgrade=True).open()
    expected = {**written, "large": large}
    holds(expected, mode="r")
    holds(expected, upgrade=True)
    with NumPack(OLD) as store:
        store.save({"new": ROWS})
        files = {each["data_file"] for each in store.get_metadata()["arrays"].values()}
    there = set(contents(OLD))
    assert not {name for name in there if name.endswith((".npkd", ".npkb", ".npkm"))}
    assert {name for name in there if name.endswith(".bin")} == files
    holds({**expected, "new": ROWS})


def test_a_file_system_without_second_names_gets_copies(monkeypatch, written):
    def refuse(*arguments, **keywords):
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", refuse)
        holds(written, upgrade=True)
    holds(written)
    assert not list(Path(OLD).glob("*.npk?"))


@pytest.mark.parametrize("moment", ["before it is read", "after it was read"])
@pytest.mark.parametrize(
    "options", [{}, {"mode": "r"}, {"upgrade": True}, {"mode": "w"}], ids=str
)
def test_a_folder_may_be_upgraded_by_another_while_it_is_opened(
    monkeypatch, written, options, moment
):
    read = reader.read

    def late(*path):
        monkeypatch.setattr(reader, "read", read)
        if moment == "before it is read":
            NumPack(OLD, upgrade=True).open()
            return read(*path)
        found = read(*path)
        NumPack(OLD, upgrade=True).open()
        return found

    monkeypatch.setattr(reader, "read", late)
    is_late = moment == "after it was read" and options in ({}, {"mode": "r"})
    if is_late:
        with (
            NumPack(OLD, **options) as store,
            pytest.raises(StoreError, match="upgraded meanwhile"),
        ):
            store.load("x")
    else:
        holds({} if options == {"mode": "w"} else written, **options)
    holds({} if options == {"mode": "w"} else written)
