"""`Snapshot`: one commit, whose rows writers do not change while it is open."""

from __future__ import annotations

import gc
import os
import signal

import numpy as np
import pytest
from support.store.values import ids, inode, state, values

from numpack import NotFoundError, NumPack
from numpack.store.format import journal

ROWS = np.arange(6.0).reshape(3, 2)
BLOCK = 1 << 20


def write_in_place(store: NumPack) -> None:
    with store.writable_batch_mode() as batch:
        for name in ("x", "z", "empty"):
            batch.load(name)[...] = -1


def batch(store: NumPack) -> None:
    with store.batch_mode():
        store.load("x")[:] += 1
        store.replace({"y": -ROWS}, slice(None))


CHANGES = {
    "replace": lambda s: s.replace({"x": -ROWS, "z": np.arange(3)}, [2, 0, 1]),
    "replace of one row": lambda s: s.replace({"z": np.array(-1)}, 3),
    "writable_batch_mode": write_in_place,
    "append": lambda s: s.append({"x": ROWS, "empty": ROWS}),
    "drop of rows": lambda s: s.drop(["x", "z"], 0),
    "drop": lambda s: s.drop(["x", "0-d"]),
    "save": lambda s: s.save({"x": -ROWS, "0-d": np.array(8), "new": ROWS}),
    "update": lambda s: (s.update("z"), s.replace({"z": np.zeros(7, int)}, slice(None))),
    "clone": lambda s: (s.drop("new"), s.clone("x", "new"), s.replace({"x": -ROWS}, [0, 1, 2])),
    "batch_mode": batch,
    "reset": lambda s: (s.reset(), s.save({"x": -ROWS}), s.replace({"x": ROWS + 9}, slice(3))),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("by", ["this handle", "another handle"])
def test_snapshot_is_unchanged_and_new_readers_see_the_change(filled, change, by):
    snapshot = filled._snapshot()
    assert snapshot.is_held
    before = state()
    assert values(snapshot.arrays) == before
    with NumPack("s.npk") as other:
        CHANGES[change](filled if by == "this handle" else other)
        after = state()
        assert after != before
        assert values(filled) == values(other) == after
        assert values(snapshot.arrays) == before
    CHANGES[change](filled)  # once more, when the new files are not held
    assert filled.verify().ok
    assert values(filled) == state()
    assert values(snapshot.arrays) == before
    filled.close()
    assert values(snapshot.arrays) == before


def test_arrays_and_commit_are_those_of_the_names(filled):
    snapshot = filled._snapshot(["y", "x", "y"])
    assert list(snapshot.arrays) == ["y", "x"]
    assert snapshot.commit == 2
    assert filled._snapshot([]).arrays == {}
    filled.append({"z": np.arange(1)})
    assert filled._snapshot().commit == 3
    assert list(filled._snapshot().arrays) == list(filled)
    with pytest.raises(NotFoundError, match="'q'; the arrays are: 'x'"):
        filled._snapshot(["x", "q"])


def test_snapshot_in_batch_mode_has_the_changes_of_the_batch(filled):
    with filled.batch_mode():
        filled.load("x")[:] = 5
        filled.save({"new": ROWS})
        assert (filled._snapshot(["x"]).arrays["x"][:] == 5).all()
        assert "new" in filled._snapshot().arrays


def test_replace_is_in_place_without_and_after_snapshots(filled):
    for release in ("close", "collect", "with"):
        at = inode(filled, "x")
        filled.replace({"x": ROWS[:1]}, 2)
        assert inode(filled, "x") == at
        lazy = filled.load("x", lazy=True)
        snapshot = filled._snapshot()
        if release == "with":
            with snapshot:
                filled.replace({"x": -ROWS[:1]}, 2)
        else:
            filled.replace({"x": -ROWS[:1]}, 2)
        assert inode(filled, "x") != at
        assert lazy[2].tolist() == snapshot.arrays["x"][2].tolist() == [0, 1]
        at = inode(filled, "x")
        snapshot = filled._snapshot()
        arrays = snapshot.arrays
        if release == "collect":
            del snapshot
            gc.collect()
        else:
            snapshot.close()
            snapshot.close()
        filled.replace({"x": ROWS[2:]}, 2)
        assert inode(filled, "x") == at
        assert arrays["x"][2].tolist() == ROWS[2].tolist(), "it is a lazy array as any other"


def test_several_arrays_of_which_some_are_held_are_replaced_in_one_commit(filled):
    before = ids(filled)
    snapshot = filled._snapshot(["y", "z"])
    commit = filled._snapshot([]).commit
    counted = filled.get_io_stats()["commits"]
    filled.replace({"x": -ROWS, "y": -ROWS, "z": np.zeros(3, int)}, [0, 1, 2])
    assert filled.get_io_stats()["commits"] == counted + 1
    assert filled._snapshot([]).commit == commit + 1
    after = ids(filled)
    assert {name for name in after if after[name] != before[name]} == {"y", "z"}
    assert values(snapshot.arrays) == {
        "y": (ROWS + 10).tolist(),
        "z": [0, 2, 3, 4, 6, 7, 8],
    }
    found = state()
    assert found["x"] == found["y"] == (-ROWS).tolist()
    assert found["z"] == [0, 0, 0, 4, 6, 7, 8]
    files = {name.partition(".")[0] for name in os.listdir("s.npk/data")}
    assert files == set(after.values()), "the replaced files are not unlinked"


def test_array_that_is_held_while_the_journal_is_rewritten_is_copied_too(filled, monkeypatch):
    """A file may become held at any time until the journal is written."""
    snapshots, write = [filled._snapshot(["x"])], journal.write
    before = ids(filled)

    def slow(*args, **options):
        if len(args[3]) == 2:  # the first time, "x" was among them
            with NumPack("s.npk", mode="r") as other:
                snapshots.append(other._snapshot(["y"]))
        return write(*args, **options)

    monkeypatch.setattr(journal, "write", slow)
    filled.replace({"x": -ROWS, "y": -ROWS, "z": np.zeros(3, int)}, [0, 1, 2])
    changed = {name for name, each in ids(filled).items() if each != before[name]}
    assert changed == {"x", "y"}
    assert snapshots[1].arrays["y"][:].tolist() == (ROWS + 10).tolist()
    found = state()
    assert found["x"] == found["y"] == (-ROWS).tolist()
    assert found["z"][:3] == [0, 0, 0]


def test_large_arrays_are_copied_with_checksums_and_deleted_rows(store):
    rows = np.arange(3 * BLOCK // 8 + 5)
    store.save({"x": rows})
    store.drop("x", [0, 7, 200_000])
    expected = np.delete(rows, [0, 7, 200_000])
    snapshot = store._snapshot()
    chosen = np.arange(1000, 300_000, 2)
    store.replace({"x": -chosen}, chosen)
    assert np.array_equal(snapshot.arrays["x"], expected)
    expected[chosen] = -chosen
    assert np.array_equal(store.load("x", verify=True), expected)
    store.append({"x": rows[:9]})
    store.replace({"x": rows[:3]}, [0, 1, 2])
    assert store.verify().ok
    store.update("x")
    assert np.array_equal(store.load("x")[3:], np.r_[expected, rows[:9]][3:])


def test_damage_remains_detectable_in_the_copy(store):
    store.save({"x": np.zeros(3 * BLOCK // 8)})
    with open(f"s.npk/{store._arrays()['x'].data_file}", "r+b") as file:
        file.seek(BLOCK + 9)
        file.write(b"damage")
    snapshot = store._snapshot()
    store.replace({"x": np.ones(2)}, [0, -1])
    assert [each.block for each in store.verify().damaged] == [1]
    snapshot.close()


def test_array_that_is_open_in_place_is_not_held_and_not_copied(filled):
    with filled.writable_batch_mode() as first, NumPack("s.npk") as other:
        x = first.load("x")
        snapshot = other._snapshot(["x", "y"])
        assert not snapshot.is_held
        assert other._snapshot(["y"]).is_held
        with other.writable_batch_mode() as second:
            second.load("x")[0] = 5
            other.replace({"x": ROWS[:1]}, 2)
            x[1] = 6
    assert filled.load("x").tolist() == [[5, 5], [6, 6], [0, 1]]
    assert filled._snapshot().is_held


def test_array_that_a_dead_process_had_open_in_place_is_copied(filled, run_python):
    snapshot = filled._snapshot(["x"])
    run_python(
        """
import os, signal
from numpack import NumPack
from numpack.store.format import data_files
data_files.copy_files = lambda *args, **options: os.kill(os.getpid(), signal.SIGKILL)
store = NumPack("s.npk")
store.open()
with store.writable_batch_mode() as batch:
    batch.load("x")
""",
        expect=-signal.SIGKILL,
    )
    assert filled._arrays()["x"].writable
    filled.replace({"x": -ROWS}, slice(None))
    assert snapshot.arrays["x"][:].tolist() == ROWS.tolist()
    assert filled.load("x").tolist() == (-ROWS).tolist()
    snapshot = filled._snapshot(["x"])
    assert not snapshot.is_held, "it is marked still"
    write_in_place(filled)
    assert (filled.load("x") == -1).all()
    assert filled.verify().ok
