"""Packages beside the folders that they were made of: opening, lazy arrays and rows.

A folder and its package are timed in turns, a short burst each, in one process. The package was
just written, as was the folder, so all pages are in memory.

    python benchmarks/packages.py [--folder FOLDER]
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from measure import Result, Work, as_table, quantity, race

import numpack
from numpack import NumPack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

AT_MOST, ROWS_AT_MOST = 1.5, 1.1  # of the time of the folder
BURST = 200
ARRAYS = (1, 5, 100)
ROWS, WIDTH, RANDOM = 400_000, 128, 1024


def main() -> None:
    """Print a table; the last column says whether the ratio is as small as it has to be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="on the disk to measure")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        results = list(_results(Path(name)))
    head = ["operation", "package", "folder", "ratio", "at most"]
    rows = [
        [
            each.ours,
            quantity(each.ours_ns),
            quantity(each.theirs_ns),
            f"{each.ratio:.2f}",
            "" if each.at_most is None else f"{each.at_most}",
        ]
        for each in results
    ]
    print(as_table(head, rows, left=1))


def _results(folder: Path) -> Iterator[Result]:
    for count in ARRAYS:
        arrays = {f"a{number}": np.ones((1000, 64), "f4") for number in range(count)}
        paths = _made(folder / f"{count}.npk", arrays)
        yield _race(f"open, one of {count} arrays lazily", _opening(["a0"]), paths, AT_MOST)
        yield _race(
            f"open, all of {count} arrays lazily", _opening(list(arrays)), paths, AT_MOST
        )
    rows = np.random.default_rng(0).random((ROWS, WIDTH), np.float32)
    paths = _made(folder / "large.npk", {"x": rows})
    with NumPack(paths[0], mode="r") as package, NumPack(paths[1], mode="r") as store:
        chosen = np.random.default_rng(1).integers(0, ROWS, RANDOM)
        for label, call in (
            (f"{RANDOM:,} random rows", lambda npk: npk.getitem("x", chosen)),
            ("load 205 MB", lambda npk: npk.load("x")),
            ("sum of a lazy array", lambda npk: npk.load("x", lazy=True).sum()),
            ("verify", lambda npk: npk.verify()),
        ):
            yield _race(label, call, (package, store), ROWS_AT_MOST)


def _made(path: Path, arrays: dict[str, np.ndarray]) -> tuple[str, str]:
    """Make a store and its package; return the path of the package, and of the store."""
    with NumPack(path, mode="x") as store:
        store.save(arrays)
    return numpack.pack(path), str(path)


def _opening(names: list[str]) -> Callable[[str], object]:
    def work(path: str) -> object:
        with NumPack(path, mode="r") as npk:
            return [npk.load(name, lazy=True) for name in names]

    return work


def _race(
    label: str, call: Callable[..., object], pair: tuple[object, object], at_most: float
) -> Result:
    one, other = pair
    works = {"package": Work(lambda: call(one)), "folder": Work(lambda: call(other))}
    times = race(works, BURST)
    return Result(label, "folder", times["package"], times["folder"], at_most)


if __name__ == "__main__":
    main()
