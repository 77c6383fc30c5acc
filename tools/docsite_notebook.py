"""Notebooks as pages: their text, code and the outputs that are stored in them."""

from __future__ import annotations

import html
import json
from typing import Any

# The richest one of an output is shown.
_KINDS = ("text/html", "image/svg+xml", "image/png", "text/plain")
_DIV = '<div class="np-output">{}</div>'


def notebook_page(text: str) -> str:
    """Return a notebook as Markdown.

    Parameters
    ----------
    text : str
        The file, of nbformat 4.
    """
    parts: list[str] = []
    for cell in json.loads(text)["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
        elif source:
            parts.append(f"```py\n{source}\n```")
            parts.extend(map(_output, cell["outputs"]))
    return "\n\n".join(part for part in parts if part) + "\n"


def _output(output: dict[str, Any]) -> str:
    """Return an output of a cell, or nothing if it is of no kind that a page shows."""
    found = {"text/plain": output["text"]} if "text" in output else output.get("data", {})
    kind = next((each for each in _KINDS if each in found), None)
    if kind is None:
        return ""
    content = "".join(found[kind]).rstrip()
    if kind == "text/plain":
        return _DIV.format(f"<pre><code>{html.escape(content)}</code></pre>")
    if kind == "image/png":
        data = content.replace("\n", "")
        image = f'<img src="data:image/png;base64,{data}" alt="What the cell shows">'
        return _DIV.format(image)
    return _DIV.format(content)
