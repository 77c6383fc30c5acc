"""The documentation site: it builds without a warning, and each page is fit to be read."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import docsite
import pytest
from docsite_check import Page, find_problems
from docsite_notebook import notebook_page
from docsite_stage import relink, with_description
from support.each import assert_each

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference"
MODULES = [
    "numpack",
    "numpack.io",
    "numpack.data",
    "numpack.store",
    "numpack.formats.named",
    *("numpack.distributed.dask", "numpack.distributed.ray", "numpack.distributed.xarray"),
    "numpack.errors",
]
SCHEMES = ("default", "slate")
SYNTAX = ("comment", "constant", "function", "generic", "keyword", "name", "number", "operator")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """Build the site of this repository in another folder."""
    project = tmp_path_factory.mktemp("project")
    (project / "src").symlink_to(ROOT / "src")
    (project / "zensical.toml").write_text((ROOT / "zensical.toml").read_text())
    assert docsite.build(project) == []
    return project / "build" / "site"


def test_site_builds_strictly_and_has_every_page(site):
    """Each page of docs is built, and the navigation leads to it."""
    navigation = Page((site / "index.html").read_text())
    linked = {link.removeprefix("./") for link, _ in navigation.links}
    built = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    docs = ROOT / "docs"
    pages = {path.relative_to(docs).with_suffix(".html") for path in docs.rglob("*.md")}
    assert {page.as_posix() for page in pages} <= built
    ready = {path.relative_to(docs).as_posix() for path in docs.rglob("*.html")}  # embedded
    assert built - linked - ready - {"404.html"} == set()


def test_site_loads_nothing_from_elsewhere(site):
    """No style, script or font comes from another host; the search has its index here."""
    for style in site.rglob("*.css"):
        assert not re.findall(r"(?:url\(|@import\s*)[\"']?https?:", style.read_text()), style
    assert "numpy_to_torch_zero_copy" in (site / "search.js").read_text()
    assert "iframe-worker.js" in (site / "index.html").read_text()


BROKEN = {
    '<a href="absent.html">x</a>': "does not exist",
    '<a href="../outside.html">x</a>': "does not exist",
    '<a href="#absent">x</a>': "no such anchor",
    '<a href="other.html#absent">x</a>': "no such anchor",
    '<img src="x.png" alt="">': "image without a text",
    '<script src="https://example.org/x.js"></script>': "loads https",
    '<link rel="stylesheet" href="//example.org/x.css">': "loads //example",
    '<a href="other.html"></a>': "<a> without a text",
    "<button></button>": "<button> without a text",
    '<p tabindex="2">x</p>': "focus order",
    '<p id="a"></p><p id="a"></p>': "id 'a' twice",
    "<h3>x</h3>": "level 3 below one of level 1",
    "<h1>x</h1>": "2 headings of level 1",
}
META = '<meta name="description" content="x">'
HEAD = f'<html lang="en"><head><title>{{}}</title>{META}</head><h1>x</h1>'


def test_check_finds_what_is_broken(tmp_path):
    """Each kind of problem, in a page that has no other."""
    page, other = tmp_path / "index.html", tmp_path / "other.html"
    (tmp_path.parent / "outside.html").write_text("")
    other.write_text(HEAD.format("other") + '<h2 id="there">y</h2>')

    def check(content: str, problem: str) -> None:
        page.write_text(HEAD.format("index") + content)
        found = find_problems(tmp_path)
        assert any(problem in each for each in found), found

    assert_each(BROKEN.items(), check)
    good = (
        '<a href="other.html#there">x</a><a href="https://example.org">x</a><a href="#">x</a>'
    )
    page.write_text(HEAD.format("index") + good.replace('<a href="#">x</a>', ""))
    assert find_problems(tmp_path) == []
    page.write_text(HEAD.format("other"))
    assert find_problems(tmp_path) == ["two pages have the title 'other'"]
    page.write_text("<h1>x</h1>")
    assert len(find_problems(tmp_path)) == 3  # no title, no description, no language
    assert find_problems(tmp_path / "absent") == ["no pages were built"]


def test_links_are_moved_to_their_places_in_the_site():
    places = {"docs/howto/a.md": "howto/a.md", "docs/b.md": "b.md"}
    text = (
        "[x](../b.md#y) [z](https://e.org/b.md) [r](../../README.md)\n```py\n[x](c.md)\n```\n"
    )
    moved = "[x](../b.md#y) [z](https://e.org/b.md) [r](../index.md)\n```py\n[x](c.md)\n```\n"
    assert relink(text, "docs/howto/a.md", places) == moved
    with pytest.raises(FileNotFoundError, match=r"links to c\.md"):
        relink("[x](c.md)", "docs/howto/a.md", places)


def test_first_paragraph_becomes_the_description():
    page = "# Title\n\n```py\ncode\n```\n\nWhat `x` [is](y.md), in\ntwo lines.\n\nMore.\n"
    described = with_description(page)
    assert described.startswith('---\ndescription: "What x is, in two lines."\n---\n')
    assert described.endswith(page)
    assert with_description(described) == described


def public_objects() -> dict[int, str]:
    """Return the name of each public object by its identity, the first name that it has."""
    found: dict[int, str] = {}
    for module in MODULES:
        imported = importlib.import_module(module)
        for name in imported.__all__:
            if name != "__version__":
                found.setdefault(id(getattr(imported, name)), f"{module}.{name}")
    adapter = importlib.import_module("numpack.io").SafetensorsFile  # imported at first use
    return found | {id(adapter): "numpack.io.SafetensorsFile"}


def test_reference_has_every_public_name_once():
    """The pages of the reference are compared with `__all__` of the public modules."""
    text = "\n".join(page.read_text() for page in sorted(REFERENCE.glob("*.md")))
    listed = []
    for name in re.findall(r"^::: (\S+)$", text, re.MULTILINE):
        module, _, attribute = name.rpartition(".")
        listed.append(id(getattr(importlib.import_module(module), attribute)))
    names = public_objects()
    assert [names[each] for each in set(names) - set(listed)] == []
    assert len(listed) == len(set(listed)) == len(names)


def test_every_public_name_has_an_example():
    """Exceptions and warnings have theirs in the blocks of their page."""
    for name in public_objects().values():
        module, _, attribute = name.rpartition(".")
        member = getattr(importlib.import_module(module), attribute)
        if not (isinstance(member, type) and issubclass(member, Exception)):
            assert ">>>" in member.__doc__, name


def colors() -> dict[str, dict[str, str]]:
    """Return the colors of each scheme by their names in docs/assets/site.css."""
    style = (ROOT / "docs" / "assets" / "site.css").read_text()
    return {
        scheme: dict(
            re.findall(
                r"--md-([\w-]+): (#[0-9a-f]{6});",
                style.split(f'[data-md-color-scheme="{scheme}"]')[1].split("}")[0],
            )
        )
        for scheme in SCHEMES
    }


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colors, from 1 to 21 (WCAG 2.2, relative luminance)."""

    def luminance(color: str) -> float:
        parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_contrast_is_that_of_wcag():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.478, abs=0.001)


