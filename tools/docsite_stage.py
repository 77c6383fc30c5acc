"""Collect the pages of the site: docs, notebooks, examples, and files that they link to.

A page of docs links to CONTRIBUTING, examples and figures by their place in the repository.
Here these become pages and files of the site, and the links lead there.
"""

from __future__ import annotations

import ast
import posixpath
import re
import shutil
from typing import TYPE_CHECKING

from docsite_notebook import notebook_page

if TYPE_CHECKING:
    from pathlib import Path

# Pages of the repository that are pages of the site.
PAGES = {"CHANGELOG.md": "changelog.md", "CONTRIBUTING.md": "contributing.md"}
FIRST_PAGE = {"README.md": "index.md"}  # a link to the one leads to the other
DESCRIPTION = 200  # characters of a page's description, at most
_FENCE = re.compile(r"(^```.*?^```$)", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\((?!\w+:|#)([^)#\s]+)(#[^)\s]*)?\)")
_HREF = re.compile(r'href="(?!\w+:|#|/)([^"#]+)(#[^"]*)?"')
_MARKUP = re.compile(r"\[([^\]]*)\]\([^)]*\)|[`*]")


def stage(root: Path, folder: Path) -> None:
    """Write all pages and files of the site into a folder; leave unchanged ones alone.

    Parameters
    ----------
    root : Path
        The repository.
    folder : Path
        What the site is built from.

    Raises
    ------
    FileNotFoundError
        A page links to something that is no page or file of the site.
    """
    places = _places(root)
    for source, target in places.items():
        path, new = folder / target, root / source
        path.parent.mkdir(parents=True, exist_ok=True)
        if target.endswith((".md", ".html")):
            page = _page(new.read_text(), source, places)
            if not path.exists() or path.read_text() != page:
                path.write_text(page)
        elif not path.exists() or path.stat().st_mtime < new.stat().st_mtime:
            shutil.copyfile(new, path)


def _places(root: Path) -> dict[str, str]:
    """Return the place in the site of each file; both are relative."""
    files = [path for path in sorted((root / "docs").rglob("*")) if path.is_file()]
    docs = {
        path.relative_to(root).as_posix(): path.relative_to(root / "docs").as_posix()
        for path in files
    }
    notebooks = {
        source: target.replace(".ipynb", ".md")
        for source, target in docs.items()
        if target.endswith(".ipynb")
    }
    programs, figures = root.glob("examples/*.py"), root.glob("benchmarks/*.json")
    examples = {f"examples/{each.name}": f"examples/{each.stem}.md" for each in programs}
    data = {f"benchmarks/{each.name}": f"data/{each.name}" for each in figures}
    return docs | notebooks | examples | data | PAGES


def _page(text: str, source: str, places: dict[str, str]) -> str:
    """Return a file of the repository as a page of the site."""
    if source.endswith(".html"):
        return _relink_html(text, source, places)
    if source.endswith(".py"):
        text = _example(text, source)
    if source.endswith(".ipynb"):
        text = notebook_page(text)
    return with_description(relink(text, source, places))


def _example(code: str, source: str) -> str:
    """Return the page of an example: its docstring, and its code."""
    title, _, rest = (ast.get_docstring(ast.parse(code)) or source).partition("\n")
    return f"# {title.rstrip('.')}\n{rest}\n\n`{source}`:\n\n```py\n{code}```\n"


def relink(text: str, source: str, places: dict[str, str]) -> str:
    """Return a page whose links lead to where their targets are in the site."""

    def moved(link: re.Match[str]) -> str:
        return f"]({_target(link[1], source, places)}{link[2] or ''})"

    parts = _FENCE.split(text)
    return "".join(p if n % 2 else _LINK.sub(moved, p) for n, p in enumerate(parts))


def _relink_html(text: str, source: str, places: dict[str, str]) -> str:
    """Return a page of HTML whose links lead to pages of the site, not to their sources."""

    def moved(link: re.Match[str]) -> str:
        page = re.sub(r"\.md$", ".html", _target(link[1], source, places))
        return f'href="{page}{link[2] or ""}"'

    return _HREF.sub(moved, text)


def _target(link: str, source: str, places: dict[str, str]) -> str:
    """Return where a link of a file leads in the site, seen from the page of the file."""
    target = posixpath.normpath(posixpath.join(posixpath.dirname(source), link))
    found = (FIRST_PAGE | places).get(target)
    if found is None:
        msg = f"{source} links to {link}, which is no page or file of the site"
        raise FileNotFoundError(msg)
    return posixpath.relpath(found, posixpath.dirname(places[source]) or ".")


def with_description(text: str) -> str:
    """Return a page with its first paragraph as its description, unless it has one."""
    if text.startswith("---\n"):
        return text
    paragraphs = _FENCE.sub("", text.partition("\n")[2]).split("\n\n")
    first = next((p for p in paragraphs if re.match(r"\s*[\w`*]", p)), "")
    plain = " ".join(_MARKUP.sub(r"\1", first).split()).replace('"', "'")
    if len(plain) > DESCRIPTION:
        plain = plain[:DESCRIPTION].rpartition(" ")[0] + " …"
    return f'---\ndescription: "{plain}"\n---\n\n{text}' if plain else text
