"""The tutorials run, and are stored with the outputs of a run."""

from pathlib import Path

import nbformat
import notebooks
import pytest

TUTORIALS = sorted(notebooks.TUTORIALS.glob("*.ipynb"))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path: Path):
    notebook = nbformat.read(path, as_version=4)
    notebooks.run(notebook)
    nbformat.validate(notebook)
    stored = nbformat.read(path, as_version=4)
    for now, then in zip(cells(notebook), cells(stored), strict=True):
        assert kinds(now) == kinds(then), now.source


def cells(notebook: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def kinds(cell: nbformat.NotebookNode) -> set[tuple[str, ...]]:
    """Return the kinds of outputs of a cell, and their representations.

    What is printed comes in one output or several.
    """
    return {(each.output_type, *sorted(each.get("data", {}))) for each in cell.outputs}


def test_both_tutorials_are_there():
    assert [path.stem for path in TUTORIALS] == ["exchange", "store_and_loader"]
    for path in TUTORIALS:
        text = path.read_text()
        assert "/tmp/" not in text
        assert "text/html" in text
