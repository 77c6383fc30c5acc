"""Cost of storing arrays, beside other formats doing the same work on the same data.

Contenders run in turns, a short burst each, and the median burst counts; row numbers are drawn
before the clock starts. The files are in a new folder inside the current one, or inside that of
--folder, which must be on a disk file system: about 6 GB for some minutes. Linux only.

    python benchmarks/store.py                          the tables
    python benchmarks/store.py --readme docs/speed.md       write the first into a page as well,
                               --page docs/benchmarks.md  the others into another,
                               --json FILE --plot FILE    all figures, and a picture of them
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import page_cache
from aims import AIMS, FSTAT, NARROW, NEW, REWRITING, TWO_WRITES, WIDE, Size
from formats import FORMATS, Format, Npy, Store
from measure import Result, Work, as_table, machine, quantity, race, write_into
from plot import draw
from states import states_of, states_table

from numpack import NumPack

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from formats import Array

    Times = dict[str, dict[str, float]]  # operation → format → ns

APPENDS = 1_000_000
BATCH = 100  # rows of an append, a replace and a drop
GATHERS = (256, 4096, 65_536)
LOG_LINE = b"x" * 95 + b"\n"
PACKAGES = ("numpy", "h5py", "zarr", "safetensors")
DRAWN = 0.8  # fraction of the rows that are drawn from, so that some can be dropped

CLOSED = "numpack, and close"


class Contest:
    """The same operations on all formats.

    Parameters
    ----------
    size : Size
    folder : Path

    Attributes
    ----------
    times : dict
        Operation → format → nanoseconds.
    nbytes : dict
        Format → bytes of its files.
    """

    def __init__(self, size: Size, folder: Path) -> None:
        folder.mkdir()
        self.times: Times = {}
        self._size = size
        self._rng = np.random.default_rng(0)
        self._array = self._rng.random(size, "f4")
        self._values = self._array[:BATCH].copy()
        self._writes = _TwoWrites(folder, self._values)
        self._store = Store(folder)
        self._npy = Npy(folder)
        others = [known(folder) for known in FORMATS if known not in (Store, Npy)]
        self._formats: list[Format] = [self._store, self._npy, *others]
        for known in self._formats:
            known.save(self._array)
        self.nbytes = {f.label: sum(p.stat().st_size for p in f.files()) for f in self._formats}

    def run(self) -> None:
        """Run all operations, beginning with those that leave the files unchanged."""
        self._whole()
        for known in self._formats:
            known.close()
            known.open()
        self._gathers()
        self._changes()
        for known in self._formats:
            known.close()

    def _whole(self) -> None:
        self._race("save", self._works(lambda known: known.save(self._array), self._flushed))
        self._race("load", self._works(lambda known: known.load(), _cached))
        opened = self._works(lambda known: known.lazy())
        self._race("open + lazy load", {**opened, CLOSED: Work(self._store.lazy_and_close)}, 50)
        descriptor = os.open(self._npy.path, os.O_RDONLY)
        again = {
            Store.label: Work(self._store.lazy_again),
            FSTAT: Work(lambda: os.fstat(descriptor)),
        }
        self._race("lazy load again", again, most=1000)
        os.close(descriptor)

    def _flushed(self, known: Format) -> None:
        if (
            self._size == WIDE
        ):  # or one contender waits while the gigabytes of the others are written
            page_cache.flush(known.files())

    def _gathers(self) -> None:
        for count in GATHERS:
            self._gather(f"gather {count:,} rows", count, _warm, most=10)
        if self._size == WIDE:  # opening a small file reads too much of it ahead
            self._gather("gather 4,096 rows, cold", 4096, _cool, most=1)

    def _gather(
        self, operation: str, count: int, before: Callable[[Format], object], most: int
    ) -> None:
        rows = self._drawn(count)
        self._race(operation, self._works(lambda known: known.gather(next(rows)), before), most)

    def _changes(self) -> None:
        rows, values = self._drawn(BATCH), self._values
        replace = self._works(lambda known: known.replace(next(rows), values), _reopened)
        if self._size == NARROW:
            again = Work(lambda: self._npy.save(self._array), self._npy.close)
            replace = _rivals(replace, REWRITING, again)
        self._race("replace 100 rows", replace, most=50)
        append = self._works(lambda known: known.append(values))
        both = Work(self._writes)
        self._race("append 100 rows", _rivals(append, TWO_WRITES, both), most=50)
        drop = self._works(lambda known: known.drop(next(rows)))
        self._race("drop 100 rows", _rivals(drop, TWO_WRITES, both), most=10)

    def _works(
        self,
        call: Callable[[Format], object],
        setup: Callable[[Format], object] = lambda _: None,
    ) -> dict[str, Work]:
        """Return the same work for each format."""
        return {f.label: Work(partial(call, f), partial(setup, f)) for f in self._formats}

    def _drawn(self, count: int) -> Iterator[Array]:
        among = int(DRAWN * len(self._array))
        batches = min(64, among // count)
        drawn = self._rng.permutation(among)[: batches * count].reshape(batches, count)
        return itertools.cycle(list(drawn))

    def _race(self, operation: str, works: dict[str, Work], most: int = 1) -> None:
        self.times[operation] = race(works, most)


def _cached(known: Format) -> None:
    page_cache.read_again(known.files())


def _warm(known: Format) -> None:
    _cached(known)
    known.touch()


def _cool(known: Format) -> None:
    known.close()
    files = known.files()
    page_cache.evict(files)
    known.open()
    page_cache.assert_cold(files)


def _reopened(known: Format) -> None:
    if isinstance(known, Npy):  # it was closed before the file was rewritten
        known.open()
    _warm(known)


class _TwoWrites:
    """The minimum for a commit of rows: the rows, and a line of a log."""

    def __init__(self, folder: Path, values: Array) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_TRUNC
        self._rows = os.open(folder / "rows", flags)
        self._log = os.open(folder / "log", flags | os.O_APPEND)
        self._values = values.tobytes()
        self._end = 0

    def __call__(self) -> None:
        os.pwrite(self._rows, self._values, self._end)
        os.write(self._log, LOG_LINE)
        self._end += len(self._values)

    def __del__(self) -> None:
        os.close(self._rows)
        os.close(self._log)


def _rivals(works: dict[str, Work], name: str, rival: Work) -> dict[str, Work]:
    """Insert a rival after the first contender."""
    return {Store.label: works[Store.label], name: rival, **works}


def opening(folder: Path) -> dict[str, float]:
    """Time opening and closing a store with a long history, and a new one."""
    row = np.zeros((1, 10), "f4")
    old, new = folder / "old", folder / "new"
    with NumPack(old) as npk:
        npk.save({"x": row})
        for _ in range(APPENDS):
            npk.append({"x": row})
    with NumPack(new) as npk:
        npk.save({"x": row})

    def opened(path: Path) -> None:
        with NumPack(path):
            pass

    works = {Store.label: Work(lambda: opened(old)), NEW: Work(lambda: opened(new))}
    return race(works, most=50)


def measured(folder: Path) -> tuple[dict[Size, Times], dict[Size, dict[str, int]]]:
    """Measure everything: times by size, operation and format; bytes by size and format."""
    times, nbytes = {}, {}
    for size in (NARROW, WIDE):
        inside = folder / str(size.columns)
        contest = Contest(size, inside)
        contest.run()
        times[size], nbytes[size] = contest.times, contest.nbytes
    times[NARROW]["open after 1,000,000 appends"] = opening(folder)
    return times, nbytes


def results_of(times: dict[Size, Times]) -> list[Result]:
    """Return the results for which there are targets."""
    found = ((aim, times[aim.size][aim.operation]) for aim in AIMS)
    return [
        Result(aim.ours, aim.theirs, known[Store.label], known[aim.rival], aim.at_most)
        for aim, known in found
    ]


def aims_table(results: list[Result]) -> str:
    """Return the first table."""
    rows = [
        (r.ours, r.theirs, quantity(r.ours_ns), quantity(r.theirs_ns), f"{r.ratio:.3f}")
        for r in results
    ]
    return as_table(("the store", "against", "", "", "ratio"), rows, left=2)


def format_tables(times: dict[Size, Times], nbytes: dict[Size, dict[str, int]]) -> str:
    """Return a table for each size, and the meaning of the footnote marks."""
    ways = sorted({way for known in FORMATS for way in known.way.values()})
    tables = [
        f"### float32, {size.label}\n\n{format_table(times[size], nbytes[size], ways)}"
        for size in times
    ]
    notes = "; ".join(f"{_mark(number)} {way}" for number, way in enumerate(ways))
    return "\n\n".join([*tables, notes + "."])


def format_table(times: Times, nbytes: dict[str, int], ways: list[str]) -> str:
    """Return a table of all operations and formats."""
    rows = [
        (operation, *(_cell(operation, known, row, ways) for known in FORMATS))
        for operation, row in times.items()
        if any(known.label in row for known in FORMATS[1:])
    ]
    sizes = [f"{nbytes[known.label] / 1e6:,.2f} MB" for known in FORMATS]
    head = ("", *(known.label for known in FORMATS))
    return as_table(head, [*rows, ("size on disk", *sizes)], left=1)


def _cell(operation: str, known: type[Format], row: dict[str, float], ways: list[str]) -> str:
    way = known.way.get(operation.partition(" ")[0])
    mark = "" if way is None else f" {_mark(ways.index(way))}"
    return quantity(row[known.label]) + mark


def _mark(number: int) -> str:
    return "¹²³"[number]


def as_json(
    about: dict[str, str],
    results: list[Result],
    times: dict[Size, Times],
    nbytes: dict[Size, dict[str, int]],
    states: list[Result],
) -> str:
    """Return all figures as JSON."""
    figures: dict[str, Any] = {
        "machine": about,
        "aims": [result.figures() for result in results],
        "states": [result.figures() for result in states],
        "times_ns": {size.label: known for size, known in times.items()},
        "bytes": {size.label: known for size, known in nbytes.items()},
    }
    return json.dumps(figures, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Measure, and print or write the results."""
    parser = argparse.ArgumentParser(description="Measure the cost of storing arrays.")
    parser.add_argument("--folder", type=Path, default=Path(), help="folder for the files")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--readme", type=Path, help="write the first table into this page")
    parser.add_argument("--page", type=Path, help="write the other tables into this page")
    parser.add_argument("--plot", type=Path, help="draw the figures into this SVG file")
    options = parser.parse_args()

    with tempfile.TemporaryDirectory(dir=options.folder, prefix="benchmark-") as folder:
        times, nbytes = measured(Path(folder))
        states = states_of(Path(folder) / "states")
    about, results = machine(PACKAGES), results_of(times)
    versions = ", ".join(f"{name} {value}" for name, value in about.items())
    tables = "\n\n".join(
        [format_tables(times, nbytes), states_table(states), f"Measured with {versions}."]
    )
    print(aims_table(results), tables, sep="\n\n")
    if options.json:
        options.json.write_text(as_json(about, results, times, nbytes, states))
    if options.readme:
        write_into(options.readme, "store.py", aims_table(results))
    if options.page:
        write_into(options.page, "store.py", tables)
    if options.plot:
        draw({**times[NARROW], **gathers_of(times[WIDE])}, options.plot)


def gathers_of(times: Times) -> Times:
    """Select the operations on random rows."""
    return {name: row for name, row in times.items() if name.startswith("gather")}


if __name__ == "__main__":
    main()
