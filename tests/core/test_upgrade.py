"""NumPack 0.7 folders as stores: read in place, refused to writers, and upgraded."""

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
def fixture_arrays(request):
    """Copy a folder that NumPack 0.7 wrote; return the arrays that it read back."""
    shutil.copytree(FIXTURES / f"{request.param}.npk", OLD)
    with np.load(FIXTURES / f"{request.param}.expected.npz") as expected:
        return dict(expected)


@pytest.fixture
def generated_arrays():
    write({"x": ROWS, "y": ROWS[:, 0].copy(), "empty": ROWS[:0]}, {"x": [1, 3]})
    return {"x": np.delete(ROWS, [1, 3], 0), "y": ROWS[:, 0], "empty": ROWS[:0]}


def same(found: np.ndarray, expected: np.ndarray) -> bool:
    return (found.dtype, found.shape, found.tobytes()) == (
        expected.dtype,
        expected.shape,
        expected.tobytes(),
    )


def check_store(expected: dict[str, np.ndarray], **options: object) -> None:
    """Check that a store holds these arrays, in whichever way they are read."""
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
    """Return the sizes of the data files by their inodes."""
    files = [*Path(OLD).glob("data_*.npkd"), *Path(OLD).glob("data/*.bin")]
    return {file.stat().st_ino: file.stat().st_size for file in files}


# Reading in place


@pytest.mark.parametrize("mode", ["a", "r", "r+"])
def test_fixture_is_read_as_by_numpack_0_7_and_unchanged(fixture_arrays, mode):
    before = contents(OLD)
    check_store(fixture_arrays, mode=mode)
    assert contents(OLD) == before


def test_metadata_of_an_old_folder(fixture_arrays):
    with NumPack(OLD) as store:
        metadata = store.get_metadata()
        assert metadata["total_arrays"] == len(fixture_arrays)
        for name, array in fixture_arrays.items():
            found = metadata["arrays"][name]
            assert (found["shape"], found["dtype"]) == (array.shape, str(array.dtype))
            assert found["size_bytes"] == array.nbytes
            assert (Path(OLD) / found["data_file"]).stat().st_size >= array.nbytes
            assert 1.7e15 < found["last_modified"] == store.get_modify_time(name) < 2e15


def test_lazy_arrays_map_the_old_files(generated_arrays):
    with NumPack(OLD) as store:
        lazy = store.load("y", lazy=True)
        file = Path(OLD) / store.get_metadata()["arrays"]["y"]["data_file"]
        assert file_position(address(np.asarray(lazy))) == (file.stat().st_ino, 0)
        assert store.load("x", lazy=True).obstacle() is not None
        again = pickle.loads(pickle.dumps(store.load("x", lazy=True)))
        assert np.array_equal(again, generated_arrays["x"])
        assert np.array_equal(np.from_dlpack(store.share("y", "dlpack")), generated_arrays["y"])


def test_old_folder_in_batch_mode(generated_arrays):
    with NumPack(OLD) as store, store.batch_mode():
        assert store.load("x") is store.load("x")
        assert np.array_equal(store.getitem("x", 0), ROWS[:1])


def test_old_folder_has_no_checksums(generated_arrays):
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
def test_writing_to_an_old_folder_is_refused(generated_arrays, call, upgrade):
    before = contents(OLD)
    mode = "r" if upgrade else "a"
    refused = pytest.raises(StoreError, match=r"NumPack 0\.x .*upgrade=True")
    with NumPack(OLD, mode=mode, upgrade=upgrade) as store, refused:
        WRITES[call](store)
    assert contents(OLD) == before


@pytest.mark.parametrize("options", [{"mode": "x"}, {"mode": "x", "upgrade": True}])
def test_mode_x_refuses_an_old_folder(generated_arrays, options):
    before = contents(OLD)
    with pytest.raises(NotAStoreError, match="a store at .* already"):
        NumPack(OLD, **options).open()
    assert contents(OLD) == before


