"""Stores on the command line: opening them, addresses of arrays, patterns of names."""

from __future__ import annotations

import argparse
import contextlib
import fnmatch
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ..errors import NotAStoreError, NotFoundError, StoreNotFoundError
from ._errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from ..store import NumPack

_END_OF_STORE = re.compile(r"\.npkz?:")
_URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
_WAIT = 30.0  # seconds
_NAMED = {"true": True, "false": False, "none": None, "null": None}


class Address(NamedTuple):
    """An array of a store, ``STORE:NAME``; without a name, the store as a whole."""

    store: str
    name: str

    def __str__(self) -> str:
        """Return the address as it is written."""
        return f"{self.store}:{self.name}" if self.name else self.store


def add_options(parser: argparse.ArgumentParser) -> None:
    """Declare the option of commands that read stores in object stores."""
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        type=key_value,
        metavar="KEY=VALUE",
        help="of the object store of a URL, such as region=eu-west-1; may be repeated; no "
        "secrets, which are taken from the environment",
    )


def add_at(parser: argparse.ArgumentParser) -> None:
    """Declare the option of commands that read earlier commits."""
    parser.add_argument(
        "--at",
        type=int,
        metavar="COMMIT",
        help="read the store as of an earlier commit, as far as its rows still stand",
    )


def add_wait(parser: argparse.ArgumentParser) -> None:
    """Declare the option of commands that write to stores."""
    parser.add_argument(
        "--wait",
        type=float,
        default=_WAIT,
        metavar="SECONDS",
        help="how long to wait for other writers (%(default)g)",
    )


def key_value(text: str) -> tuple[str, Any]:
    """Return the key and the value of an option: JSON, or else text.

    True, False and None are written in any case, and as Python or JSON name them.
    """
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    with contextlib.suppress(ValueError):
        found = json.loads(value)
        if isinstance(found, bool | int | float | dict | list):
            return key, found
    return key, _NAMED.get(value.lower(), value)


def old_new(text: str) -> tuple[str, str]:
    """Return the names before and after ``=``."""
    old, equals, new = text.partition("=")
    if not old or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not OLD=NEW")
    return old, new


@contextlib.contextmanager
def reading(path: str, options: argparse.Namespace) -> Iterator[NumPack]:
    """Open a folder, a package or a URL for reading, in a ``with`` statement."""
    from ..store import NumPack  # noqa: PLC0415 -- takes as long as the rest of the start

    given = dict(getattr(options, "option", [])) if is_url(path) else None
    at = getattr(options, "at", None)
    store = NumPack(path, mode="r", storage_options=given or None, at=at)
    with _opened(store, path):
        yield store


@contextlib.contextmanager
def writing(
    path: str, options: argparse.Namespace, *, creates: bool = False
) -> Iterator[NumPack]:
    """Open a folder for writing, in a ``with`` statement."""
    from ..store import NumPack  # noqa: PLC0415

    if is_url(path):
        msg = f"{path} is a URL, and is only read; change the local store, and publish it"
        raise UsageError(msg)
    with _opened(
        NumPack(path, mode="a" if creates else "r+", lock_timeout=options.wait), path
    ) as store:
        yield store


def is_url(path: str) -> bool:
    """Return whether a path is a URL."""
    return bool(_URL.match(path))


def address(text: str) -> Address:
    """Split an address at the colon that ends the path of the store.

    It is the first one after ``.npk`` or ``.npkz``; else the first one before which there is
    the path of something that exists; else the first one.

    Examples
    --------
    >>> address("a.npk:x:y"), address("s3://bucket/a.npk:x"), address("a.npk")
    (Address(store='a.npk', name='x:y'), Address(store='s3://bucket/a.npk', name='x'), \
Address(store='a.npk', name=''))
    """
    found = _END_OF_STORE.search(text)
    if found:
        return Address(text[: found.end() - 1], text[found.end() :])
    scheme = _URL.match(text)
    start = text.find("/", scheme.end()) if scheme else 0  # a host may have a port
    if start < 0 or text.endswith((".npk", ".npkz")):
        return Address(text, "")
    colons = [at for at, each in enumerate(text) if each == ":" and at >= start]
    if not colons or (not scheme and Path(text).exists()):
        return Address(text, "")
    at = next((at for at in colons if not scheme and Path(text[:at]).exists()), colons[0])
    return Address(text[:at], text[at + 1 :])


def matching(store: NumPack, patterns: Sequence[str]) -> list[str]:
    """Return the names of arrays that are given, or match a pattern as of a shell.

    Raises
    ------
    NotFoundError
        No array has one of the names, or matches one of the patterns.
    """
    names = dict.fromkeys(store)
    found: dict[str, None] = {}
    for each in patterns:
        if each in names:
            found[each] = None
            continue
        matches = [name for name in names if fnmatch.fnmatchcase(name, each)]
        if not matches and any(letter in each for letter in "*?["):
            msg = f"no array matches {each!r}; `numpack ls` lists them"
            raise NotFoundError(msg)
        if not matches:
            store.get_shape(each)  # raises, with the nearest names
        found.update(dict.fromkeys(matches))
    return list(found)


def listed(addresses: Iterable[Address]) -> dict[str, list[str]]:
    """Return the names of each store, in order; an address without one is refused."""
    found: dict[str, list[str]] = {}
    for each in addresses:
        if not each.name:
            msg = f"{each.store} names a store and no array; write {each.store}:NAME"
            raise UsageError(msg)
        found.setdefault(each.store, []).append(each.name)
    return found


@contextlib.contextmanager
def _opened(store: NumPack, path: str) -> Iterator[NumPack]:
    try:
        store.open()
    except StoreNotFoundError:
        if not is_url(path) and Path(path).is_file():
            msg = f"{path} is a file and no store; `numpack convert` makes one of it"
            raise NotAStoreError(msg) from None
        raise StoreNotFoundError(_absent(path)) from None
    with store:
        yield store


def _absent(path: str) -> str:
    """Return why there is no store at a path, and what may have been meant."""
    parts = address(path)
    if parts.name and not is_url(path) and Path(parts.store).exists():
        hint = f"`numpack show {parts.store} {parts.name}` shows an array"
        return f"there is no store at {path}; {hint}"
    if is_url(path) or not Path(path).is_dir():
        return f"there is no store at {path}"
    stores = [str(each) for each in sorted(Path(path).glob("*.npk*"))]
    found = f"; did you mean {', '.join(stores[:5])}?" if stores else ""
    return f"there is no store at {path}, which is a folder of something else{found}"
