"""``numpack show``: values, attributes and statistics of arrays."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

from ._errors import UsageError
from ._protocol import OK
from ._stores import add_at, add_options, reading
from ._text import escaped, shape

if TYPE_CHECKING:
    import argparse

    from ..store import NumPack
    from ._output import Output
    from ._selection import Rows, Selection
    from ._statistics import Statistics

HELP = "show values, attributes and statistics of arrays"
DESCRIPTION = (
    "An array, or a part of it as in Python: 'x[10:20, :4]'. Of more than 1,000 values the "
    "first and the last are read, and none is written as JSON, unless --all is given. "
    "--stats reads all of them, a few MiB at a time."
)
EXAMPLES = """
numpack show features.npk 'x[10:20, :4]'
numpack show features.npk x --stats
numpack show features.npk --header
"""
_ENDS = 30  # columns of the terminal for the ends of a histogram


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", help="folder, package (.npkz) or URL")
    parser.add_argument(
        "names", nargs="*", default=[], metavar="NAME", help="all arrays if none is given"
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument(
        "-s",
        "--stats",
        action="store_true",
        help="min, max, mean, standard deviation, NaN count and a histogram",
    )
    what.add_argument("-a", "--all", action="store_true", help="all values, however many")
    what.add_argument(
        "-H", "--header", action="store_true", help="no values: dtype, attributes"
    )
    parser.add_argument(
        "--bins", type=int, default=40, help="of the histogram, at most (%(default)s)"
    )
    add_at(parser)
    add_options(parser)


def run(options: argparse.Namespace, output: Output) -> int:
    """Show the arrays."""
    from ._selection import selection  # noqa: PLC0415 -- needs NumPy

    if options.bins < 1:
        msg = f"--bins must be positive, not {options.bins}"
        raise UsageError(msg)
    with reading(options.store, options) as store:
        texts = options.names or list(store)
        chosen = [selection(store, text) for text in texts]
        shown = [
            _show(store, each, text, options, output)
            for text, each in zip(texts, chosen, strict=True)
        ]
    if output.as_json:
        output.json(shown)
    return OK


def _show(
    store: NumPack, chosen: Selection, text: str, options: argparse.Namespace, output: Output
) -> dict[str, Any]:
    """Write one array; return it for JSON."""
    from ._selection import Rows  # noqa: PLC0415

    with store._stream([chosen.name]) as held:  # noqa: SLF001 -- as of one commit
        rows = Rows(held, chosen)
        return _show_rows(store, chosen, rows, text, options, output)


def _show_rows(
    store: NumPack,
    chosen: Selection,
    rows: Rows,
    text: str,
    options: argparse.Namespace,
    output: Output,
) -> dict[str, Any]:
    from ._statistics import has_statistics  # noqa: PLC0415

    described = _described(store, chosen, rows)
    if not output.as_json:
        _write_header(described, text, output)
    if options.stats and (options.names or has_statistics(rows.dtype)):
        bins = min(options.bins, max(8, output.width - _ENDS if output.width else sys.maxsize))
        found = _statistics(rows, text, bins, output)
        described["stats"] = _statistics_as_json(found)
        if not output.as_json:
            _write_statistics(found, output, is_time=rows.dtype.kind in "mM")
    elif not (options.header or options.stats):
        _add_values(described, rows, options, output)
    return described


def _described(store: NumPack, chosen: Selection, rows: Rows) -> dict[str, Any]:
    return {
        "name": chosen.name,
        "dtype": str(rows.dtype),
        "shape": list(rows.shape),
        "attributes": dict(store.attrs[chosen.name]),
    }


def _write_header(described: dict[str, Any], text: str, output: Output) -> None:
    output.heading(
        f"{escaped(text)}  {escaped(described['dtype'])} {shape(described['shape'])}"
    )
    attributes = described["attributes"]
    output.pairs([(f"  {escaped(key)}", escaped(repr(attributes[key]))) for key in attributes])


def _add_values(
    described: dict[str, Any], rows: Rows, options: argparse.Namespace, output: Output
) -> None:
    """Write the values, or add them to what becomes JSON."""
    from ._values import as_json, is_short, lines_of  # noqa: PLC0415

    if not output.as_json:
        for line in lines_of(rows, output.width or 80, everything=options.all):
            output.line(line)
    elif options.all or is_short(rows):
        described["values"] = as_json(rows.read(0, len(rows)))


def _statistics(rows: Rows, text: str, bins: int, output: Output) -> Statistics:
    from ._statistics import statistics  # noqa: PLC0415

    with output.progress(f"read {text}") as bar:
        return statistics(rows, bins, bar.update)


def _write_statistics(found: Statistics, output: Output, *, is_time: bool) -> None:
    from ._statistics import sparkline  # noqa: PLC0415
    from ._values import number  # noqa: PLC0415

    missing = "NaT" if is_time else "NaN"
    counts = [("values", found.values), (missing, found.nan), ("infinite", found.infinite)]
    rows = [
        (f"  {label}", f"{count:,}") for label, count in counts if count or label == "values"
    ]
    for label in ("min", "max", "mean", "std"):
        value = getattr(found, label)
        if value is not None:
            rows.append((f"  {label}", number(value)))
    output.pairs(rows)
    if found.histogram:
        bars = sparkline(found.histogram, is_ascii=not output.can_encode("▁█"))
        output.line(f"  {number(found.low)} {bars} {number(found.high)}")


def _statistics_as_json(found: Statistics) -> dict[str, Any]:
    import numpy as np  # noqa: PLC0415

    from ._values import as_json  # noqa: PLC0415

    return {
        key: list(value)
        if key == "histogram"
        else None
        if value is None
        else as_json(np.asarray(value))
        for key, value in found._asdict().items()
    }
