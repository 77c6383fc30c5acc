"""Output of a report: tables for a terminal, drawn by rich if installed, or JSON."""

from __future__ import annotations

import json
import textwrap
from typing import TYPE_CHECKING, NamedTuple

from .probe import COPIED, LENGTH, REFUSED, SHARED, Probe, Report

if TYPE_CHECKING:
    from collections.abc import Iterator

_MARKS = {SHARED: "=", COPIED: "copy", REFUSED: "-"}
_STYLES = {SHARED: "green", COPIED: "yellow", REFUSED: "dim"}
_GAP = 3  # between columns; rich draws the lines of a table there


class Cell(NamedTuple):
    """A text and its style in rich's notation."""

    text: str
    style: str = ""


class Sheet(NamedTuple):
    """A table: title, legend and rows, the first of which is the head."""

    title: str
    legend: str
    rows: list[list[Cell]]


def to_json(report: Report) -> str:
    """Return the report as JSON."""
    content = report._asdict()
    content["frameworks"] = [each._asdict() for each in report.frameworks]
    content["probes"] = [each._asdict() for each in report.probes]
    return json.dumps(content, indent=2)


def to_text(report: Report, width: int, *, with_rich: bool = False) -> str:
    """Return the report as lines of text for a terminal, drawn by rich if asked for."""
    draw = _draw_rich if with_rich else _draw_plain
    return draw(_without_refusing_targets(report), width)


def _without_refusing_targets(report: Report) -> Report:
    """Replace the columns of frameworks that refuse every source by a note with the reason."""
    refusing = {
        each.target: f"holds no {report.dtype}: {_reason(each)}"
        for each in reversed(report.probes)
    }
    for each in report.probes:
        if each.verdict != REFUSED:
            refusing.pop(each.target, None)
    probes = tuple(each for each in report.probes if each.target not in refusing)
    return report._replace(probes=probes, failures=refusing | report.failures)


def _draw_plain(report: Report, width: int) -> str:
    out = textwrap.wrap(_environment(report), width)
    for sheet in _sheets(report, width):
        texts = (sheet.title, sheet.legend)
        out += ["", *(line for text in texts for line in textwrap.wrap(text, width))]
        out += _lines(sheet)
    for note in _notes(report):
        out += ["", *textwrap.wrap(note, width, subsequent_indent="    ")]
    return "\n".join(out)


def _draw_rich(report: Report, width: int) -> str:
    from rich.console import Console  # noqa: PLC0415 -- optional
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    console = Console(width=width, highlight=False, markup=False)
    with console.capture() as captured:
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
    text: str = captured.get()
    return text.rstrip("\n")


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
        "= shared, copy: copied, - refused; then microseconds per call; 2x: twice the time "
        "of the frameworks' own call; [n]: reason, below; "
        "? memory not accessible; !! explain was wrong"
    )
    for columns in _column_groups(report, width):
        yield Sheet(title, legend, _matrix(report, columns))
        legend = ""


def _installed(report: Report) -> Sheet:
    rows = [[Cell("framework"), Cell("version, or how to install it")]]
    for each in report.frameworks:
        detail = Cell(each.version) if each.installed else Cell(each.install, "dim")
        rows.append([Cell(each.name), detail])
    return Sheet("Frameworks", "", rows)


def _matrix(report: Report, targets: list[str]) -> list[list[Cell]]:
    reasons = _reasons(report)
    rows = [[Cell("from / to"), *map(Cell, targets)]]
    for source in dict.fromkeys(each.source for each in report.probes):
        probes = {each.target: each for each in report.probes if each.source == source}
        cells = [
            Cell(_text(probes[to], reasons), _STYLES[probes[to].verdict]) for to in targets
        ]
        rows.append([Cell(source), *cells])
    return rows


def _text(probe: Probe, reasons: list[str]) -> str:
    """Return the text of a cell: ``= 1.2``, ``copy 14 [1]``, ``- [2]``."""
    words = [_MARKS[probe.verdict]]
    if probe.ns is not None:
        words.append(f"{probe.ns / 1000:.2g}" if probe.ns < 100_000 else f"{probe.ns // 1000}")
    if probe.ratio is not None:
        words.append(f"{probe.ratio:.2g}x" if probe.ratio < 100 else f"{probe.ratio:.0f}x")
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
    """Return the distinct reasons in order; cells refer to them by number."""
    return list(dict.fromkeys(_reason(each) for each in report.probes if each.reason))


def _column_groups(report: Report, width: int) -> Iterator[list[str]]:
    """Split the columns of the matrix into tables that fit the width of the terminal."""
    reasons = _reasons(report)
    label = 4 + max([9, *(len(each.source) for each in report.probes)])
    room, group = width - label, list[str]()
    for target in dict.fromkeys(each.target for each in report.probes):
        cells = [each for each in report.probes if each.target == target]
        needed = _GAP + max(len(target), *(len(_text(each, reasons)) for each in cells))
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
            f"!! from {each.source} to {each.target}: explain predicted {each.verdict}, but "
            "the memory shows otherwise; please report this"
        )
    for name, why in report.failures.items():
        yield f"{name} {why}"
    missing = [each.name for each in report.frameworks if not each.installed]
    if missing:
        yield f"Not installed: {', '.join(missing)}."
