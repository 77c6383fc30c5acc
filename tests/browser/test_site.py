"""The documentation site, opened from its folder: search, keyboard, colors, narrow screens."""

from __future__ import annotations

from pathlib import Path

import docsite
import pytest
from support.each import assert_each

ROOT = Path(__file__).parents[2]
CONTRAST = (Path(__file__).parent / "contrast.js").read_text()
PAGES = ["index", "howto/train", "howto/from-hdf5", "reference/store", "matrix", "benchmarks"]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    project = tmp_path_factory.mktemp("project")
    (project / "src").symlink_to(ROOT / "src")
    (project / "zensical.toml").write_text((ROOT / "zensical.toml").read_text())
    assert docsite.build(project) == []
    return project / "build" / "site"


@pytest.fixture
def open_site(browser, site):
    """Return a function that opens a page; check that it requests no other host."""
    contexts, requests = [], []

    def open_(name: str, **options):
        contexts.append(browser.new_context(**options))
        page = contexts[-1].new_page()
        page.set_default_timeout(150_000)  # the machine may be busy
        page.on("request", lambda request: requests.append(request.url))
        page.on("pageerror", lambda error: requests.append(str(error)))
        page.goto((site / f"{name}.html").as_uri())
        return page

    yield open_
    for context in contexts:
        context.close()
    assert [each for each in requests if not each.startswith(("file:", "data:", "blob:"))] == []


def test_search_works_without_a_server(open_site):
    page = open_site("howto/train")
    page.get_by_role("button", name="Search").click()
    page.get_by_role("combobox").fill("ParallelWrite")
    page.get_by_role("option").first.click()
    page.wait_for_url("**/reference/store.html?*")


def test_keyboard_reaches_the_content_first(open_site):
    page = open_site("howto/train")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent").strip() == "Skip to content"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineWidth") == "2px"


def test_text_has_enough_contrast_in_both_schemes(open_site):
    def check(scheme: str, name: str) -> None:
        page = open_site(name, color_scheme=scheme, reduced_motion="reduce")
        page.wait_for_timeout(500)  # the tabs fade in
        assert page.evaluate(CONTRAST) == []

    assert_each([(scheme, name) for scheme in ("light", "dark") for name in PAGES], check)


def test_pages_fit_a_phone(open_site):
    def check(name: str) -> None:
        page = open_site(name, viewport={"width": 360, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") <= 360

    assert_each(PAGES, check)