# Upgrading


@pytest.mark.parametrize("mode", ["a", "r+"])
def test_upgrade_keeps_arrays_without_rewriting_rows(fixture_arrays, mode):
    before = inodes()
    check_store(fixture_arrays, mode=mode, upgrade=True)
    assert inodes() == before
    assert not {name for name in contents(OLD) if name.endswith((".npkd", ".npkb", ".npkm"))}
    after = contents(OLD)
    check_store(fixture_arrays)
    check_store(fixture_arrays, mode="r")
    check_store(fixture_arrays, upgrade=True)
    assert contents(OLD).keys() == after.keys()
    with NumPack(OLD) as store:
        report = store.verify()
        assert report.ok
        assert report.unchecked == []


def test_upgrade_keeps_times_and_order(fixture_arrays):
    with NumPack(OLD) as store:
        before = [(name, store.get_modify_time(name)) for name in store]
    with NumPack(OLD, upgrade=True) as store:
        assert [(name, store.get_modify_time(name)) for name in store] == before


def test_upgraded_store_can_be_changed(fixture_arrays):
    with NumPack(OLD, upgrade=True) as store:
        expected = {}
        for name, array in fixture_arrays.items():
            if array.ndim and array.dtype.kind != "b":
                rows = np.ones((2, *array.shape[1:]), array.dtype)
                store.append({name: rows})
                store.append({name: rows})
                store.drop(name, [-1, len(array)])
                store.replace({name: rows[:1] + rows[:1]}, -1)
                expected[name] = np.concatenate([array, rows])
                expected[name][-1:] = rows[:1] + rows[:1]
        store.save({"new": ROWS})
    expected = {**fixture_arrays, **expected, "new": ROWS}
    check_store(expected)
    with NumPack(OLD) as store:
        assert store.verify().ok
        for name in expected:
            store.update(name)
        assert store.verify().ok
    check_store(expected)


def test_upgrade_computes_checksums_of_large_arrays():
    array = np.random.default_rng(1).random(400_001)
    write({"x": array}, {"x": [7]})
    with NumPack(OLD, upgrade=True) as store:
        assert store.verify().blocks == 4
        assert np.array_equal(store.load("x", verify=True), np.delete(array, 7))
        store.replace({"x": np.zeros(1)}, 0)
        assert store.verify().ok


def test_lazy_arrays_of_the_old_folder_survive_the_upgrade(generated_arrays):
    with NumPack(OLD) as before:
        lazy = before.load("x", lazy=True)
        with NumPack(OLD, upgrade=True) as store:
            store.append({"x": ROWS})
            store.drop("x", 0)
        assert np.array_equal(lazy, generated_arrays["x"])


@pytest.mark.parametrize("options", [{"mode": "w"}, {"drop_if_exists": True}])
def test_mode_w_and_drop_if_exists_empty_an_old_folder(generated_arrays, options):
    with NumPack(OLD, **options) as store:
        assert list(store) == []
        store.save({"x": ROWS})
    assert set(contents(OLD)) == {
        "numpack.json",
        "commits.log",
        "lock",
        *(f"data/{file}" for file in os.listdir(f"{OLD}/data")),
    }
    check_store({"x": ROWS})


def test_other_files_of_an_old_folder_are_kept(generated_arrays):
    Path(OLD, "notes.txt").write_text("mine")
    check_store(generated_arrays, upgrade=True)
    assert Path(OLD, "notes.txt").read_text() == "mine"


def test_upgrade_of_a_current_store_does_nothing():
    with NumPack(OLD, upgrade=True) as store:
        store.save({"x": ROWS})
    check_store({"x": ROWS}, upgrade=True)


