"""Run the examples of the docstrings, the README and the documentation."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import inspect
import pkgutil
import re
from contextvars import Context
from pathlib import Path

import pytest
from support.each import for_each

import numpack.allocation
import numpack.io.references
from numpack.allocation.allocator import replace_default

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
MODULES = ["numpack"] + [m.name for m in pkgutil.walk_packages(numpack.__path__, "numpack.")]
if importlib.util.find_spec("cupy") is None:  # cannot be imported without CuPy
    MODULES.remove("numpack.adapters.cupy")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@pytest.fixture(autouse=True)
def _own_allocator():
    """Undo an example's `use_aligned_allocation`, which has no end."""
    variable, handler = numpack.allocation._setting_of_numpy()
    default, token = Context().run(variable.get), variable.set(handler)
    yield
    variable.reset(token)
    if Context().run(variable.get) is not default:
        assert replace_default(variable, handler, default)


@pytest.fixture(autouse=True)
def _own_tables():
    """Undo an example's `use_pickle_by_reference`, which has no end."""
    yield
    numpack.io.references._TABLES.reset()


def blocks(language: str) -> list:
    return [
        pytest.param(
            text, id=f"{page.name}:{page.read_text()[: match.start()].count(chr(10)) + 2}"
        )
        for page in PAGES
        for match in BLOCK.finditer(page.read_text())
        for found, text in [match.groups()]
        if found == language
    ]


@pytest.mark.parametrize("name", MODULES)
def test_docstring(name):
    module = importlib.import_module(name)
    result = doctest.testmod(module, optionflags=doctest.NORMALIZE_WHITESPACE)
    assert result.failed == 0


def test_docstrings_have_examples():
    """Check the public functions and classes."""
    public = [
        *numpack.io.zero_copy.__all__,
        "NumPack",
        "LazyArray",
        "ParallelWrite",
        "share",
        "explain",
    ]
    for name in public:
        member = getattr(numpack.io, name, None) or getattr(numpack, name)
        assert ">>>" in member.__doc__, name


@pytest.mark.parametrize(
    "cls",
    [numpack.NumPack, numpack.LazyArray, numpack.ParallelWrite],
    ids=lambda cls: cls.__name__,
)
def test_docstrings_of_methods_have_examples(cls):
    for name in dir(cls):
        method = getattr(cls, name)
        if not name.startswith("_") and inspect.isfunction(method):
            inherited = method.__module__ in ("collections.abc", "_collections_abc")
            assert inherited or ">>>" in method.__doc__, name


@pytest.mark.parametrize("text", blocks("python"))
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_python_block(text):
    exec(compile(text, "<block>", "exec"), {"__name__": "__main__"})


def test_code_blocks_are_found():
    assert len(blocks("python")) >= 9
    assert len(blocks("sh")) >= 3


@for_each("text", [each.values[0] for each in blocks("sh")])
def test_documented_commands_are_run_by_ci(text):
    """Shell blocks are not run by the tests; .ci/run contains each of their commands."""
    runs = (ROOT / ".ci" / "run").read_text()
    for command in text.splitlines():
        words = command.removeprefix("pip ").strip()  # CI uses the pip of an environment
        assert words in runs, f"{command!r} is in the documentation and not in .ci/run"


def test_relative_links_exist():
    for page in PAGES:
        for target in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def table_rows(heading: str) -> list[list[str]]:
    """Return the cells of each table row in a section of the architecture page."""
    page = (ROOT / "docs" / "architecture.md").read_text()
    section = page.split(f"\n## {heading}")[1].split("\n## ")[0]
    rows = [line.strip("|").split("|") for line in section.splitlines() if line[:1] == "|"]
    return [[cell.strip() for cell in row] for row in rows if "`" in "".join(row)]


def test_architecture_page_lists_every_module():
    """The table lists every package with exactly its modules."""
    package = ROOT / "src" / "numpack"
    expected: dict[str, set[str]] = {}
    for path in package.rglob("*"):
        if path.suffix in (".py", ".pyx", ".pxd", ".h") and (
            path.parent == package or not path.name.startswith("__init__.")
        ):
            expected.setdefault(str(path.relative_to(package).parent), set()).add(path.stem)
    expected["adapters"].add("__init__")
    named = {
        room.strip("`"): set(re.findall(r"`(\w+)`", modules))
        for room, modules in table_rows("The rooms")
    }
    assert named == expected


@pytest.mark.parametrize("section", ["A conversion", "A commit", "A batch"])
def test_architecture_page_names_existing_functions(section):
    rows = table_rows(section)
    assert rows
    for _, file, names in rows:
        source = (ROOT / "src" / "numpack" / file.strip("`")).read_text()
        for name in re.findall(r"`(?:\w+\.)?(\w+)`", names):
            assert re.search(rf"(?:def|class|object|bint|int) {name}\b", source), (
                f"{file}: {name}"
            )


def test_changelog_has_the_current_version():
    assert f"## [{numpack.__version__}]" in (ROOT / "CHANGELOG.md").read_text()


def test_constraints_match_the_installed_versions():
    from importlib.metadata import version

    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, pinned = line.split("==")
            assert version(name).partition("+")[0] == pinned


def test_all_examples_are_run():
    """`make demo` runs them, a test that of clusters; they fail if a result is wrong."""
    examples = {path.name for path in (ROOT / "examples").glob("*.py")} - {"cluster.py"}
    lines = re.findall(r"-W error examples/(\w+\.py)\n", (ROOT / "Makefile").read_text())
    assert examples == set(lines)
    assert "make demo\n" in (ROOT / ".ci" / "run").read_text()
