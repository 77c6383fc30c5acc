"""A browser, and the page "Will it copy?" in it, opened from its file."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from matrix import from_script
from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parents[2] / "docs" / "will-it-copy"
URL = (FOLDER / "index.html").as_uri()
HOST = Path(__file__).parent / "host.html"  # a page of a site, which embeds the page
NAMES = ("chromium", "chromium-headless-shell", "google-chrome")


@pytest.fixture(scope="session")
def browser():
    found = next(filter(None, map(shutil.which, NAMES)), None)
    assert found, f"none of {', '.join(NAMES)} is installed; `make browser-tests` installs one"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser):
    """Return a function that opens the page, and check that it has raised no error."""
    contexts, errors = [], []

    def open_(fragment: str = "", url: str = URL, **options):
        context = browser.new_context(**options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(150_000)  # the machine may be busy
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("console", lambda message: errors.append(message.text))
        if url != URL:
            page.route("**/*", lambda route: route.fulfill(path=_file_of(route.request.url)))
        page.goto(url + fragment)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert errors == []


def _file_of(url: str) -> Path:
    """Return the file of a page that is served from the folder."""
    path = FOLDER / url.partition("#")[0].rpartition("/")[2]
    return path if path.is_file() else HOST


@pytest.fixture(scope="session")
def table():
    return from_script((FOLDER / "data.js").read_text())
