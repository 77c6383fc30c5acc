"""The table of all conversions: collected, and stored without repetitions in JSON.

The JSON has every text, outcome and row of outcomes once; what refers to them are indexes.

- ``table[source][dtype]`` is the index of a grid, which has the index of a strip for each
  layout;
- a strip has a cell for each kind of memory;
- a cell is the index of a row, or ``-1 - i`` with the index of the reason why there is no such
  array;
- a row has the index of an outcome for each target;
- an outcome is ``[verdict, nbytes, reasons, fixes, caution, code]``.
"""

from __future__ import annotations

import contextlib
import tempfile
import warnings
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from numpack.doctor.probe import import_failure
from numpack.io import frameworks

from .arrays import DTYPES, LAYOUTS, MEMORY, READ_ONLY, Impossible, Memory
from .fixes import code_of, works
from .outcomes import COPIED, REFUSED, VERDICTS, Outcome, contradiction, outcome
from .sources import HOLDERS, SPECIAL_LAYOUTS, Sources, default_memory, label_of

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Iterator

ALL_LAYOUTS = (*LAYOUTS, *SPECIAL_LAYOUTS)
CELLS = tuple((layout.name, memory) for layout in ALL_LAYOUTS for memory in MEMORY)
_LAYOUT_NAMES = [layout.name for layout in ALL_LAYOUTS]
_JOBS = 2

# A cell: why there is no such array, or the outcome and the code of its fix for each target.
Found = str | tuple[tuple[Outcome, str], ...]


class Collected(NamedTuple):
    """What happens to the arrays of one source, and where `explain` was wrong."""

    cells: dict[str, list[Found]]
    contradictions: list[str]


def targets() -> list[str]:
    """Return the names of the frameworks that are installed and can be imported."""
    installed = [each.name for each in frameworks() if each.installed]
    return [name for name in installed if not import_failure(name)]


def collect(source: str) -> Collected:
    """Explain the conversions of all arrays of a source, and run those of the matrix page."""
    names = targets()
    collected = Collected({dtype: [] for dtype in DTYPES}, [])
    codes: dict[Hashable, str] = {}
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        warnings.catch_warnings(),
        Sources(Path(folder)) as sources,
    ):
        warnings.simplefilter("ignore")
        for dtype in DTYPES:
            for layout, memory in CELLS:
                try:
                    x = sources.hold(source, dtype, layout, memory)
                except Impossible as error:
                    collected.cells[dtype].append(str(error))
                    continue
                row = []
                is_run = is_on_page(source, layout, memory)
                for target in names:
                    found = outcome(x, target)
                    key = (dtype, target, layout, found.verdict, found.obstacles)
                    if key not in codes:
                        codes[key] = code_of(x, source, target, found)
                    code = codes[key]
                    row.append((found, code))
                    if is_run and (why := contradiction(x, source, target, found)):
                        collected.contradictions.append(f"{dtype}, {layout}: {why}")
                    if found.verdict in (COPIED, REFUSED) and not works(code, x, target):
                        where = f"{source} to {target}, {dtype}, {layout}, {memory}"
                        collected.contradictions.append(f"{where}: the code fails:\n{code}")
                collected.cells[dtype].append(tuple(row))
    return collected


def is_on_page(source: str, layout: str, memory: Memory) -> bool:
    """Return whether docs/matrix.md has a cell of this conversion."""
    if source != "numpy":
        return layout == "1-D" and memory == default_memory(source)
    return memory == memory_of_column(layout) or layout == "C"


def memory_of_column(layout: str) -> Memory:
    """Return the memory of an array of NumPy that nothing else is said of."""
    return READ_ONLY if layout == "bcast" else Memory()


class Table:
    """The table of conversions, as the JSON stores it.

    Parameters
    ----------
    data : dict
        The contents of the JSON.
    """

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def cell(self, source: str, dtype: str, layout: str, memory: Memory) -> list[Answer] | str:
        """Return the answers for each target, or why there is no such array."""
        data = self.data
        grid = data["grids"][data["table"][source][data["dtypes"].index(dtype)]]
        strip = data["strips"][grid[_LAYOUT_NAMES.index(layout)]]
        cell = strip[MEMORY.index(memory)]
        if cell < 0:
            reason: str = data["texts"][-1 - cell]
            return reason
        return [self._answer(index) for index in data["rows"][cell]]

    def _answer(self, index: int) -> Answer:
        verdict, nbytes, reasons, fixes, caution, code = self.data["outcomes"][index]
        texts = self.data["texts"]
        return Answer(
            VERDICTS[verdict],
            nbytes,
            tuple((texts[why], texts[fix]) for why, fix in zip(reasons, fixes, strict=True)),
            texts[caution],
            texts[code],
        )


class Answer(NamedTuple):
    """An `Outcome`, and the code of its fix."""

    verdict: str
    nbytes: int
    obstacles: tuple[tuple[str, str], ...]
    caution: str
    code: str


class _Index:
    """The index of each of some values, by the order in which they come."""

    def __init__(self, *first: Hashable) -> None:
        self.of: dict[Any, int] = {value: i for i, value in enumerate(first)}

    def __call__(self, value: Hashable) -> int:
        return self.of.setdefault(value, len(self.of))

    def values(self) -> list[Any]:
        return list(self.of)


def build(costs: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """Collect the table; return it as the JSON has it, and where `explain` was wrong.

    Parameters
    ----------
    costs : dict
        By source and target, the costs of benchmarks/routes.json.
    """
    with ProcessPoolExecutor(_JOBS, get_context("spawn")) as pool:
        order = sorted(HOLDERS, key=lambda name: name not in ("duckdb", "numpy"))  # slow ones
        collected = dict(zip(order, pool.map(collect, order), strict=True))
    contradictions = [each for found in collected.values() for each in found.contradictions]
    return _encoded(collected, costs), contradictions


def _batched(values: Iterable[int], size: int) -> Iterator[tuple[int, ...]]:
    """Iterate over tuples of some values each, as `itertools.batched` of Python 3.12 does."""
    return zip(*[iter(values)] * size, strict=True)


def _encoded(collected: dict[str, Collected], costs: dict[str, Any]) -> dict[str, Any]:
    texts = _Index("")
    outcomes, rows, strips, grids = _Index(), _Index(), _Index(), _Index()

    def encode(answer: tuple[Outcome, str]) -> int:
        (verdict, nbytes, obstacles, caution), code = answer
        whys = tuple(texts(why) for why, _ in obstacles)
        fixes = tuple(texts(fix) for _, fix in obstacles)
        number = VERDICTS.index(verdict)
        return outcomes((number, nbytes, whys, fixes, texts(caution), texts(code)))

    def encode_cell(cell: Found) -> int:
        return -1 - texts(cell) if isinstance(cell, str) else rows(tuple(map(encode, cell)))

    def encode_grid(cells: list[Found]) -> int:
        return grids(tuple(map(strips, _batched(map(encode_cell, cells), len(MEMORY)))))

    table = {
        source: [encode_grid(cells) for cells in collected[source].cells.values()]
        for source in HOLDERS
    }
    names = targets()
    return {
        "versions": {each.name: each.version for each in frameworks() if each.name in names},
        "labels": {name: label_of(name) for name in (*HOLDERS, *names)},
        "targets": names,
        "dtypes": DTYPES,
        "layouts": ALL_LAYOUTS,
        "memory": MEMORY,
        "verdicts": VERDICTS,
        "costs": costs,
        "texts": texts.values(),
        "outcomes": outcomes.values(),
        "rows": rows.values(),
        "strips": strips.values(),
        "grids": grids.values(),
        "table": table,
    }
