"""`convert`: arrays from one file, store or object into another file or store."""

from __future__ import annotations

import contextlib
import itertools
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .._core.policy import wrong_type
from ..errors import InvalidValueError, UnsupportedError
from ..store import NumPack
from ..store.checks import is_remote
from . import npk
from ._registry import by_name, of_path
from ._selection import Selection
from .common.new_files import beside
from .common.sources import nbytes_of, require_equal_lengths

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import DTypeLike

    from ._protocol import ArrayInfo, Format, Part, Source, Target

    ProgressCallback = Callable[[int, int | None], object]


def convert(  # noqa: PLR0913 -- options
    source: Any,
    target: str | os.PathLike[str] | NumPack,
    *,
    format: str | tuple[str | None, str | None] | None = None,  # noqa: A002 -- its meaning is clear
    arrays: Sequence[str] | str | None = None,
    columns: Sequence[str] | str | None = None,
    rename: Mapping[str, str] | str | None = None,
    dtype: DTypeLike | Mapping[str, DTypeLike] | None = None,
    attrs: bool = True,
    append: bool = False,
    progress: ProgressCallback | None = None,
    source_options: Mapping[str, Any] | None = None,
    target_options: Mapping[str, Any] | None = None,
    **options: Any,
) -> None:
    """Convert arrays from one file, store or object to another file or store.

    The arrays are read and written a few MiB at a time. The target gets its name when it is
    complete: a file replaces one of the same name; the arrays become part of a store in one
    commit, and replace those of the same names. If anything fails, or the process is killed,
    the target is as it was before.

    Values and dtypes are kept exactly. What the target's format cannot hold is refused before
    anything is written.

    Parameters
    ----------
    source : str, os.PathLike, NumPack, or an object
        A file; a store, also at a URL; a mapping of names to arrays; or a table of pandas,
        Polars, Arrow, DuckDB or datasets, whose columns become arrays.
    target : str, os.PathLike or NumPack
        A file or a store, which need not exist.
    format : str, or a pair of str, optional
        Name of the format of the file, if its suffix does not tell it. Of a conversion between
        two files it is that of the source; a pair names both, ``None`` the one that the
        suffix tells.
    arrays, columns : sequence of str, optional
        Names of the arrays to convert, by default all. Both mean the same.
    rename : mapping of str to str, or str, optional
        New names of some arrays; a string is that of the only array.
    dtype : dtype, or mapping of str to dtype, optional
        The dtype to which all arrays, or some, are cast. Floats are rounded; a value that is
        out of range, or no integer where one is needed, is refused. Of a file that holds no
        types (``.bin``) it is the dtype of the values in it, and required.
    attrs : bool, default True
        Whether the attributes of the arrays and of the file are kept.
    append : bool, default False
        Append the rows to the arrays of the same names in a store.
    progress : callable, optional
        Called with the number of bytes converted so far and the total, which is ``None`` if
        only reading the whole source tells it. If it raises, the target is as it was before.
    source_options, target_options : mapping, optional
        Options of the two formats.
    **options
        The same; each goes to the format that has it. If both have it, use the mappings.

    Raises
    ------
    InvalidValueError
        An argument is wrong, or the source is damaged, or of another format.
    UnsupportedError
        The target's format cannot hold an array.
    MissingDependencyError
        The package that reads or writes the format is not installed.
    NotFoundError
        A `KeyError`: there is no array of a name.
    OSError
        A file cannot be read or written.

    Warns
    -----
    AttributesWarning
        The target's format has no place for attributes.

    Notes
    -----
    The formats, their options, and what each of them holds are in ``docs/formats.md``.

    Examples
    --------
    >>> import numpy as np
    >>> import numpack
    >>> np.save("features.npy", np.arange(6, dtype="f4").reshape(3, 2))
    >>> numpack.convert("features.npy", "features.npk")
    >>> numpack.convert("features.npk", "halves.npy", dtype="f2")
    >>> np.load("halves.npy")
    array([[0., 1.],
           [2., 3.],
           [4., 5.]], dtype=float16)
    """
    if arrays is not None and columns is not None:
        msg = "arrays= and columns= mean the same; pass one of them"
        raise InvalidValueError(msg)
    before, after = _Side.source(source), _Side.target(target)
    _set_formats(before, after, format)
    _require_outside(before.place, after.place)
    if append:
        _require_store(after)
        options = {**options, "append": True}
    before.options, after.options = _split(
        options, before, after, source_options or {}, target_options or {}
    )
    if dtype is not None and "dtype" in before.module.READ_OPTIONS:
        before.options, dtype = {**before.options, "dtype": dtype}, None  # a file without types
    names = columns if arrays is None else arrays
    if before.module is npk and names is not None:
        before.options["names"] = [names] if isinstance(names, str) else list(names)
    with contextlib.closing(before.open()) as opened:
        chosen = Selection(opened.arrays, names, rename, dtype, attrs=attrs)
        _run(opened, chosen, after, opened.attrs if attrs else {}, progress)


