"""``numpack bench``: what reading an array costs on this machine and disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._protocol import OK
from ._stores import reading
from ._tables import Column, Table
from ._text import escaped, seconds, shape, size

if TYPE_CHECKING:
    import argparse

    from ._measure import Result
    from ._output import Output

HELP = "measure what lazy rows, gathers and batches of an array cost here"
DESCRIPTION = (
    "Beside each call NumPy does the same with the same bytes, those of the data file. Both "
    "are measured in turns, and the medians are shown. A Loader also begins an epoch and its "
    "threads. --cold drops the file from the page cache before each turn, so that the disk "
    "is measured."
)
EXAMPLES = """
numpack bench features.npk x --rounds 3
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", help="a folder")
    parser.add_argument("name", help="an array with rows")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (%(default)s)")
    parser.add_argument(
        "--rows", type=int, default=4096, help="random rows of a gather (%(default)s)"
    )
    parser.add_argument("--batch", type=int, default=256, help="rows of a batch (%(default)s)")
    parser.add_argument(
        "--cold", action="store_true", help="out of the disk, not the page cache"
    )


def run(options: argparse.Namespace, output: Output) -> int:
    """Measure and show the medians."""
    from ._measure import measure  # noqa: PLC0415 -- imports the store and the loader

    with output.progress(f"bench {options.name}", in_bytes=False) as bar:
        results = measure(options, lambda: reading(options.store, options), bar.update)
    with reading(options.store, options) as store:
        found = store.info().arrays[options.name]
    if output.as_json:
        output.json(
            {
                "store": options.store,
                "name": options.name,
                "dtype": found.dtype,
                "shape": list(found.shape),
                "cold": options.cold,
                "rounds": options.rounds,
                "results": [each._asdict() for each in results],
            }
        )
        return OK
    cache = "from the disk" if options.cold else "in the page cache"
    output.heading(
        f"{escaped(options.name)}  {escaped(found.dtype)} {shape(found.shape)}, "
        f"{size(found.nbytes)}, {cache}"
    )
    output.table(_table(results))
    return OK


def _table(results: list[Result]) -> Table:
    table = Table(
        [
            Column("what", style="bold"),
            Column("numpack", right=True, style="green"),
            Column("NumPy", right=True),
            Column("times as fast", right=True),
            Column("NumPy's call", style="dim"),
        ]
    )
    for each in results:
        ratio = f"{each.numpy_seconds / each.seconds:.2g} ×"
        ours, theirs = seconds(each.seconds), seconds(each.numpy_seconds)
        table.rows.append([each.what, ours, theirs, ratio, each.numpy_call])
    return table
