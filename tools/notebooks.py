"""Run the tutorials, and save them with their outputs.

    python tools/notebooks.py [NOTEBOOK ...]

A notebook runs in an empty folder of its own, so that it can be read on any machine.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

TUTORIALS = Path(__file__).parents[1] / "docs" / "tutorials"
TIMEOUT = 300  # seconds, of a cell


def run(notebook: nbformat.NotebookNode) -> None:
    """Run all cells in a new kernel; raise `CellExecutionError` for the first that fails."""
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=TIMEOUT,
            kernel_name="python3",
            resources={"metadata": {"path": folder}},
            record_timing=False,
        )
        client.execute()


def main() -> None:
    """Run notebooks, all tutorials by default, and write them back."""
    given = [Path(name) for name in sys.argv[1:]]
    for path in given or sorted(TUTORIALS.glob("*.ipynb")):
        notebook = nbformat.read(path, as_version=4)
        run(notebook)
        nbformat.write(notebook, path)


if __name__ == "__main__":
    main()
