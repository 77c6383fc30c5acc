"""Cost of reading from a store that is not new, and on a machine that is not idle.

    python benchmarks/states.py                          the table

Each state is one array: *new* was saved at once; *400 commits* was appended to and dropped
from, so that its log is long and its rows are not contiguous. *One core busy* runs beside a
process that occupies a core, as training does beside a `DataLoader`.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from measure import Result, Work, as_table, quantity, race

from numpack import NumPack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpack import LazyArray

    Array = np.ndarray[tuple[int, ...], np.dtype[np.float32]]
    Numbers = np.ndarray[tuple[int], np.dtype[np.int64]]

ROWS, COLUMNS = 100_000, 128
COMMITS, DROPS = 400, 20
GATHERS = (256, 4096, 65_536)
SPIN = "print(flush=True)\nwhile True: pass"
NEW, OLD, BUSY = "new", "400 commits, dropped rows", "new, one core busy"


class Draws:
    """Row numbers that no one has used before: neither side finds rows in the CPU's caches."""

    def __init__(self, count: int, among: int, most: int) -> None:
        self._rng = np.random.default_rng()
        self._size, self._among = (most, count), among
        self._drawn: list[Numbers] = []

    def refill(self) -> None:
        """Draw for a burst, before the clock starts."""
        self._drawn = list(self._rng.integers(0, self._among, self._size))

    def __next__(self) -> Numbers:
        """Return the next row numbers."""
        return self._drawn.pop()


class State:
    """A store, and the same array in a `.npy` file.

    Parameters
    ----------
    label : str
    store : Path
    file : Path
    """

    def __init__(self, label: str, store: Path, file: Path) -> None:
        self.label = label
        self._path, self._file = store, file
        self._npk = NumPack(store)
        self._npk.open()
        self._lazy: LazyArray = self._npk.load("x", lazy=True)
        self._map: Array = np.load(file, mmap_mode="r")
        np.array(self._map)  # each page is touched
        self._lazy.copied()

    def opening(self) -> Result:
        """Compare opening the store, and mapping."""

        def opened() -> LazyArray:
            npk = NumPack(self._path)
            npk.open()
            return npk.load("x", lazy=True)

        ours, theirs = Work(opened), Work(lambda: np.load(self._file, mmap_mode="r"))
        return self._compared("open + lazy load", '`np.load(mmap_mode="r")`', ours, theirs, 50)

    def loading(self) -> Result:
        """Compare reading the whole array."""
        ours, theirs = Work(lambda: self._npk.load("x")), Work(lambda: np.load(self._file))
        return self._compared("load", "`np.load`", ours, theirs, 1)

    def row(self) -> Result:
        """Compare viewing one row."""
        ours = Work(lambda: self._lazy[ROWS // 2])
        theirs = Work(lambda: self._map[ROWS // 2])
        return self._compared("`lazy[i]`", "`memmap[i]`", ours, theirs, 2000)

    def gathering(self, count: int) -> Result:
        """Compare copying random rows of 512 bytes."""
        most = max(1, 10_000 // count)
        ours = self._drawing(count, most, lambda rows: self._npk.getitem("x", rows))
        theirs = self._drawing(count, most, lambda rows: self._map[rows])
        return self._compared(
            f"`getitem` of {count:,} rows", "`memmap[rows]`", ours, theirs, most
        )

    def _drawing(self, count: int, most: int, call: Callable[[Numbers], object]) -> Work:
        draws = Draws(count, len(self._lazy), most)
        return Work(lambda: call(next(draws)), draws.refill)

    def _compared(
        self, ours: str, theirs: str, our_work: Work, their_work: Work, most: int
    ) -> Result:
        times = race({"ours": our_work, "theirs": their_work}, most)
        return Result(f"{ours}: {self.label}", theirs, times["ours"], times["theirs"])


@contextlib.contextmanager
def one_core_busy() -> Iterator[None]:
    """Occupy a core with another process."""
    command = [sys.executable, "-c", SPIN]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:  # noqa: S603
        try:
            if process.stdout is not None:
                process.stdout.readline()
            yield
        finally:
            process.kill()


def write_states(folder: Path) -> dict[str, State]:
    """Write the stores and the file."""
    folder.mkdir()
    array = np.random.default_rng(0).random((ROWS, COLUMNS), "f4")
    np.save(folder / "x.npy", array)
    with NumPack(folder / "new") as npk:
        npk.save({"x": array})
    with NumPack(folder / "old") as npk:
        appended = COMMITS - DROPS - 1
        npk.save({"x": array[:-appended]})
        for row in range(ROWS - appended, ROWS):
            npk.append({"x": array[row : row + 1]})
        for drop in range(DROPS):
            npk.drop("x", [drop * 1000, drop * 1000 + 7])
    named = {NEW: "new", OLD: "old", BUSY: "new"}
    return {
        label: State(label, folder / name, folder / "x.npy") for label, name in named.items()
    }


def states_of(folder: Path) -> list[Result]:
    """Measure all states."""
    states = write_states(folder)
    found = []
    for state in (states[NEW], states[OLD]):
        found += [state.opening(), state.loading(), state.row()]
        found += [state.gathering(count) for count in GATHERS]
    with one_core_busy():
        found += [states[BUSY].loading(), *map(states[BUSY].gathering, GATHERS)]
    return found


def states_table(results: list[Result]) -> str:
    """Return the table, with its heading."""
    rows = []
    for result in results:
        operation, state = result.ours.split(": ")
        times = quantity(result.ours_ns), quantity(result.theirs_ns)
        rows.append((state, operation, result.theirs, *times, f"{result.ratio:.2f}"))
    head = ("state", "the store", "against", "", "", "ratio")
    title = (
        f"### Other states, float32, {ROWS:,} × {COLUMNS} ({ROWS * COLUMNS * 4 / 1e6:.0f} MB)"
    )
    return f"{title}\n\n{as_table(head, rows, left=3)}"


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(dir=Path(), prefix="benchmark-") as inside:
        print(states_table(states_of(Path(inside) / "states")))
