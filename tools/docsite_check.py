"""Check the built pages: links, anchors, and what a reader without a mouse or screen needs.

Links that lead out of the site are not followed.
"""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# What a page loads when it is opened: elements, and relations of <link>.
_LOADS = {"script", "img", "iframe", "source"}
_LOADED = {"stylesheet", "icon", "preload"}


class Page(HTMLParser):
    """What the checks need of a page.

    Attributes
    ----------
    ids : list of str
    links : list of (str, bool)
        Each target, and whether the page loads it when it is opened.
    headings : list of int
        The levels of the headings, in order.
    problems : list of str
    """

    def __init__(self, text: str) -> None:
        super().__init__()
        self.ids: list[str] = []
        self.links: list[tuple[str, bool]] = []
        self.headings: list[int] = []
        self.problems: list[str] = []
        self.title = self.description = self.language = ""
        self._open: list[tuple[str, bool]] = []
        self._text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note the ids, links and headings; check images and the order of the focus."""
        named = {name: value or "" for name, value in attrs}
        if "id" in named:
            self.ids.append(named["id"])
        self._note_links(tag, named)
        self._note_meta(tag, named)
        if re.fullmatch("h[1-6]", tag):
            self.headings.append(int(tag[1]))
        if tag == "img" and not named.get("alt"):
            self.problems.append(f"image without a text: {named.get('src')}")
        if re.match("[1-9]", named.get("tabindex", "")):
            self.problems.append(f"<{tag}> is moved to the front of the focus order")
        if tag in ("a", "button", "title"):
            label = named.get("aria-label") or named.get("title")
            is_reachable = tag != "a" or "href" in named
            self._open.append((tag, bool(label) or not is_reachable))
            self._text.append(str(label or ""))
        elif tag == "img" and self._text:
            self._text[-1] += named.get("alt", "")

    def _note_links(self, tag: str, named: dict[str, str]) -> None:
        for name in ("href", "src"):
            if name in named:
                is_loaded = tag in _LOADS or (tag == "link" and named.get("rel") in _LOADED)
                self.links.append((named[name], is_loaded))

    def _note_meta(self, tag: str, named: dict[str, str]) -> None:
        if tag == "html":
            self.language = named.get("lang", "")
        if tag == "meta" and named.get("name") == "description":
            self.description = named.get("content", "")

    def handle_data(self, data: str) -> None:
        """Note the text of links, buttons and the title."""
        if self._text:
            self._text[-1] += data

    def handle_endtag(self, tag: str) -> None:
        """Check that a link or button says what it does."""
        if not self._open or self._open[-1][0] != tag:
            return
        _, is_named = self._open.pop()
        text = self._text.pop().strip()
        if tag == "title":
            self.title = self.title or text
        elif not is_named and not text:
            self.problems.append(f"<{tag}> without a text")


def find_problems(site: Path) -> list[str]:
    """Return the problems of all pages of a built site."""
    site = site.resolve()
    pages = {path: Page(path.read_text()) for path in sorted(site.rglob("*.html"))}
    ids = {path: set(page.ids) for path, page in pages.items()}
    problems = [
        f"{path.relative_to(site)}: {problem}"
        for path, page in pages.items()
        for problem in (*page.problems, *_of_page(page), *_of_links(path, page, site, ids))
    ]
    titles = [page.title for path, page in pages.items() if path.name != "404.html"]
    if not pages:
        return ["no pages were built"]
    twice = sorted({title for title in titles if titles.count(title) > 1})
    return [*problems, *(f"two pages have the title {title!r}" for title in twice)]


def _of_page(page: Page) -> Iterator[str]:
    """Return what a page lacks as a whole."""
    for name in ("title", "description", "language"):
        if not getattr(page, name):
            yield f"no {name}"
    if page.headings.count(1) != 1:
        yield f"{page.headings.count(1)} headings of level 1"
    for above, below in zip(page.headings, page.headings[1:], strict=False):
        if below > above + 1:
            yield f"a heading of level {below} below one of level {above}"
    for each in sorted({each for each in page.ids if page.ids.count(each) > 1}):
        yield f"id {each!r} twice"


def _of_links(path: Path, page: Page, site: Path, ids: dict[Path, set[str]]) -> Iterator[str]:
    """Return links of a page that lead nowhere, and what it loads from elsewhere."""
    for link, is_loaded in page.links:
        parts = urlsplit(link)
        if parts.scheme or parts.netloc:
            if is_loaded and parts.scheme != "data":
                yield f"loads {link}"
            continue
        base = site if parts.path.startswith("/") else path.parent  # 404.html has such links
        target = (base / unquote(parts.path).lstrip("/")).resolve() if parts.path else path
        if not target.is_relative_to(site) or not target.is_file():
            yield f"links to {link}, which does not exist"
        elif parts.fragment and unquote(parts.fragment) not in ids.get(target, ()):
            yield f"links to {link}, and that page has no such anchor"
