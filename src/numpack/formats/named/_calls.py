"""What the named conversions have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import InvalidValueError
from ...store import NumPack
from ...store.format.naming import listed, quoted
from .._convert import convert

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

    from ...store import LazyArray

    StorePath = str | os.PathLike[str]


def to_store(
    source: Any,
    npk_path: StorePath,
    array_name: str | None,
    drop_if_exists: bool,
    chunk_size: int | None,
    options: dict[str, Any],
    format: str | None = None,  # noqa: A002 -- as of `convert`
) -> None:
    """Convert to a store; drop its other arrays in the same commit if requested.

    Parameters
    ----------
    source : object
    npk_path : str or os.PathLike
    array_name : str or None
        The name under which the only array of the source is stored.
    drop_if_exists : bool
    chunk_size : int or None
        Of NumPack 0.7, which read so many rows at a time; it is only validated.
    options : dict
        Of `convert`.
    format : str, optional
        Of the source.
    """
    _check_chunk_size(chunk_size)
    if array_name is not None:
        options = {**options, "rename": array_name}
    convert(source, npk_path, format=(format, "npk"), drop_others=drop_if_exists, **options)


def _check_chunk_size(chunk_size: int | None) -> None:
    if chunk_size is not None and chunk_size <= 0:
        msg = f"chunk_size must be positive, not {chunk_size}; leave it out"
        raise InvalidValueError(msg)


def to_file(
    npk_path: StorePath,
    file: StorePath,
    array_name: str | Sequence[str] | None,
    chunk_size: int | None,
    options: dict[str, Any],
    format: str,  # noqa: A002
) -> None:
    """Convert a store to a file; parameters are those of `to_store`."""
    _check_chunk_size(chunk_size)
    if array_name is not None:
        options = {**options, "arrays": array_name}
    convert(npk_path, file, format=("npk", format), **options)


def lazy_arrays(npk_path: StorePath, names: str | Sequence[str] | None) -> dict[str, LazyArray]:
    """Return arrays of a store, mapped."""
    with NumPack(npk_path, mode="r") as store:
        chosen = [names] if isinstance(names, str) else list(store if names is None else names)
        return {name: store.load(name, lazy=True) for name in chosen}


def lazy_array(npk_path: StorePath, name: str | None) -> LazyArray:
    """Return an array of a store, mapped; the only one by default."""
    with NumPack(npk_path, mode="r") as store:
        if name is None and len(store) != 1:
            msg = (
                f"{quoted(str(npk_path))} has {len(store):,} arrays: {listed(list(store))}; "
                "choose one with array_name="
            )
            raise InvalidValueError(msg)
        return store.load(next(iter(store)) if name is None else name, lazy=True)
