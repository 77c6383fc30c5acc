"""A chart of the formats' times, readable on light and dark pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from formats import FORMATS, REWRITES
from matplotlib.figure import Figure
from measure import quantity

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

TEXT, GRID = "#7d8590", "#7d859040"
COLOURS = dict(
    zip(
        (known.label for known in FORMATS),
        ("#e8590c", "#4c8fd6", "#3fa66b", "#a678c9", "#b8952c"),
        strict=True,
    )
)
SHOWN = {
    "save": "save, 40 MB",
    "load": "load, 40 MB",
    "open + lazy load": "open + lazy load",
    "append 100 rows": "append 100 rows",
    "replace 100 rows": "replace 100 rows",
    "drop 100 rows": "drop 100 rows",
    "gather 4,096 rows": "4,096 random rows\nof 1 GB",
    "gather 65,536 rows": "65,536 random rows\nof 1 GB",
    "gather 4,096 rows, cold": "4,096 random rows\nof 1 GB, not cached",
}
TICKS = ("1 µs", "10 µs", "100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s")
HEIGHT = 0.16  # of a bar, in units of a group


def draw(times: dict[str, dict[str, float]], path: Path) -> None:
    """Draw a bar chart with a group for each operation.

    Parameters
    ----------
    times : dict
        Operation → format → nanoseconds.
    path : Path
        Of the SVG file.
    """
    options = {"svg.hashsalt": "numpack", "hatch.linewidth": 0.6, "font.size": 8.5}
    with mpl.rc_context({**options, "text.color": TEXT}):
        figure = Figure(figsize=(8.6, 9.6), layout="constrained")
        axes = figure.add_subplot()
        for place, operation in enumerate(SHOWN):
            _group(axes, place, operation, times[operation])
        _dress(axes)
        figure.legend(
            *axes.get_legend_handles_labels(),
            loc="outside upper center",
            ncols=6,
            frameon=False,
        )
        figure.savefig(path, transparent=True, metadata={"Date": None})


def _group(axes: Axes, place: int, operation: str, row: dict[str, float]) -> None:
    for number, known in enumerate(FORMATS):
        height = place + (number - len(FORMATS) / 2 + 0.5) * HEIGHT
        rewrites = known.way.get(operation.partition(" ")[0]) == REWRITES
        axes.barh(
            height,
            row[known.label],
            HEIGHT * 0.88,
            color=COLOURS[known.label],
            alpha=0.55 if rewrites else 1,
            hatch="////" if rewrites else None,
            edgecolor=TEXT if rewrites else "none",
            linewidth=0,
            label="" if place else known.label,
        )
        axes.annotate(
            quantity(row[known.label]),
            (row[known.label], height),
            (3, 0),
            textcoords="offset points",
            va="center",
            fontsize=7,
        )


def _dress(axes: Axes) -> None:
    axes.barh(0, 0, hatch="////", color="none", edgecolor=TEXT, linewidth=0, label=REWRITES)
    axes.set_xscale("log")
    axes.set_xlim(1e3, 1.2e10)
    axes.set_xticks([10.0**power for power in range(3, 11)], TICKS)
    axes.minorticks_off()
    axes.set_yticks(range(len(SHOWN)), list(SHOWN.values()))
    axes.set_ylim(len(SHOWN) - 0.5, -0.5)
    axes.set_xlabel("time of one call, logarithmic; less is better", color=TEXT)
    axes.tick_params(colors=TEXT, length=0)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
