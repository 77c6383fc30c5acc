"""Run the examples of the docstrings, the README and the documentation."""

from __future__ import annotations

import doctest
import functools
import importlib
import importlib.machinery
import importlib.util
import inspect
import os
import pkgutil
import re
import shutil
import subprocess
import sys
import sysconfig
from contextvars import Context
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each

import numpack.allocation
import numpack.io.references
from numpack.allocation.allocator import replace_default

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
MODULES = ["numpack"] + [m.name for m in pkgutil.walk_packages(numpack.__path__, "numpack.")]
if importlib.util.find_spec("cupy") is None:  # cannot be imported without CuPy
    MODULES.remove("numpack.adapters.cupy")
# Pages whose blocks need more than an empty folder, and run in a test of their own.
RAY_PAGE = ROOT / "docs" / "howto" / "ray-s3.md"
NUMPACK0_PAGE = ROOT / "docs" / "howto" / "from-numpack-0.7.md"
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


def blocks(language: str, pages: list[Path] = PAGES) -> list:
    return [
        pytest.param(
            text, id=f"{page.name}:{page.read_text()[: match.start()].count(chr(10)) + 2}"
        )
        for page in pages
        for match in BLOCK.finditer(page.read_text())
        for found, text in [match.groups()]
        if found == language
    ]


def run_file(text: str, **variables: str) -> None:
    """Run a block in the current folder as a program of its own."""
    Path("program.py").write_text(text)
    command = [sys.executable, "program.py"]
    environment = {**os.environ, **variables}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr


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


@pytest.mark.parametrize(
    "text",
    blocks("python", [each for each in PAGES if each not in (RAY_PAGE, NUMPACK0_PAGE)]),
)
@pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")
def test_python_block(text):
    if 'if __name__ == "__main__":' in text:  # it starts processes that import it
        run_file(text, PYTHONWARNINGS="error")
    else:
        exec(compile(text, "<block>", "exec"), {"__name__": "__main__"})


def test_page_of_numpack_0_7(tmp_path):
    """Run its blocks one after the other, on a folder that NumPack 0.7 has written."""
    folder = ROOT / "tests" / "data" / "numpack-0.7.0" / "deleted.npk"
    shutil.copytree(folder, tmp_path / "features.npk")
    for block in blocks("python", [NUMPACK0_PAGE]):
        exec(compile(block.values[0], "<block>", "exec"), {})


def test_page_of_ray_and_s3(moto_server, tmp_path):
    """Run its block with a bucket of moto's server, and with a small cluster."""
    (block,) = blocks("python", [RAY_PAGE])
    assert f"s3://{moto_server.name}/" in block.values[0]
    start = "import ray; ray.init(num_cpus=1, include_dashboard=False, log_to_driver=False)\n"
    run_file(
        start + block.values[0],
        AWS_ENDPOINT_URL=moto_server.endpoint,
        AWS_ALLOW_HTTP="true",
        AWS_REGION="us-east-1",
        NUMPACK_CACHE=str(tmp_path / "cache"),
        **moto_server.variables,
    )


@pytest.mark.parametrize("text", blocks("cython"))
def test_cython_block(text, tmp_path):
    """Compile a block, and call its first function with a lazy array."""
    source = tmp_path / "block.pyx"
    source.write_text(f"# cython: language_level=3\n{text}")
    run = functools.partial(subprocess.run, check=True, cwd=tmp_path)
    run([sys.executable, "-m", "cython", source.name])
    include = f"-I{sysconfig.get_path('include')}"
    run(["cc", "-shared", "-fPIC", "-O1", include, "-o", "block.so", "block.c"])
    loader = importlib.machinery.ExtensionFileLoader("block", str(tmp_path / "block.so"))
    spec = importlib.util.spec_from_loader("block", loader)
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    with numpack.NumPack("cython.npk") as npk:
        npk.save({"x": np.arange(6, dtype="f4").reshape(2, 3)})
        x = npk.load("x", lazy=True)
        (name,) = re.findall(r"^def (\w+)", text, re.MULTILINE)
        assert getattr(module, name)(x) == 15


def test_code_blocks_are_found():
    assert len(blocks("cython")) >= 1
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
        text = BLOCK.sub("", page.read_text())
        for target in re.findall(r"\]\((?!https?:)([^)#]+)(?:#[^)]*)?\)", text):
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
        name.strip("`"): set(re.findall(r"`(\w+)`", modules))
        for name, modules in table_rows("The layout")
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