def test_colors_have_enough_contrast():
    """Text has a contrast of 4.5 to 1 or more in both schemes (WCAG 2.2, level AA)."""

    def check(scheme: str, text: str, background: str) -> None:
        found = colors()[scheme]
        assert contrast(found[text], found[background]) >= 4.5

    texts = ("default-fg-color", "default-fg-color--light", "typeset-a-color")
    codes = ("code-fg-color", "typeset-a-color", *(f"code-hl-{each}-color" for each in SYNTAX))
    assert_each(
        [
            *((s, text, "default-bg-color") for s in SCHEMES for text in texts),
            *((s, text, "code-bg-color") for s in SCHEMES for text in codes),
        ],
        check,
    )
    for scheme in SCHEMES:  # of the button
        assert contrast("#ffffff", colors()[scheme]["primary-fg-color"]) >= 4.5


def test_focus_of_the_keyboard_is_visible():
    style = (ROOT / "docs" / "assets" / "site.css").read_text()
    rule = re.search(r":focus-visible \{(.*?)\}", style, re.DOTALL)
    assert rule is not None
    assert "outline: 2px" in rule[1]
    assert "outline: none" not in style


def test_notebook_becomes_a_page():
    """Text and code stay as they are; the richest output of a cell is shown."""
    outputs = [
        {"output_type": "stream", "name": "stdout", "text": ["1 < 2\n", "done\n"]},
        {
            "output_type": "execute_result",
            "data": {"text/plain": ["x"], "text/html": "<b>y</b>"},
        },
        {"output_type": "display_data", "data": {"image/png": "aWNv\nbg==\n"}},
        {"output_type": "display_data", "data": {"application/json": {}}},
    ]
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "\n", "Text."]},
        {"cell_type": "code", "source": ["print(1)"], "outputs": outputs},
        {"cell_type": "code", "source": [], "outputs": []},
    ]
    page = notebook_page(json.dumps({"cells": cells}))
    picture = '<img src="data:image/png;base64,aWNvbg==" alt="What the cell shows">'
    assert page.split("\n\n") == [
        "# Title",
        "Text.",
        "```py\nprint(1)\n```",
        '<div class="np-output"><pre><code>1 &lt; 2\ndone</code></pre></div>',
        '<div class="np-output"><b>y</b></div>',
        f'<div class="np-output">{picture}</div>\n',
    ]