class _Side:
    """The source or the target of a conversion, and its format.

    Attributes
    ----------
    place : object
        What the format opens: a path, a URL, a store or an object.
    module : Format or None
        ``None`` until it is known.
    options : dict
    """

    place: Any
    module: Format

    def __init__(self, place: Any, module: Any) -> None:
        self.place, self.module = place, module
        self.options: dict[str, Any] = {}

    @classmethod
    def source(cls, given: Any) -> _Side:
        """Return the source for an argument of `convert`."""
        if isinstance(given, NumPack) or is_remote(given):
            return cls(given, npk)
        if isinstance(given, str | os.PathLike):
            return cls(_path(given), None)
        from . import _objects  # noqa: PLC0415 -- on demand

        return cls(given, _objects)

    @classmethod
    def target(cls, given: Any) -> _Side:
        """Return the target for an argument of `convert`."""
        if isinstance(given, NumPack):
            return cls(given, npk)
        if is_remote(given):
            msg = "a store in an object store is only read; convert to a local one, publish it"
            raise InvalidValueError(msg)
        if not isinstance(given, str | os.PathLike):
            wrong_type("convert", "a path as the target", given, "pass the name of a file")
        return cls(_path(given), None)

    def open(self) -> Source:
        """Open the source."""
        return self.module.open_source(self.place, **self.options)

    def set_format(self, name: str | None) -> None:
        """Find the format by its name, or by the path."""
        if self.module is None:
            entry = of_path(self.place) if name is None else by_name(name)
            self.module = entry.module()
        elif name is not None and by_name(name).name != "npk":
            msg = f"format={name!r} was passed for {self.module.LABEL}; leave it out"
            raise InvalidValueError(msg)


def _path(given: str | os.PathLike[str]) -> Path:
    path = os.fspath(given)
    if not isinstance(path, str):
        wrong_type("convert", "a path as str", path, "pass os.fsdecode(path)")
    if not path or "\0" in path:
        msg = f"{path!r} is no path of a file; pass its name"
        raise InvalidValueError(msg)
    return Path(path)


def _set_formats(before: _Side, after: _Side, given: Any) -> None:
    if isinstance(given, tuple) and len(given) == 2:
        names = given
    elif given is None or isinstance(given, str):
        is_of_target = before.module is not None or _is_store(before.place)
        names = (None, given) if is_of_target else (given, None)
    else:
        wrong_type("convert", "a name or a pair of names as format", given, "pass 'csv'")
    before.set_format(names[0])
    after.set_format(names[1])


def _is_store(path: Path) -> bool:
    try:
        return of_path(path).name == "npk"
    except InvalidValueError:
        return False


