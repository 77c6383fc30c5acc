"""An epoch reads one commit, whatever writers do beside it."""

from __future__ import annotations

import gc
import os
import subprocess
import sys

import numpy as np
import pytest
from support.each import assert_each

from numpack import InvalidValueError, Loader, NumPack

N = 1000


def arrays(count=N, value=0):
    return {"x": np.full((count, 8), value), "y": np.arange(count) + 10_000 * value}


CHANGES = {
    "append": lambda npk: npk.append(arrays(50, 3)),
    "replace": lambda npk: npk.replace(arrays(100, 4), np.arange(0, N, 10)),
    "drop rows": lambda npk: npk.drop(["x", "y"], np.arange(0, N, 7)),
    "save again": lambda npk: npk.save(arrays(N, 5)),
    "drop": lambda npk: npk.drop(["x", "y"]),
    "reset": lambda npk: npk.reset(),
    "drop and update": lambda npk: (npk.drop("x", [0]), npk.update("x")),
    "close": lambda npk: npk.close(),
}


def in_place(npk):
    with npk.writable_batch_mode() as batch:
        batch.load("x")[:] = 9


CHANGES["writable_batch_mode"] = in_place


def loader(source, **options):
    return Loader(source, ["x", "y"], **{"batch_size": 10, "target": "numpy", **options})


def test_changes_in_mid_epoch_do_not_show():
    def check(change, shuffle, prefetch):
        with NumPack("s.npk", drop_if_exists=True) as npk:
            npk.save(arrays())
            given = loader(npk, shuffle=shuffle, prefetch=prefetch)
            batches = iter(given)
            found = [next(batches) for _ in range(3)]
            CHANGES[change](npk)
            found += list(batches)
            assert np.array_equal(
                np.sort(np.concatenate([b["y"] for b in found])), np.arange(N)
            )
            assert not any(batch["x"].any() for batch in found)

    cells = [(c, s, p) for c in CHANGES for s in (True, False) for p in (0, 2)]
    assert_each(cells, check)


def test_views_that_are_kept_stay_as_they_are():
    with NumPack("s.npk") as npk:
        npk.save(arrays())
        given = loader(npk, shuffle=False)
        kept = list(given)
        inode = os.stat(data_file(npk, "x")).st_ino
        npk.replace(arrays(N, 1), slice(None))
        assert os.stat(data_file(npk, "x")).st_ino != inode
        assert all((batch["x"] == 1).all() for batch in given)
        npk.replace(arrays(N, 2), slice(None))
        del given
        gc.collect()
        npk.replace(arrays(N, 3), slice(None))
        assert not any(batch["x"].any() for batch in kept)
        del kept
        gc.collect()
        inode = os.stat(data_file(npk, "x")).st_ino
        npk.replace(arrays(N, 4), slice(None))
        assert os.stat(data_file(npk, "x")).st_ino == inode  # in place again


def data_file(npk, name):
    return f"s.npk/{npk.get_metadata()['arrays'][name]['data_file']}"


def test_the_next_epoch_has_the_changes():
    with NumPack("s.npk") as npk:
        npk.save(arrays())
        given, path = loader(npk), loader("s.npk")
        for each in (given, path):
            assert len(list(each)) == 100
        npk.append(arrays(50, 3))
        npk.replace(arrays(1, 4), [0])
        for each in (given, path):
            found = list(each)
            assert len(found) == len(each) == 105
            assert sum(int((batch["x"] == 3).all(axis=1).sum()) for batch in found) == 50
            assert sum(int((batch["x"] == 4).all(axis=1).sum()) for batch in found) == 1


def test_epochs_beside_a_writing_process_are_each_of_one_commit():
    with NumPack("s.npk") as npk:
        npk.save(arrays())
    script = """
import sys
import numpy as np
from numpack import NumPack
rng = np.random.default_rng(0)
with NumPack("s.npk") as npk:
    print("ready", flush=True)
    for value in range(1, 10_000):
        count = len(npk.load("y", lazy=True))
        new = {"x": np.full((count, 8), value), "y": np.full(count, value)}
        if value % 3 == 0:
            npk.save({"x": np.full((count + 1, 8), value), "y": np.full(count + 1, value)})
        elif value % 3 == 1:
            npk.replace(new, slice(None))
        else:
            npk.replace(new, np.arange(count))
"""
    writer = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    try:
        assert writer.stdout.readline() == b"ready\n"
        seen = set()
        given = loader("s.npk", threads=1)
        for epoch in range(60):
            values = set()
            for batch in given:
                values |= set(np.unique(batch["x"]).tolist())
                if epoch or batch["y"].max() < 10_000:
                    assert (batch["x"].max(axis=1) == batch["x"].min(axis=1)).all()
            assert len(values) == 1, (epoch, values)
            seen |= values
        assert len(seen) > 3
        assert writer.poll() is None
    finally:
        writer.kill()
        writer.wait()
        writer.stdout.close()


def test_a_store_that_its_user_closes_and_opens_again():
    npk = NumPack("s.npk")
    npk.open()
    npk.save(arrays())
    given = loader(npk)
    npk.close()
    assert len(list(given)) == 100
    with NumPack("s.npk") as other:
        other.append(arrays(10))
    assert len(list(given)) == 100  # the arrays of the last epoch
    assert len(list(loader("s.npk"))) == 101
    npk.open()
    assert len(list(given)) == 101
    npk.close()


def test_an_array_without_rows_is_refused_in_the_next_epoch(tmp_path):
    with NumPack(tmp_path / "scalar.npk") as npk:
        npk.save({"x": np.arange(5)})
        given = Loader(npk, "x", target="numpy")
        npk.save({"x": np.array(5.0)})
        with pytest.raises(InvalidValueError, match="0-d"):
            iter(given)
        npk.save({"x": np.arange(7)})
        assert sum(len(batch) for batch in given) == 7
