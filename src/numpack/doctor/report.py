"""A report for a terminal, with rich where it is installed, and as JSON for programs."""

from __future__ import annotations

import importlib.util
import json
import shutil
import sys
import textwrap
from typing import TYPE_CHECKING, NamedTuple

from .probe import COPIED, LENGTH, REFUSED, SHARED, Probe, Report

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARKS = {SHARED: "=", COPIED: "copy", REFUSED: "-"}
_STYLES = {SHARED: "green", COPIED: "yellow", REFUSED: "dim"}
_GAP = 3  # between columns, for a table's lines if it has any


class Cell(NamedTuple):
    """A text and its style, as rich names styles."""

    text: str
    style: str = ""


class Sheet(NamedTuple):
    """A table: a title, what its marks mean, and rows of which the first is the head."""

    title: str
    legend: str
    rows: list[list[Cell]]


def to_json(report: Report) -> str:
    """Give all that was found, for a program."""
    found = report._asdict()
    found["frameworks"] = [each._asdict() for each in report.frameworks]
    found["probes"] = [each._asdict() for each in report.probes]
    return json.dumps(found, indent=2)


def show(report: Report) -> None:
    """Write the report to standard output, by rich if it is installed."""
    width = shutil.get_terminal_size().columns
    has_rich = importlib.util.find_spec("rich") is not None
    draw = _draw_rich if has_rich else _draw_plain
    draw(_without_closed(report), width)


def _without_closed(report: Report) -> Report:
    """Leave out the columns of frameworks to which nothing goes; say why instead."""
    closed = {
        each.target: f"holds no {report.dtype}: {_reason(each)}"
        for each in reversed(report.probes)
    }
    for each in report.probes:
        if each.verdict != REFUSED:
            closed.pop(each.target, None)
    probes = tuple(each for each in report.probes if each.target not in closed)
    return report._replace(probes=probes, failures=closed | report.failures)


def _draw_plain(report: Report, width: int) -> None:
    out = textwrap.wrap(_environment(report), width)
    for sheet in _sheets(report, width):
        texts = (sheet.title, sheet.legend)
        out += ["", *(line for text in texts for line in textwrap.wrap(text, width))]
        out += _lines(sheet)
    for note in _notes(report):
        out += ["", *textwrap.wrap(note, width, subsequent_indent="    ")]
    sys.stdout.write("\n".join(out) + "\n")


def _draw_rich(report: Report, width: int) -> None:
    from rich.console import Console  # noqa: PLC0415 -- optional
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(width=width, highlight=False, markup=False)
    console.print(_environment(report))
    for sheet in _sheets(report, width):
        head, *rows = sheet.rows
        table = Table(*(cell.text for cell in head))
        for row in rows:
            table.add_row(*(Text(cell.text, cell.style) for cell in row))
        console.print(f"\n{sheet.title}", sheet.legend, sep="\n")
        console.print(table)
    for note in _notes(report):
        console.print(note)


def _lines(sheet: Sheet) -> Iterator[str]:
    widths = [
        max(len(cell.text) for cell in column) for column in zip(*sheet.rows, strict=True)
    ]
    for row in sheet.rows:
        padded = (cell.text.ljust(width) for cell, width in zip(row, widths, strict=True))
        yield f"  {(' ' * _GAP).join(padded)}".rstrip()


def _environment(report: Report) -> str:
    return ", ".join(f"{name} {version}" for name, version in report.environment.items())


def _sheets(report: Report, width: int) -> Iterator[Sheet]:
    yield _installed(report)
    title = (
        f"{report.dtype}, {LENGTH:,} values: from the framework of a row to that of a column"
    )
    legend = (
        "= shared, copy: copied, - refused; then microseconds a call; [n]: why, see below; "
        "? where the memory cannot be seen from outside; !! where explain was wrong"
    )
    for columns in _that_fit(report, width):
        yield Sheet(title, legend, _matrix(report, columns))
        legend = ""


def _installed(report: Report) -> Sheet:
    rows = [[Cell("framework"), Cell("version, or what installs it")]]
    for each in report.frameworks:
        told = Cell(each.version) if each.installed else Cell(each.install, "dim")
        rows.append([Cell(each.name), told])
    return Sheet("Frameworks", "", rows)


def _matrix(report: Report, targets: list[str]) -> list[list[Cell]]:
    reasons = _reasons(report)
    rows = [[Cell("from / to"), *map(Cell, targets)]]
    for source in dict.fromkeys(each.source for each in report.probes):
        found = {each.target: each for each in report.probes if each.source == source}
        cells = [Cell(_told(found[to], reasons), _STYLES[found[to].verdict]) for to in targets]
        rows.append([Cell(source), *cells])
    return rows


def _told(probe: Probe, reasons: list[str]) -> str:
    """Give a cell: ``= 1.2``, ``copy 14 [1]``, ``- [2]``."""
    words = [_MARKS[probe.verdict]]
    if probe.ns is not None:
        words.append(f"{probe.ns / 1000:.2g}" if probe.ns < 100_000 else f"{probe.ns // 1000}")
    if probe.reason:
        words.append(f"[{reasons.index(_reason(probe)) + 1}]")
    if probe.confirmed is None and probe.verdict != REFUSED:
        words.append("?")
    elif probe.confirmed is False:
        words.append("!!")
    return " ".join(words)


def _reason(probe: Probe) -> str:
    return f"{probe.reason}; {probe.fix}" if probe.fix else probe.reason


def _reasons(report: Report) -> list[str]:
    """List each reason once; a cell gives its number."""
    return list(dict.fromkeys(_reason(each) for each in report.probes if each.reason))


def _that_fit(report: Report, width: int) -> Iterator[list[str]]:
    """Cut the columns of the matrix into tables that are not wider than the terminal."""
    reasons = _reasons(report)
    label = 4 + max([9, *(len(each.source) for each in report.probes)])
    room, group = width - label, list[str]()
    for target in dict.fromkeys(each.target for each in report.probes):
        cells = [each for each in report.probes if each.target == target]
        needed = _GAP + max(len(target), *(len(_told(each, reasons)) for each in cells))
        if group and needed > room:
            yield group
            room, group = width - label, []
        room -= needed
        group.append(target)
    if group:
        yield group


def _notes(report: Report) -> Iterator[str]:
    for number, reason in enumerate(_reasons(report), 1):
        yield f"[{number}] {reason}"
    for each in report.contradictions:
        yield (
            f"!! from {each.source} to {each.target} explain says {each.verdict}, and the "
            "memory says otherwise: please report it"
        )
    for name, why in report.failures.items():
        yield f"{name} {why}"
    missing = [each.name for each in report.frameworks if not each.installed]
    if missing:
        yield f"Not installed, and so not probed: {', '.join(missing)}."
