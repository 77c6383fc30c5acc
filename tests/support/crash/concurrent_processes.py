"""Concurrent writers and readers of one store, each a process.

``python -m support.crash.concurrent_processes write ME SECONDS`` writes, and reports each
commit that has returned; ``read ME SECONDS`` checks that commits are seen whole.
"""

from __future__ import annotations

import random
import sys
import time

import numpy as np

from numpack import NumPack
from numpack.store.format.log import log
from numpack.store.reading.snapshot import Snapshot

ROWS, WIDTH = 700, 2000  # of the array whose rows all hold the same number: more than a block


def write(store: NumPack, me: int, until: float) -> None:
    dice, number = random.Random(me), 0
    while time.monotonic() < until:
        store.append({"x": np.array([[me, number]]), "y": np.array([[me, number]])})
        sys.stdout.write(f"{number}\n")
        sys.stdout.flush()
        number += 1
        fresh = np.full((ROWS, WIDTH), dice.randrange(256), np.uint8)
        match dice.randrange(8):
            case 0:
                store.replace({"same": fresh}, slice(None))
            case 1:
                few = np.full((9, 3), dice.random())
                store.replace({"a": few, "b": -few}, slice(None))
            case 2:
                store.save({"same": fresh})
            case 3:
                store.save({f"own {me}": np.array(number), "size": np.zeros(number % 50)})
            case 4:
                store.clone("a", f"clone {me}")
                store.drop(f"clone {me}")
            case 5:
                store.append({"same": fresh[:0]})


def read(store: NumPack, me: int, until: float) -> None:
    dice, rows, looks = random.Random(me), 0, 0
    snapshots: list[tuple[Snapshot, dict[str, np.ndarray]]] = []
    while time.monotonic() < until:
        looks += 1
        x, y = store.load("x"), store.load("y")
        assert rows <= len(x) <= len(y), "a commit was seen in part, or lost"
        assert np.array_equal(x, y[: len(x)])
        rows = len(x)
        same = store.load("same")
        assert (same == same[0, 0]).all(), "a replace was seen in part"
        some = store.getitem("same", dice.sample(range(ROWS), 300))
        assert (some == some[0, 0]).all(), "a replace was seen in part by getitem"
        if looks % 3 == 0:
            check_snapshots(store, snapshots)
        if looks % 5 == 0:
            assert store.verify().ok, str(store.verify())
        if looks % 7 == 0:
            with NumPack("s.npk", mode="r") as other:  # a reader that opens beside writers
                assert other.get_shape("x")[0] >= rows
        if looks % 11 == 0:
            a = store.load("a", verify=True)
            assert (a == a[0, 0]).all()
    sys.stdout.write(f"{looks}\n")


def check_snapshots(
    store: NumPack, snapshots: list[tuple[Snapshot, dict[str, np.ndarray]]]
) -> None:
    """Check that a new snapshot is of one commit, and that earlier ones are unchanged."""
    snapshot = store._snapshot(["same", "x", "y", "a", "b"])
    assert snapshot.is_held
    values = {name: array.copied() for name, array in snapshot.arrays.items()}
    assert np.array_equal(values["x"], values["y"]), "a snapshot has arrays of two commits"
    assert np.array_equal(values["a"], -values["b"]), "a snapshot has arrays of two commits"
    assert (values["same"] == values["same"][0, 0]).all(), "a replace was seen in part"
    snapshots.append((snapshot, values))
    for each, expected in snapshots:
        for name, array in each.arrays.items():
            assert np.array_equal(array, expected[name]), "a snapshot has changed"
    if len(snapshots) > 3:
        snapshots.pop(0)[0].close()


def build() -> None:
    with NumPack("s.npk") as store:
        empty = np.zeros((0, 2), np.int64)
        same = np.zeros((ROWS, WIDTH), np.uint8)
        store.save({"x": empty, "y": empty, "same": same})
        store.save({"a": np.zeros((9, 3)), "b": np.zeros((9, 3))})


def main() -> None:
    log._COMPACT_BYTES, log._COMPACT_FACTOR = 5000, 2
    what, me, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    with NumPack("s.npk") as store:
        (write if what == "write" else read)(store, me, time.monotonic() + seconds)


if __name__ == "__main__":
    main()
