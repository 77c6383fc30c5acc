"""A chart of the rows a second of each loader, readable on light and dark pages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import matplotlib as mpl
from matplotlib.figure import Figure
from plot import GRID, TEXT

from .bars import rate

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from .contests import Times

OURS, THEIRS, BOUND = ("#e8590c", "#f4a878"), ("#4c8fd6", "#a3c6ec"), ("#7d8590", "#b9bec5")
HEIGHT = 0.38  # of a bar, in units of a group


def draw(warm: dict[int, Times], bounds: set[str], path: Path) -> None:
    """Draw a bar chart with a group for each loader, the fastest first.

    Parameters
    ----------
    warm : dict
        Batch size → label → nanoseconds a batch.
    bounds : set of str
        Labels of what is no loader.
    path : Path
        Of the SVG file.
    """
    least = max(warm)
    labels = sorted(warm[least], key=lambda label: warm[least][label])
    options = {"svg.hashsalt": "numpack", "font.size": 8.5, "text.color": TEXT}
    with mpl.rc_context(options):
        figure = Figure(figsize=(8.6, 6.2), layout="constrained")
        axes = figure.add_subplot()
        for place, label in enumerate(labels):
            for number, (rows, times) in enumerate(warm.items()):
                colour = _colour(label, bounds, number)
                _bar(axes, place + (number - 0.5) * HEIGHT, rows, times[label], colour)
        _dress(axes, labels, list(warm))
        figure.savefig(path, transparent=True, metadata={"Date": None})


def _bar(axes: Axes, height: float, rows: int, ns: float, colour: str) -> None:
    value = rows / ns * 1e9
    axes.barh(height, value, HEIGHT * 0.9, color=colour, linewidth=0)
    axes.annotate(
        rate(ns, rows),
        (value, height),
        (3, 0),
        textcoords="offset points",
        va="center",
        fontsize=7,
    )


def _colour(label: str, bounds: set[str], number: int) -> str:
    colours = BOUND if label in bounds else OURS if label.startswith("`numpack") else THEIRS
    return colours[number]


def _dress(axes: Axes, labels: list[str], sizes: list[int]) -> None:
    axes.set_xscale("log")
    axes.set_xlim(1e3, 5e7)
    axes.set_xticks([1e3, 1e4, 1e5, 1e6, 1e7], ["1,000", "10,000", "100,000", "1 M", "10 M"])
    axes.minorticks_off()
    axes.set_yticks(range(len(labels)), [label.replace("`", "") for label in labels])
    axes.set_ylim(len(labels) - 0.5, -0.5)
    upper, lower = (f"{size:,}" for size in sizes)
    axes.set_xlabel(
        "random rows of 512 bytes a second, of 1 GB in the page cache, logarithmic\n"
        f"batches of {upper} (above) and {lower} (below)",
        color=TEXT,
    )
    axes.tick_params(colors=TEXT, length=0)
    axes.grid(axis="x", color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[:].set_visible(False)