def test_damaged_folder_is_not_upgraded(generated_arrays):
    META.write_bytes(META.read_bytes()[:-1])
    before = contents(OLD)
    with pytest.raises(CorruptStoreError, match="damaged"):
        NumPack(OLD, upgrade=True).open()
    after = contents(OLD)
    after.pop("lock", None)
    assert after == before


@pytest.mark.parametrize("options", [{"drop_if_exists": True, "mode": "r"}])
def test_contradictory_options_are_refused(generated_arrays, options):
    with pytest.raises(InvalidValueError):
        NumPack(OLD, **options)


# Interrupted and concurrent upgrades

CONCURRENT_UPGRADE = """
import sys
from numpack import NumPack
sys.stdin.readline()
with NumPack("old.npk", upgrade=True) as store:
    assert sorted(store) == ["empty", "x", "y"], list(store)
    assert store.get_shape("x") == (4, 2)
    store.append({"y": store.load("y")[:1]})
"""


@pytest.mark.parametrize("attempt", range(3))
def test_concurrent_upgrades(generated_arrays, attempt):
    workers = [
        subprocess.Popen(
            [sys.executable, "-W", "error", "-c", CONCURRENT_UPGRADE], stdin=subprocess.PIPE
        )
        for _ in range(3)
    ]
    for worker in workers:
        worker.stdin.write(b"\n")
        worker.stdin.flush()
    for worker in workers:
        worker.communicate(timeout=60)
    assert [worker.returncode for worker in workers] == [0, 0, 0]
    check_store({**generated_arrays, "y": np.concatenate([generated_arrays["y"], [0.0] * 3])})
    with NumPack(OLD) as store:
        assert store.verify().ok


STEPS = ["link", "write_checksums", "write_store", "remove_numpack0_files"]


class Died(BaseException):
    pass


@pytest.mark.parametrize("step", STEPS)
def test_interrupted_upgrade_leaves_the_old_or_the_new_store(
    monkeypatch, generated_arrays, step
):
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
    expected = {**generated_arrays, "large": large}
    check_store(expected, mode="r")
    check_store(expected, upgrade=True)
    with NumPack(OLD) as store:
        store.save({"new": ROWS})
        files = {each["data_file"] for each in store.get_metadata()["arrays"].values()}
    there = set(contents(OLD))
    assert not {name for name in there if name.endswith((".npkd", ".npkb", ".npkm"))}
    assert {name for name in there if name.endswith(".bin")} == files
    check_store({**expected, "new": ROWS})


def test_upgrade_copies_files_without_hard_links(monkeypatch, generated_arrays):
    def refuse(*arguments, **keywords):
        raise PermissionError(1, "Operation not permitted")

    with monkeypatch.context() as patched:
        patched.setattr(os, "link", refuse)
        check_store(generated_arrays, upgrade=True)
    check_store(generated_arrays)
    assert not list(Path(OLD).glob("*.npk?"))


@pytest.mark.parametrize("moment", ["before it is read", "after it was read"])
@pytest.mark.parametrize(
    "options", [{}, {"mode": "r"}, {"upgrade": True}, {"mode": "w"}], ids=str
)
def test_folder_upgraded_by_another_while_it_is_opened(
    monkeypatch, generated_arrays, options, moment
):
    read = reader.read

    def upgrade_meanwhile(*path):
        monkeypatch.setattr(reader, "read", read)
        if moment == "before it is read":
            NumPack(OLD, upgrade=True).open()
            return read(*path)
        found = read(*path)
        NumPack(OLD, upgrade=True).open()
        return found

    monkeypatch.setattr(reader, "read", upgrade_meanwhile)
    is_late = moment == "after it was read" and options in ({}, {"mode": "r"})
    if is_late:
        with (
            NumPack(OLD, **options) as store,
            pytest.raises(StoreError, match="upgraded meanwhile"),
        ):
            store.load("x")
    else:
        check_store({} if options == {"mode": "w"} else generated_arrays, **options)
    check_store({} if options == {"mode": "w"} else generated_arrays)
