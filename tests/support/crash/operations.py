"""Every call that changes a store, with the store on which it is made."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from numpack import NumPack
from numpack.store.commits.attributes import AttributeChange
from numpack.store.format.log import log

State = dict[str, tuple[str, tuple[int, ...], bytes, str]]

ROWS = np.arange(6.0).reshape(3, 2)
BLOCK = 1 << 20
WIDE = np.arange(1000, dtype=np.uint16).astype(np.uint8)  # a row: 1,048 nearly fill a block
OLD = Path(__file__).parents[2] / "data" / "numpack-0.7.0"


def state_of(store: NumPack) -> State:
    """Return all values and attributes of a store, for comparison byte by byte."""
    loaded = {name: store.load(name) for name in store}
    found = {
        n: (str(a.dtype), a.shape, a.tobytes(), repr(store.attrs[n])) for n, a in loaded.items()
    }
    own = repr(store.attrs.store)
    return found if own == "Attributes({})" else found | {"": ("", (), b"", own)}


def wide(rows: int, add: int = 0) -> np.ndarray:
    return (np.arange(rows, dtype=np.uint8)[:, None] + WIDE + add).astype(np.uint8)


def nothing(path: str) -> None:
    """Start without a store."""


def small(path: str) -> None:
    with NumPack(path) as store:
        store.save({"x": ROWS, "y": ROWS + 10, "z": np.arange(9)})
        store.drop("z", [1, 5])


def large(path: str) -> None:
    with NumPack(path) as store:
        store.save({"x": wide(1048), "y": wide(2100), "z": np.arange(3000.0)})
        store.drop("y", [0, 2000])


def old(name: str) -> Callable[[str], None]:
    return lambda path: shutil.copytree(OLD / f"{name}.npk", path) and None


@dataclass(frozen=True)
class Operation:
    """A call that changes a store.

    Attributes
    ----------
    act : callable
        Makes the call on a store.
    build : callable
        Creates the store at a path.
    prepare : callable
        Prepares the store before the call.
    options : dict
        Of `NumPack`.
    calls : str
        System calls that the call must make, so that faults in them are exercised.
    in_place : bool
        Whether lazy arrays that were loaded before show it.
    mixes : bool
        Whether it may be applied in part when the process is killed.
    opens : bool
        Whether the call itself opens the store.
    thresholds : dict of str to int
        Of the log.
    """

    act: Callable[[NumPack], Any]
    build: Callable[[str], None] = small
    prepare: Callable[[NumPack], Any] = lambda s: s.save({"warm": ROWS})
    options: dict[str, Any] | None = None
    calls: str = "open pwrite flock"
    in_place: bool = False
    mixes: bool = False
    opens: bool = False
    thresholds: dict[str, int] | None = None

    def store(self, path: str) -> NumPack:
        """Open and prepare the store for the call."""
        for name, value in (self.thresholds or {}).items():
            setattr(log, name, value)
        store = NumPack(path, **(self.options or {}))
        if not self.opens:
            store.open()
            self.prepare(store)
        return store


def batch(store: NumPack) -> None:
    with store.batch_mode():
        store.load("x")[:] += 1
        store.load("z")[:] -= 1
        store.save({"new": ROWS, "y": -ROWS})


def batch_with_limit(store: NumPack) -> None:
    with store.batch_mode(memory_limit=0):
        store.save({"x": -ROWS})


def writable_batch(store: NumPack) -> None:
    with store.writable_batch_mode() as batch:
        batch.load("z")[:] = -7
        batch.load("x")[:] = -7


def replace_many(store: NumPack) -> None:
    rows = np.r_[0:30, 600:640]
    store.replace({"x": wide(len(rows), 3), "y": wide(len(rows), 5)}, rows)


def attributed(path: str) -> None:
    small(path)
    with NumPack(path) as store:
        store.attrs["x"].update(dims=["a", "b"], note="x" * 700)
        store.attrs.store["title"] = "t"


def batch_with_attributes(store: NumPack) -> None:
    with store.batch_mode():
        store.save({"new": ROWS, "x": -ROWS})
        store.attrs["new"]["dims"] = ["a", "b"]
        store.attrs["y"]["units"] = "m"
        store.attrs.store["title"] = "t"


def fill_the_log(store: NumPack) -> None:
    for number in range(12):
        store.append({"x": ROWS + number})


def reopened(store: NumPack) -> None:
    store.close()
    store.open()


def mapped(store: NumPack) -> None:
    """Map the file for writing before the call."""
    store.replace({"x": ROWS[:1]}, 2)


def parallel_write(name: str, rows: np.ndarray) -> Callable[[NumPack], None]:
    """Write an array in two parts, of which some rows are written twice."""

    def write(store: NumPack) -> None:
        with store.begin(name, rows.shape, rows.dtype) as plan:
            middle = len(rows) // 2
            plan[middle:] = rows[middle:]
            plan[: middle + 1] = rows[: middle + 1]

    return write


TEMPORARY: list[NumPack] = []  # the last one; kept open while the call is made


def beside(arrays: dict[str, np.ndarray], deleted: str = "") -> Callable[[NumPack], None]:
    """Make a finished, temporary store of arrays beside the store, before the call."""

    def make(store: NumPack) -> None:
        for each in TEMPORARY:
            each.close()
        path = f"{store._handle.path}.new"
        shutil.rmtree(path, ignore_errors=True)
        other = NumPack(path, mode="x")
        other.open()
        other.save(arrays)
        if deleted:
            other.drop(deleted, [0, 2])
        TEMPORARY[:] = [other]

    return make


def adopt(store: NumPack) -> None:
    """Adopt all arrays of the temporary store, with attributes for one and for the store."""
    changes = {"new": AttributeChange({"dims": ["a", "b"]}), None: AttributeChange({"t": 1})}
    store._adopt(TEMPORARY[0], changes)


SNAPSHOTS = []  # the last one; held while the call is made


def hold(*names: str) -> Callable[[NumPack], None]:
    """Take a snapshot before the call."""

    def take(store: NumPack) -> None:
        SNAPSHOTS[:] = [store._snapshot(names)]
        assert SNAPSHOTS[0].is_held

    return take


POWER = {"durability": "power"}
SNAPSHOT = {"_SNAPSHOT_EVERY": 0, "_SNAPSHOT_FACTOR": 0}
FOLD = {**SNAPSHOT, "_COMPACT_BYTES": -1, "_COMPACT_FACTOR": 0}
GROW = "open pwrite flock"
NEW = "open pwrite rename mkdir flock"
UNLINK = "open pwrite flock unlink"
IN_PLACE = "open pwrite flock page"

OPERATIONS = {
    "create": Operation(lambda s: s.open(), nothing, opens=True, calls=NEW),
    "open": Operation(lambda s: s.open(), opens=True, calls="open"),
    "save": Operation(lambda s: s.save({"new": ROWS})),
    "save over": Operation(lambda s: s.save({"x": -ROWS}), calls=UNLINK),
    "save several": Operation(
        lambda s: s.save(
            {"x": -ROWS, "new": ROWS, "y": np.asfortranarray(ROWS), "e": ROWS[:0]}
        ),
        calls=UNLINK,
    ),
    "save large": Operation(lambda s: s.save({"x": wide(3000), "new": wide(1100)}), large),
    "first save": Operation(lambda s: s.save({"new": ROWS}), prepare=lambda s: None),
    "append": Operation(lambda s: s.append({"x": ROWS}), calls=GROW),
    "append several": Operation(lambda s: s.append({"x": ROWS, "y": -ROWS}), calls=GROW),
    "append to dropped": Operation(lambda s: s.append({"z": np.arange(4)}), calls=GROW),
    "append over a block": Operation(lambda s: s.append({"x": wide(3)}), large),
    "append blocks": Operation(lambda s: s.append({"x": wide(2200), "y": wide(1)}), large),
    "append, power": Operation(
        lambda s: s.append({"x": ROWS, "y": ROWS}), options=POWER, calls="pwrite fdatasync"
    ),
    "drop": Operation(lambda s: s.drop(["y", "x"]), calls="pwrite unlink flock"),
    "drop large": Operation(lambda s: s.drop(["y", "z"]), large, calls="pwrite unlink flock"),
    "drop rows": Operation(lambda s: s.drop("x", [1])),
    "drop more rows": Operation(lambda s: s.drop(["z", "x", "y"], [0, 2])),
    "drop rows, power": Operation(
        lambda s: s.drop("z", [0]), options=POWER, calls="pwrite fdatasync fsync"
    ),
    "replace": Operation(lambda s: s.replace({"x": -ROWS[:2]}, [2, 0]), in_place=True),
    "replace again": Operation(
        lambda s: s.replace({"x": -ROWS[:2]}, [2, 0]),
        prepare=mapped,
        in_place=True,
        calls="pwrite flock page",
    ),
    "replace several": Operation(
        lambda s: s.replace({"y": ROWS, "x": -ROWS, "z": np.arange(3) - 9}, slice(0, 3)),
        in_place=True,
        calls=IN_PLACE,
    ),
    "replace large": Operation(
        replace_many, large, in_place=True, calls=f"{IN_PLACE} ftruncate"
    ),
    "replace, power": Operation(
        lambda s: s.replace({"x": -ROWS}, slice(None)),
        options=POWER,
        in_place=True,
        calls=f"{IN_PLACE} fsync fdatasync",
    ),
    "replace beside a snapshot": Operation(
        lambda s: s.replace({"z": -np.ones(2, int), "x": ROWS[:2]}, [2, 0]),
        prepare=hold("x", "z"),
        calls=UNLINK,
    ),
    "replace of some arrays beside a snapshot": Operation(
        lambda s: s.replace({"y": ROWS, "x": -ROWS, "z": np.arange(3) - 9}, slice(0, 3)),
        prepare=hold("z"),
        in_place=True,
        calls=f"{UNLINK} page",
    ),
    "replace large beside a snapshot": Operation(
        replace_many, large, prepare=hold("y"), in_place=True, calls=f"{IN_PLACE} unlink"
    ),
    "replace beside a snapshot, power": Operation(
        lambda s: s.replace({"y": ROWS, "x": -ROWS}, slice(None)),
        prepare=hold("x"),
        options=POWER,
        in_place=True,
        calls=f"{IN_PLACE} unlink fsync fdatasync",
    ),
    "update": Operation(lambda s: s.update("z"), calls=UNLINK),
    "update large": Operation(lambda s: s.update("y"), large, calls=UNLINK),
    "clone": Operation(lambda s: s.clone("z", "new")),
    "rename": Operation(lambda s: s.rename("z", "new"), calls="pwrite unlink flock"),
    "rename over another": Operation(
        lambda s: s.rename("y", "x", overwrite=True), large, calls="pwrite unlink flock"
    ),
    "reset": Operation(lambda s: s.reset(), calls="pwrite unlink flock"),
    "reset large": Operation(lambda s: s.reset(), large, calls="pwrite unlink flock"),
    "batch": Operation(batch, calls=UNLINK),
    "batch with limit": Operation(batch_with_limit, calls=UNLINK),
    "writable batch": Operation(writable_batch, in_place=True, mixes=True, calls=IN_PLACE),
    "writable batch beside a snapshot": Operation(
        writable_batch, prepare=hold("x"), in_place=True, mixes=True, calls=f"{IN_PLACE} unlink"
    ),
    "mode w": Operation(
        lambda s: s.open(), options={"mode": "w"}, opens=True, calls="open rename unlink"
    ),
    "drop_if_exists": Operation(
        lambda s: s.open(), large, options={"drop_if_exists": True}, opens=True, calls="rename"
    ),
    "first attributes": Operation(
        lambda s: s.attrs["x"].update(dims=["a", "b"], n=1), calls="open pwrite rename fsync"
    ),
    "attributes": Operation(
        lambda s: s.attrs["x"].update(n=1), attributed, calls="pwrite flock"
    ),
    "attributes of the store": Operation(
        lambda s: s.attrs.store.clear(), attributed, calls="pwrite flock"
    ),
    "attributes, power": Operation(
        lambda s: s.attrs["y"].update(n=1), options=POWER, calls="pwrite rename fsync fdatasync"
    ),
    "batch with attributes": Operation(batch_with_attributes, calls=f"{UNLINK} rename"),
    "save with attributes": Operation(
        lambda s: s.save({"x": -ROWS, "new": ROWS}), attributed, calls=UNLINK
    ),
    "append with attributes": Operation(lambda s: s.append({"x": ROWS}), attributed),
    "clone with attributes": Operation(lambda s: s.clone("x", "new"), attributed),
    "reset with attributes": Operation(
        lambda s: s.reset(), attributed, calls="pwrite unlink flock"
    ),
    "fold of attributes": Operation(
        lambda s: s.attrs["x"].update(n=1),
        attributed,
        thresholds=FOLD,
        calls="open pwrite rename fsync",
    ),
    "close": Operation(lambda s: s.close(), prepare=fill_the_log, calls="close"),
    "reopen": Operation(reopened, prepare=fill_the_log, calls="close open"),
    "sync": Operation(lambda s: s.sync(), large, calls="fsync flock"),
    "save, power": Operation(
        lambda s: s.save({"x": wide(1100), "new": ROWS}),
        large,
        options=POWER,
        calls="pwrite fsync unlink",
    ),
    "parallel write": Operation(parallel_write("new", ROWS), calls="open write pwrite rename"),
    "parallel write over": Operation(
        parallel_write("x", -ROWS), calls=f"{UNLINK} write rename ftruncate"
    ),
    "parallel write, large": Operation(
        parallel_write("x", wide(3000)), large, calls=f"{UNLINK} write rename"
    ),
    "parallel write, power": Operation(
        parallel_write("x", wide(1100)),
        large,
        options=POWER,
        calls=f"{UNLINK} rename fdatasync fsync",
    ),
    "adopt": Operation(
        adopt, prepare=beside({"new": ROWS, "e": ROWS[:0]}), calls="open pwrite rename flock"
    ),
    "adopt over": Operation(
        adopt,
        attributed,
        prepare=beside({"x": -ROWS, "new": ROWS, "z": np.arange(5)}, "z"),
        calls=f"{UNLINK} rename",
    ),
    "adopt large": Operation(
        adopt,
        large,
        prepare=beside({"x": wide(3000), "new": wide(1100)}),
        calls=f"{UNLINK} rename",
    ),
    "adopt, power": Operation(
        adopt,
        large,
        prepare=beside({"x": wide(3000), "new": ROWS}, "x"),
        options=POWER,
        calls=f"{UNLINK} rename fsync fdatasync",
    ),
    "append from a store": Operation(
        lambda s: s._append_from(TEMPORARY[0], {"y": AttributeChange({"n": 1})}),
        large,
        prepare=beside({"x": wide(5), "y": wide(2200)}, "y"),
        calls=GROW,
    ),
    "snapshot": Operation(lambda s: s.append({"x": ROWS}), thresholds=SNAPSHOT, calls=GROW),
    "snapshot of a replace": Operation(
        lambda s: s.replace({"x": -ROWS}, slice(None)), thresholds=SNAPSHOT, in_place=True
    ),
    "fold": Operation(
        lambda s: s.append({"x": ROWS}), thresholds=FOLD, calls="open pwrite rename fsync"
    ),
    "fold of a replace": Operation(
        lambda s: s.replace({"x": -ROWS}, slice(None)),
        thresholds=FOLD,
        in_place=True,
        calls="open pwrite rename fsync",
    ),
    "fold of a drop": Operation(
        lambda s: s.drop(["x", "z"]), thresholds=FOLD, calls="open pwrite rename unlink"
    ),
    **{
        f"upgrade {name}": Operation(
            lambda s: s.open(),
            old(name),
            options={"upgrade": True},
            opens=True,
            calls="link rename unlink mkdir",
        )
        for name in ("deleted_then_appended", "shapes", "names")
    },
}
