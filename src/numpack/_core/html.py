"""Parts of the representations that notebooks show, as HTML."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WIDTH, _HEIGHT = 240, 40  # pixels of a histogram


def table(caption: str, rows: Iterable[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Return a table of texts, which are escaped.

    Parameters
    ----------
    caption : str
    rows : iterable of sequence of str
    head : sequence of str, optional
        Without it, the first cell of each row is its heading.
    """
    heads = "".join(f"<th>{html.escape(cell)}</th>" for cell in head)
    lines = [f"<tr>{heads}</tr>"] if head else []
    for row in rows:
        cells = [html.escape(cell) for cell in row]
        named = "" if head else f'<th style="text-align: left">{cells.pop(0)}</th>'
        lines.append(f"<tr>{named}{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>")
    return f"<table><caption>{html.escape(caption)}</caption>{''.join(lines)}</table>"


def preformatted(text: str) -> str:
    """Return a text in a fixed-width font, escaped."""
    return f'<pre style="font-family: monospace">{html.escape(text)}</pre>'


def histogram(counts: Sequence[int], low: str, high: str, what: str) -> str:
    """Return a histogram as an SVG figure in the color of the text.

    Parameters
    ----------
    counts : sequence of int
        Of the bins; at least one is positive.
    low, high : str
        The ends of the axis.
    what : str
        What is counted, below the figure.
    """
    width, most = _WIDTH / len(counts), max(counts)
    bars = "".join(
        f'<rect x="{number * width:.1f}" y="{_HEIGHT - height:.1f}" '
        f'width="{width * 0.9:.1f}" height="{height:.1f}"/>'
        for number, height in enumerate(_HEIGHT * count / most for count in counts)
    )
    label = html.escape(f"histogram from {low} to {high}", quote=True)
    figure = (
        f'<svg role="img" aria-label="{label}" width="{_WIDTH}" height="{_HEIGHT}" '
        f'viewBox="0 0 {_WIDTH} {_HEIGHT}" fill="currentColor">{bars}</svg>'
    )
    ends = f"{html.escape(low)} … {html.escape(high)}"
    return f"<figure>{figure}<figcaption>{ends}, {html.escape(what)}</figcaption></figure>"
