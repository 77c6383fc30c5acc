"""Copying arrays between stores: streamed, and one commit in the target."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from ..errors import InvalidValueError
from ._errors import UsageError
from ._stores import Address, address, is_url, matching, reading, writing

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence


class Transfer(NamedTuple):
    """What is copied from one store.

    Attributes
    ----------
    store : str
        Path or URL of the source.
    names : dict of str to str
        The new name of each array.
    is_whole : bool
        Whether the attributes of the store are copied too.
    """

    store: str
    names: dict[str, str]
    is_whole: bool


def target_of(text: str) -> Address:
    """Return the address of a target, which must not be a package.

    Raises
    ------
    UsageError
        It is one, or is named like one.
    """
    found = address(text)
    if not is_url(found.store) and found.store.endswith(".npkz"):
        msg = (
            f"{found.store} is a package, and is only read; change a folder, such as "
            f"{Path(found.store).stem}.npk, and make a package of it with `numpack pack`"
        )
        raise UsageError(msg)
    return found


def planned(
    sources: Sequence[str], target: Address, options: argparse.Namespace
) -> list[Transfer]:
    """Return what is copied from each of the sources to a target.

    Raises
    ------
    UsageError
        Several arrays would get the same name.
    """
    found: dict[str, Transfer] = {}
    for each in map(address, sources):
        transfer = found.get(each.store, Transfer(each.store, {}, is_whole=not each.name))
        with reading(each.store, options) as store:
            chosen = matching(store, [each.name]) if each.name else list(store)
        for name in chosen:
            transfer.names[name] = _new_name(name, target.name, is_only=len(sources) == 1)
        found[each.store] = transfer._replace(is_whole=transfer.is_whole or not each.name)
    new = [name for each in found.values() for name in each.names.values()]
    if len(set(new)) < len(new):
        msg = (
            f"several arrays would be called {target.name or new[0]!r}; end the name with a "
            "slash to keep theirs: STORE:group/"
        )
        raise UsageError(msg)
    return list(found.values())


def refuse_existing(
    target: Address, transfers: Sequence[Transfer], taken: Sequence[str]
) -> None:
    """Raise `InvalidValueError` if an array of a new name exists."""
    new = {name for each in transfers for name in each.names.values()}
    for name in taken:
        if name in new:
            msg = f"there is an array {name!r} in {target.store} already; -f replaces it"
            raise InvalidValueError(msg)


def names_in(path: str, options: argparse.Namespace) -> list[str]:
    """Return the names of the arrays in a store for writing; none if it does not exist."""
    if not is_url(path) and not Path(path).exists():
        return []
    with writing(path, options) as store:
        return list(store)


def copy(
    transfers: Sequence[Transfer],
    target: str,
    options: argparse.Namespace,
    progress: Callable[[int, int], object] | None,
) -> None:
    """Copy the arrays with their attributes: a few MiB at a time, in one commit."""
    from ..formats import npk  # noqa: PLC0415 -- imports the store
    from ..formats.common.sources import nbytes_of  # noqa: PLC0415

    with contextlib.ExitStack() as stack:
        opened = [
            (each, npk.open_source(stack.enter_context(reading(each.store, options))))
            for each in transfers
        ]
        for _, source in opened:
            stack.callback(source.close)
        arrays = {
            new: source.arrays[old]
            for each, source in opened
            for old, new in each.names.items()
        }
        attrs = {
            key: value
            for each, source in opened
            if each.is_whole
            for key, value in source.attrs.items()
        }
        total, done = sum(map(nbytes_of, arrays.values())), 0
        made = npk.create_target(Path(target), arrays, attrs, lock_timeout=options.wait)
        try:
            for each, source in opened:
                for part in source.parts(list(each.names), together=False):
                    made.write({each.names[old]: array for old, array in part.items()})
                    done += sum(array.nbytes for array in part.values())
                    if progress is not None:
                        progress(done, total)
            made.commit()
        except BaseException:
            made.abort()
            raise


def is_same(one: str, other: str) -> bool:
    """Return whether two paths are those of one store."""
    if is_url(one) or is_url(other):
        return one == other
    return os.path.realpath(one) == os.path.realpath(other)


def _new_name(name: str, given: str, *, is_only: bool) -> str:
    if given.endswith("/"):
        return given + name
    if given and not is_only:
        msg = f"several arrays cannot be called {given!r}; end it with a slash: {given}/"
        raise UsageError(msg)
    return given or name
