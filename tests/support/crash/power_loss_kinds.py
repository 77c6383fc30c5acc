"""Every kind of change under ``durability="power"``, run and recorded.

Run as ``python -m support.crash.power_loss_kinds KIND EVENTS STATES`` with the library of
`power_loss.built` in ``LD_PRELOAD``.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from numpack import NumPack
from numpack.store.format.log import log
from support.crash.operations import (
    FOLD,
    ROWS,
    SNAPSHOT,
    TEMPORARY,
    adopt,
    attributed,
    batch_with_attributes,
    beside,
    large,
    nothing,
    old,
    parallel_write,
    small,
    state_of,
    wide,
)

PATH = "deep/er/s.npk"
Run = Callable[[], Iterator[None]]


@dataclass(frozen=True)
class Kind:
    """One kind of change.

    Attributes
    ----------
    run : callable
        Makes changes at `PATH`, and yields after each that has returned.
    build : callable
        Creates the store that is on the device before the run.
    mixed : str
        Name of an array to which a change may be applied in part.
    thresholds : dict of str to int
        Of the log.
    at_once : bool
        Whether durability holds before the first change has returned.
    """

    run: Run
    build: Callable[[str], object] = small
    mixed: str = ""
    thresholds: dict[str, int] | None = None
    at_once: bool = True


def changes(*calls: Callable[[NumPack], object], **options: str) -> Run:
    """Make a run of calls through one handle, which is closed afterwards."""

    def run() -> Iterator[None]:
        with NumPack(PATH, **{"durability": "power", **options}) as store:  # type: ignore[arg-type]
            for call in calls:
                call(store)
                yield

    return run


def create() -> Iterator[None]:
    store = NumPack(PATH, durability="power")
    store.open()
    yield
    store.save({"x": ROWS})
    yield
    store.close()


def emptied(**options: object) -> Run:
    def run() -> Iterator[None]:
        with NumPack(PATH, durability="power", **options) as store:  # type: ignore[arg-type]
            yield
            store.save({"new": ROWS})
            yield

    return run


def batch(store: NumPack) -> None:
    with store.batch_mode():
        store.load("x")[:] += 1
        store.save({"new": wide(20), "y": -ROWS})


def writable(store: NumPack) -> None:
    with store.writable_batch_mode() as block:
        block.load("big")[:] += 1


def big(path: str) -> None:
    with NumPack(path) as store:
        store.save({"x": ROWS, "big": np.arange(5000), "y": ROWS + 1})


def two_handles() -> Iterator[None]:
    with NumPack(PATH, durability="power") as one, NumPack(PATH, durability="power") as two:
        for number in range(4):
            one.save({"x": ROWS + number})
            yield
            two.append({"x": ROWS, "y": ROWS})
            yield
            one.replace({"x": -ROWS}, [0, 3, 4])
            yield
            two.replace({"x": ROWS * 9, "y": ROWS}, [0, 1, 2])
            yield


def beside_snapshots() -> Iterator[None]:
    with NumPack(PATH, durability="power") as store:
        snapshot = store._snapshot(["x", "z"])
        store.replace({"x": -ROWS[:2], "y": ROWS[:2]}, [2, 0])
        yield
        store.append({"x": ROWS})
        yield
        store.replace({"z": -np.ones(2, int)}, [0, 3])
        yield
        snapshot.close()
        snapshot = store._snapshot(["y"])
        store.replace({"x": ROWS, "y": -ROWS}, slice(0, 3))
        yield
        snapshot.close()


def adopted() -> Iterator[None]:
    """Adopt arrays of temporary stores, which are removed afterwards."""
    with NumPack(PATH, durability="power") as store:
        for rows in ({"x": wide(1100), "new": ROWS}, {"new": wide(7), "e": ROWS[:0]}):
            beside(rows)(store)
            adopt(store)
            yield
            TEMPORARY.pop().close()
            shutil.rmtree(f"{PATH}.new")


def process_before() -> Iterator[None]:
    """Change through a handle that does not flush, and then through one that does."""
    with NumPack(PATH) as store:
        store.save({"x": wide(30), "y": ROWS})
        store.append({"x": wide(3)})
        store.replace({"y": -ROWS}, slice(None))
        with NumPack(PATH, durability="power") as other:
            other.save({"new": ROWS})
            yield
            other.append({"x": wide(1)})
            yield


def synced() -> Iterator[None]:
    with NumPack(PATH) as store:
        store.save({"x": wide(30), "y": ROWS, "z": np.arange(9)})
        store.append({"x": wide(3)})
        store.drop("z", [3])
        store.replace({"y": -ROWS}, [0, 2, 1])
        store.sync()
        yield


def many_replaces(store: NumPack) -> None:
    rows = np.r_[0:30, 600:640]
    store.replace({"x": wide(len(rows), 3), "y": wide(len(rows), 5)}, rows)


LONG = {f"a name that fills the line {number} {'x' * 60}": ROWS + number for number in range(9)}

KINDS = {
    "create": Kind(create, nothing),
    "save new": Kind(
        changes(lambda s: s.save({"new": wide(9)}), lambda s: s.save({"b": ROWS}))
    ),
    "save over": Kind(
        changes(lambda s: s.save({"x": -ROWS}), lambda s: s.save({"x": wide(7), "y": ROWS}))
    ),
    "save several": Kind(changes(lambda s: s.save(LONG), lambda s: s.save(LONG))),
    "save blocks": Kind(changes(lambda s: s.save({"x": wide(1100), "new": ROWS}))),
    "parallel write": Kind(
        changes(
            parallel_write("x", -ROWS), parallel_write("new", wide(1100)), lambda s: s.reset()
        )
    ),
    "adopt": Kind(adopted, large),
    "append": Kind(
        changes(
            *[lambda s: s.append({"x": ROWS})] * 9, lambda s: s.append({"x": ROWS, "y": ROWS})
        )
    ),
    "append across blocks": Kind(
        changes(lambda s: s.append({"x": wide(3)}), lambda s: s.append({"x": wide(2)})), large
    ),
    "replace": Kind(
        changes(
            lambda s: s.replace({"x": -ROWS}, [2, 0, 1]),
            lambda s: s.replace({"x": ROWS[:1], "y": ROWS[:1]}, 1),
            lambda s: s.replace({"y": -ROWS[:2]}, [0, 2]),
        )
    ),
    "replace beside snapshots": Kind(beside_snapshots),
    "replace much": Kind(changes(many_replaces, many_replaces), large),
    "drop rows": Kind(
        changes(
            lambda s: s.drop("x", [1]),
            lambda s: s.drop(["y", "z"], [0]),
            lambda s: s.drop("z", [0]),
        )
    ),
    "drop": Kind(changes(lambda s: s.drop("y"), lambda s: s.drop(["x", "z"]))),
    "update": Kind(changes(lambda s: s.update("z"), lambda s: s.append({"z": np.arange(2)}))),
    "clone": Kind(changes(lambda s: s.clone("z", "new"), lambda s: s.clone("x", "other"))),
    "rename": Kind(changes(lambda s: s.rename("z", "new"), lambda s: s.rename("x", "other"))),
    "reset": Kind(changes(lambda s: s.reset(), lambda s: s.save({"x": -ROWS}))),
    "batch": Kind(changes(batch)),
    "first attributes": Kind(
        changes(
            lambda s: s.attrs["x"].update(dims=["a", "b"], note="x" * 700),
            lambda s: s.attrs.store.update(title="t"),
            lambda s: s.append({"x": ROWS}),
        )
    ),
    "attributes": Kind(
        changes(
            lambda s: s.attrs["x"].update(n=1),
            lambda s: s.save({"x": -ROWS}),
            lambda s: s.attrs["x"].clear(),
            lambda s: s.attrs.store.clear(),
        ),
        attributed,
    ),
    "batch with attributes": Kind(changes(batch_with_attributes)),
    "writable batch": Kind(changes(writable), big, mixed="big"),
    "mode w": Kind(emptied(mode="w")),
    "drop_if_exists": Kind(emptied(drop_if_exists=True)),
    "upgrade": Kind(emptied(upgrade=True), old("deleted_then_appended")),
    "snapshots": Kind(
        changes(*[lambda s: s.append({"x": ROWS})] * 3, lambda s: s.save({"new": ROWS})),
        thresholds=SNAPSHOT,
    ),
    "fold": Kind(
        changes(
            lambda s: s.append({"x": ROWS}),
            lambda s: s.replace({"x": -ROWS}, [0, 1, 2]),
            lambda s: s.drop("y"),
        ),
        thresholds=FOLD,
    ),
    "two handles": Kind(two_handles),
    "after a process": Kind(process_before, nothing, at_once=False),
    "sync": Kind(synced, nothing, at_once=False),
}


def main() -> None:
    """Record a kind: its events, and the state of the store after each change."""
    name, events, states = sys.argv[1:]
    kind = KINDS[name]
    recorder = ctypes.CDLL(None)
    for threshold, value in (kind.thresholds or {}).items():
        setattr(log, threshold, value)
    options = {"mode": "r"}
    found = [None if kind.build is nothing else _seen(options)]
    recorder.recorder_begin(os.open(events, os.O_WRONLY | os.O_CREAT, 0o600))
    for _ in kind.run():
        recorder.recorder_note()
        recorder.recorder_begin(-1)
        found.append(_seen(options))
        recorder.recorder_begin(os.open(events, os.O_WRONLY | os.O_APPEND))
    recorder.recorder_begin(-1)
    with open(states, "wb") as file:
        pickle.dump(found, file)


def _seen(options: dict[str, str]) -> object:
    with NumPack(PATH, **options) as store:  # type: ignore[arg-type]
        return state_of(store)


if __name__ == "__main__":
    main()