def _require_outside(source: Any, target: Any) -> None:
    """Check that the source is not in the folder that the target replaces."""
    if not (isinstance(source, Path) and isinstance(target, Path) and target.is_dir()):
        return
    if Path(os.path.realpath(target)) in Path(os.path.realpath(source)).parents:
        msg = f"the source {source} is in {target}; choose a target outside of it"
        raise InvalidValueError(msg)


def _require_store(after: _Side) -> None:
    if "append" not in after.module.WRITE_OPTIONS:
        msg = (
            f"append=True is for stores, and {after.module.LABEL} would be written anew; "
            "append to a store, and convert that"
        )
        raise UnsupportedError(msg)


def _split(
    options: Mapping[str, Any],
    before: _Side,
    after: _Side,
    source_options: Mapping[str, Any],
    target_options: Mapping[str, Any],
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the options of the source and those of the target."""
    reading, writing = before.module.READ_OPTIONS, after.module.WRITE_OPTIONS
    found = dict(source_options), dict(target_options)
    for name, value in options.items():
        if name in reading and name in writing:
            msg = (
                f"both formats have an option {name!r}; use source_options= or target_options="
            )
            raise InvalidValueError(msg)
        found[name not in reading][name] = value
    for known, given, side in ((reading, found[0], before), (writing, found[1], after)):
        for name in given.keys() - known:
            msg = (
                f"{side.module.LABEL} has no option {name!r}; its options are: "
                f"{', '.join(sorted(known)) or 'none'}"
            )
            raise InvalidValueError(msg)
    return found


def _run(
    opened: Source,
    chosen: Selection,
    after: _Side,
    attrs: Mapping[str, Any],
    progress: ProgressCallback | None,
) -> None:
    """Write what is chosen to the target, and complete it."""
    module = after.module
    if module.TOGETHER:
        require_equal_lengths(chosen.arrays)
    reading = opened.parts(chosen.names, together=module.TOGETHER)
    if getattr(module, "SEQUENTIAL", False):
        each = (opened.parts([name], together=False) for name in chosen.names)
        reading = itertools.chain.from_iterable(each)
    parts = _reported(reading, chosen, progress)
    unknown = [info for info in chosen.arrays.values() if info.shape and info.shape[0] is None]
    if unknown and module.NEEDS_LENGTHS:
        with _spooled(parts, chosen.arrays, after.place) as spooled:
            _write(
                module.create_target(after.place, spooled.arrays, attrs, **after.options),
                spooled.parts(list(spooled.arrays), together=module.TOGETHER),
            )
        return
    _write(module.create_target(after.place, chosen.arrays, attrs, **after.options), parts)


def _write(target: Target, parts: Iterator[Part]) -> None:
    try:
        for part in parts:
            target.write(part)
            del part  # before the next one takes memory
        target.commit()
    except BaseException:
        target.abort()
        raise


def _reported(
    parts: Iterator[Part], chosen: Selection, progress: ProgressCallback | None
) -> Iterator[Part]:
    """Rename and cast parts, and report them once they have been written."""
    infos = chosen.arrays.values()
    is_known = all(not info.shape or info.shape[0] is not None for info in infos)
    total = sum(map(nbytes_of, infos)) if is_known else None
    done = 0
    for part in parts:
        applied = chosen.apply(part)
        done += sum(array.nbytes for array in applied.values())
        yield applied
        del part, applied  # before the next ones take memory
        if progress is not None:
            progress(done, total)


@contextlib.contextmanager
def _spooled(
    parts: Iterator[Part], arrays: Mapping[str, ArrayInfo], place: Path
) -> Iterator[Source]:
    """Keep arrays of unknown lengths in a temporary store beside the target."""
    folder = beside(place)
    try:
        with NumPack(Path(folder.path) / "spooled", mode="x") as store:
            spool = npk.StoreTarget(store, arrays, {}, append=False, options={})
            _write(spool, parts)
            with contextlib.closing(npk.StoreSource(store)) as source:
                yield source
    finally:
        folder.remove()
