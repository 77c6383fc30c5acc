"""Shuffled batches by `numpack.Loader`, and by the loaders that people use.

All read the same rows of float32, in random order, out of the page cache unless noted, and are
timed in turns, some batches each. The files are in a new folder inside the current one, or
inside that of --folder, which must be on a disk file system: about 6 GB for some minutes. Linux
only.

    python benchmarks/loader.py                           the tables
    python benchmarks/loader.py --quick                   a tenth of the rows, in short
    python benchmarks/loader.py --readme docs/speed.md    write the first into a page as well,
                                --page docs/benchmarks.md   the others into another,
                                --json FILE --plot FILE     all figures, and a picture
"""

from __future__ import annotations

import argparse
import json
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from loaders import (
    BOUNDS,
    OWN_FILES,
    QUICK,
    SLOW,
    Data,
    OurDataset,
    Rows,
    TorchAlone,
    TorchLoader,
)
from loaders.bars import Bar, bars_of, bars_of_first, rate, times_text
from loaders.chart import draw
from loaders.contests import cold_contest, contest
from loaders.first_batch import First, first_batches
from measure import as_table, machine, quantity, write_into

if TYPE_CHECKING:
    from loaders import Batches
    from loaders.contests import Times

MAIN = Rows(512, 2_000_000)
OTHERS = (Rows(64, 16_000_000), Rows(4096, 250_000), Rows(65_536, 15_600))
FIRST_ROWS = 10**9
MOST_BATCH = 2**26  # bytes: larger batches are left out
PACKAGES = (
    *("numpy", "torch", "datasets", "pylance", "grain", "tensorstore", "litdata", "webdataset"),
)


class Figures(NamedTuple):
    """All that was measured.

    Attributes
    ----------
    warm : dict
        Size of a row → batch size → label → nanoseconds a batch.
    cold, dataset : dict
        Label → nanoseconds a batch.
    first : pair of First
        Ours, theirs.
    """

    warm: dict[Rows, dict[int, Times]]
    cold: Times
    dataset: Times
    first: tuple[First, First]

    def bars(self) -> list[Bar]:
        """Return the lines of the first table."""
        main = next(iter(self.warm.values()))
        return [*bars_of(main, self.cold, self.dataset), *bars_of_first(*self.first)]


