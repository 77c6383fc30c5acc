"""Random histories of a store by seed: each change, and the expected arrays after it."""

from __future__ import annotations

import os
import random
import signal
import struct
import sys
import time
import warnings
from typing import Any, NamedTuple

import numpy as np

from numpack import NumPack
from numpack.store.format.log import log

Arrays = dict[str, np.ndarray]

WIDTH = 500  # bytes of a row: 2,098 rows are more than a block
NAMES = "abcdef"
KINDS = (
    "save append append append drop_rows replace replace update clone drop batch writable "
    "reset sync reopen"
).split()


class Change(NamedTuple):
    """One change: its kind, and for each array its rows or row numbers."""

    kind: str
    rows: dict[str, Any]
    indexes: Any = None


def rows_of(number: int, count: int) -> np.ndarray:
    return np.full((count, WIDTH), number % 251, np.uint8)


def drawn(number: int, arrays: Arrays) -> Change:
    """Return the n-th change of a history, given the current arrays."""
    dice = random.Random(number)
    kind = dice.choice(KINDS)
    if kind == "reset" and dice.random() < 0.7:
        kind = "append"
    names = sorted(arrays)
    some = sorted(set(dice.sample(NAMES, 3)) & set(names)) or names[:1]
    some = [name for name in some if len(arrays[name])]
    if kind == "save" or not some:
        counts = [dice.choice([1, 3, 40, 3, 1500]) for _ in range(dice.randint(1, 3))]
        new = zip(dice.sample(NAMES, len(counts)), counts, strict=True)
        return Change("save", {name: rows_of(number, count) for name, count in new})
    least = min(len(arrays[name]) for name in some)
    count = dice.randint(1, min(least, 100))
    match kind:
        case "append":
            many = dice.choice([1, 5, 50, 1200])
            return Change(kind, {name: rows_of(number, many) for name in some})
        case "drop_rows":
            return Change(kind, dict.fromkeys(some), dice.sample(range(least), min(count, 5)))
        case "replace":
            return Change(
                kind,
                {name: rows_of(number, count) for name in some},
                dice.sample(range(least), count),
            )
        case "clone":
            free = sorted(set(NAMES) - set(names))
            return Change(kind, {some[0]: free[0]}) if free else Change("drop", {some[0]: None})
        case "batch":
            return Change(kind, {**dict.fromkeys(some), "f": rows_of(number, 7)}, number % 251)
        case "reset" | "sync" | "reopen":
            return Change(kind, {})
        case _:
            return Change(kind, {some[0]: None}, number % 251)


def changed(change: Change, arrays: Arrays) -> Arrays:
    """Return the arrays after a change."""
    kind, rows, indexes = change
    arrays = dict(arrays)
    match kind:
        case "save":
            arrays |= rows
        case "append":
            arrays |= {name: np.concatenate([arrays[name], rows[name]]) for name in rows}
        case "drop":
            arrays = {name: array for name, array in arrays.items() if name not in rows}
        case "drop_rows":
            arrays |= {name: np.delete(arrays[name], indexes, axis=0) for name in rows}
        case "replace":
            for name in rows:
                arrays[name] = arrays[name].copy()
                arrays[name][indexes] = rows[name]
        case "clone":
            ((source, target),) = rows.items()
            arrays[target] = arrays[source]
        case "batch":
            for name in rows:
                arrays[name] = (
                    arrays[name] ^ np.uint8(indexes) if rows[name] is None else rows[name]
                )
        case "writable":
            for name in rows:
                arrays[name] = np.full_like(arrays[name], indexes)
        case "reset":
            arrays = {}
    return arrays


def make(change: Change, store: NumPack) -> None:
    """Apply a change to a store."""
    kind, rows, indexes = change
    match kind:
        case "save" | "append":
            getattr(store, kind)(rows)
        case "drop":
            store.drop(list(rows))
        case "drop_rows":
            store.drop(list(rows), indexes)
        case "replace":
            store.replace(rows, indexes)
        case "update":
            store.update(*rows)
        case "clone":
            store.clone(*rows, *rows.values())
        case "batch":
            with store.batch_mode():
                for name, array in rows.items():
                    if array is None:
                        store.load(name)[:] ^= np.uint8(indexes)
                    else:
                        store.save({name: array})
        case "writable":
            with store.writable_batch_mode() as batch:
                batch.load(*rows)[:] = indexes
        case "reset":
            store.reset()
        case "sync":
            store.sync()
        case "reopen":
            store.close()
            store.open()


def arrays_of(store: NumPack) -> Arrays:
    return {name: store.load(name) for name in store}


def is_same(found: Arrays, expected: Arrays) -> bool:
    return found.keys() == expected.keys() and all(
        np.array_equal(found[name], expected[name]) for name in found
    )


def is_between(found: Arrays, change: Change, arrays: Arrays) -> bool:
    """Check whether a `writable` change was applied in part, and nothing else changed."""
    after = changed(change, arrays)
    return (
        change.kind == "writable"
        and found.keys() == after.keys()
        and all(np.logical_or(found[n] == arrays[n], found[n] == after[n]).all() for n in found)
    )


def write_on(number: int, arrays: Arrays, progress: int) -> None:
    """Run a history from a change on; write the number of each change before it begins."""
    store = NumPack("s.npk")
    store.open()
    while True:
        os.write(progress, struct.pack("<q", number))
        change = drawn(number, arrays)
        make(change, store)
        arrays = changed(change, arrays)
        number += 1


def killed(number: int, arrays: Arrays, seconds: float) -> int:
    """Run a writer in a child and kill it; return the number of the change it had begun."""
    reader, progress = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            write_on(number, arrays, progress)
        finally:
            os._exit(3)
    os.close(progress)
    os.read(reader, 8)
    time.sleep(seconds)
    os.kill(pid, signal.SIGKILL)
    with open(reader, "rb") as pipe:
        rest = pipe.read()
    if os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) != -signal.SIGKILL:
        msg = f"the writer failed from change {number} on"
        raise AssertionError(msg)
    return number + len(rest) // 8


def check(number: int, arrays: Arrays) -> tuple[int, Arrays]:
    """Check the store after change `number` began; return the next change and the arrays."""
    change = drawn(number, arrays)
    with NumPack("s.npk", mode="r") as reader:
        found = arrays_of(reader)
        assert reader.verify().ok, f"{change.kind}: {reader.verify()}"
    with NumPack("s.npk") as store:
        assert is_same(arrays_of(store), found), f"{change.kind}: a writer sees something else"
        assert store.verify().ok, f"{change.kind}: {store.verify()}"
        if not arrays_of(store):
            store.drop("absent")
    after = changed(change, arrays)
    if is_same(found, after):
        return number + 1, after
    if is_same(found, arrays):
        return number, arrays
    assert is_between(found, change, arrays), f"a mixture after change {number}: {change.kind}"
    return number + 1, found


def main(kills: int, seed: int) -> None:
    warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
    log._COMPACT_BYTES, log._COMPACT_FACTOR, log._SNAPSHOT_EVERY = 3000, 2, 500
    dice = random.Random(seed)
    number, arrays, inside = seed * 10_000_000, {}, 0
    with NumPack("s.npk"):
        pass
    start = number
    for _ in range(kills):
        begun = killed(number, arrays, dice.choice([dice.random() ** 3 * 0.08, 0.0005]))
        while number < begun:
            arrays = changed(drawn(number, arrays), arrays)
            number += 1
        number, arrays = check(begun, arrays)
        inside += number == begun
    sys.stdout.write(f"{number - start} {inside}\n")


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
