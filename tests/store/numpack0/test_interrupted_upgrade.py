"""Interrupted and concurrent upgrades."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from support.files import contents
from support.store.numpack0_store import FIXTURES, OLD, ROWS, check_store, write

from numpack import CorruptStoreError, NumPack, StoreError
from numpack.store.format.numpack0 import reader

CONCURRENT_UPGRADE = """
import sys
from numpack import NumPack
sys.stdin.readline()
with NumPack("old.npk", upgrade=True) as store:
    assert sorted(store) == ["empty", "x", "y"], list(store)
    assert store.get_shape("x") == (4, 2)
    store.append({"y": store.load("y")[:1]})
"""


@pytest.mark.parametrize("attempt", range(2))
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


pytestmark = pytest.mark.system


def test_reader_of_an_old_folder_during_its_upgrade():
    source = FIXTURES / "deleted.npk"
    shutil.copytree(source, "old.npk")
    with NumPack("old.npk") as reader:
        before = {name: reader.load(name) for name in reader}
        with NumPack("old.npk", upgrade=True) as store:
            store.append({"x": store.load("x")[:1]})
        for name, rows in before.items():
            try:
                assert np.array_equal(reader.load(name)[: len(rows)], rows)
            except CorruptStoreError as error:
                pytest.fail(f"an upgraded store is taken for a damaged one: {error}")
            except StoreError as error:
                if "upgraded" not in str(error):
                    raise