def measured(folder: Path, seconds: float, part: int) -> Figures:
    """Measure everything.

    Parameters
    ----------
    folder : Path
    seconds : float
        For each of the faster contenders in each contest; the others have a part of it.
    part : int
        Divides the numbers of rows.
    """
    warm = {}
    data = Data(_part(MAIN, part), folder / "main")
    warm[data.rows] = main = _contests(data, (*QUICK, *BOUNDS), SLOW, seconds)
    rivals = (OurDataset(data), TorchLoader(data), TorchAlone(data))
    dataset = contest(rivals, 256, seconds)
    del rivals
    data = Data.again(data)
    cold = cold_contest(data, 4096, seconds)
    shutil.rmtree(data.folder)
    fastest = min(OWN_FILES, key=lambda known: main[256][known.label])
    for rows in OTHERS:
        data = Data(_part(rows, part), folder / str(rows.nbytes))
        warm[data.rows] = _contests(data, QUICK, (SLOW[0], fastest), seconds / 2)
        shutil.rmtree(data.folder)
    return Figures(warm, cold, dataset, first_batches(folder / "first", FIRST_ROWS // part))


def _part(rows: Rows, part: int) -> Rows:
    return rows._replace(number=rows.number // part)


def _contests(
    data: Data,
    fast: tuple[type[Batches], ...],
    slow: tuple[type[Batches], ...],
    seconds: float,
) -> dict[int, Times]:
    """Let the faster contenders take turns, then the others."""
    groups = [[known(data) for known in group] for group in (fast, slow)]
    times = {}
    for batch_size in (256, 4096):
        if batch_size * data.rows.nbytes <= MOST_BATCH:
            times[batch_size] = contest(groups[0], batch_size, seconds)
            times[batch_size] |= contest(groups[1], batch_size, seconds / 4, fewest=1)
    return times


def bars_table(bars: list[Bar]) -> str:
    """Return the first table."""
    head = ("", "against", "numpack", "", "times as good")
    return as_table(head, (bar.cells() for bar in bars), left=2)


def main_table(rows: Rows, warm: dict[int, Times]) -> str:
    """Return the table of all contenders on the rows of the first table, and its footnotes."""
    contenders = (*QUICK, *SLOW, *BOUNDS)
    notes = [known.note for known in contenders if known.note]
    lines = []
    for known in contenders:
        mark = f" {'¹²³'[notes.index(known.note)]}" if known.note else ""
        rates = (rate(times[known.label], size) for size, times in warm.items())
        lines.append((known.label + mark, *rates))
    head = ("rows a second", *(f"batches of {size:,}" for size in warm))
    marked = "; ".join(f"{mark} {note}" for mark, note in zip("¹²³", notes, strict=False))
    title = f"### Random rows of {rows.label}, {_size(rows)}"
    return f"{title}\n\n{as_table(head, lines, left=1)}\n\n{marked}."


def widths_table(warm: dict[Rows, dict[int, Times]]) -> str:
    """Return the table of the other sizes of a row."""
    columns = [(rows, size) for rows in sorted(warm) for size in warm[rows]]
    shown = [known.label for known in (*QUICK, SLOW[0])]
    found = [warm[rows][size] for rows, size in columns]
    own = {label for times in found for label in times if label not in shown}
    own &= {known.label for known in OWN_FILES}
    fastest = min(own, key=lambda label: sum(label not in times for times in found))
    lines = [
        (label, *(rate(warm[rows][size][label], size) for rows, size in columns))
        for label in (*shown, fastest)
    ]
    head = ("rows a second", *(f"{rows.label}, {size:,}" for rows, size in columns))
    title = "### Random rows of other sizes, 1 GB each; bytes of a row, rows of a batch"
    return f"{title}\n\n{as_table(head, lines, left=1)}"


def _size(rows: Rows) -> str:
    return f"{rows.number:,} of them ({rows.number * rows.nbytes / 1e9:.2g} GB)"


def first_table(first: tuple[First, First]) -> str:
    """Return the table of the first batch."""
    names = "`numpack.Loader`, batch of 256", "torch's `RandomSampler`, one number"
    lines = [
        (name, f"{found.rows:,}", quantity(found.ns), f"{found.nbytes / 1e6:,.1f} MB")
        for name, found in zip(names, first, strict=True)
    ]
    title = "### The first batch"
    return f"{title}\n\n{as_table(('', 'rows', 'time', 'memory'), lines, left=1)}"


def as_json(about: dict[str, str], figures: Figures) -> str:
    """Return all figures as JSON."""
    found: dict[str, Any] = {
        "machine": about,
        "bars": [bar.figures() for bar in figures.bars()],
        "warm_ns": {rows.label: sizes for rows, sizes in figures.warm.items()},
        "cold_ns": figures.cold,
        "dataset_ns": figures.dataset,
        "first": [each._asdict() for each in figures.first],
    }
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def main() -> None:
    """Measure, and print or write the results."""
    parser = argparse.ArgumentParser(description="Measure the speed of shuffled batches.")
    parser.add_argument("--folder", type=Path, default=Path(), help="folder for the files")
    parser.add_argument("--quick", action="store_true", help="a tenth of the rows, in short")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--readme", type=Path, help="write the first table into this page")
    parser.add_argument("--page", type=Path, help="write the other tables into this page")
    parser.add_argument("--plot", type=Path, help="draw the figures into this SVG file")
    options = parser.parse_args()

    warnings.showwarning = lambda *_, **__: None  # Lance's, about every fork
    seconds, part = (0.4, 10) if options.quick else (2.0, 1)
    with tempfile.TemporaryDirectory(dir=options.folder, prefix="benchmark-") as folder:
        figures = measured(Path(folder), seconds, part)
    about, (rows, warm) = machine(PACKAGES), next(iter(figures.warm.items()))
    versions = ", ".join(f"{name} {value}" for name, value in about.items())
    tables = [main_table(rows, warm), widths_table(figures.warm), first_table(figures.first)]
    page = "\n\n".join([*tables, f"Measured with {versions}."])
    print(bars_table(figures.bars()), page, sep="\n\n")
    for bar in figures.bars():
        if bar.at_least:
            aim = f"{times_text(bar.times)} of at least {bar.at_least:g} times"
            print(f"{bar.ours}, {bar.theirs}: {aim}")
    if options.json:
        options.json.write_text(as_json(about, figures))
    if options.readme:
        write_into(options.readme, "loader.py", bars_table(figures.bars()))
    if options.page:
        write_into(options.page, "loader.py", page)
    if options.plot:
        draw(warm, {known.label for known in BOUNDS}, options.plot)


if __name__ == "__main__":
    main()
