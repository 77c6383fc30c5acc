"""The arrays that batches are taken from: of a store, or in a mapping."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.policy import wrong_type
from ..errors import (
    InvalidValueError,
    NotFoundError,
    StoreClosedError,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
)
from ..io import share
from ..store import LazyArray, NumPack
from ..store.checks import is_remote
from .mapped import MappedPart, part_of

if TYPE_CHECKING:
    from typing import TypeAlias

    from .._core.memory import Array
    from ..store.reading.snapshot import Snapshot

    Arrays: TypeAlias = dict[str, Array | LazyArray]

_KINDS = "the path or URL of a store, a NumPack, or a dict of arrays"


class Source:
    """Named arrays of one store or mapping, as of one moment.

    The files of the last snapshot are held: a writer that replaces rows, here or in another
    process, leaves them unchanged and writes new files.

    A path is opened for reading at once, and the arrays are looked up, so that errors are
    raised by the constructor. A pickle refers to the arrays of the last snapshot, those of a
    store and of `numpy.memmap` in a few hundred bytes each. Unpickled, and in a forked process,
    a source has these arrays only, so that all workers read the same commit.

    Parameters
    ----------
    source : str, os.PathLike, NumPack or mapping of str to array
        Arrays in a mapping are lazy arrays, ndarrays, or of a type that `numpack.share` views
        without a copy.
    names : str, list or tuple of str, optional
        By default all arrays.
    what : str, default "Loader"
        What the caller is called in messages.

    Attributes
    ----------
    names : tuple of str
    is_single : bool
        Whether one name was passed, not a list.
    """

    def __init__(self, source: Any, names: Any = None, *, what: str = "Loader") -> None:
        self.is_single, self._what = isinstance(names, str), what
        self._pid = os.getpid()
        self._owned: NumPack | None = None
        self._store: NumPack | None = None
        self._arrays: Arrays = {}
        self._held: Snapshot | None = None
        if isinstance(source, (str, os.PathLike)) or is_remote(source):
            source = self._owned = NumPack(source, mode="r")
            source.open()
        if not isinstance(source, (NumPack, Mapping)):
            wrong_type(what, _KINDS, source, 'pass {"x": array} for a single array')
        try:
            self.names = checked_names(names, list(source), what)
            if isinstance(source, NumPack):
                self._store = source
                self.snapshot()
            else:
                self._arrays = {name: _viewed(source[name], name, what) for name in self.names}
                _check_axes(self._arrays, what)
        except BaseException:
            self.close()
            raise

    def snapshot(self) -> Arrays:
        """Return the arrays as of now, those of a store all of one commit.

        The store that was passed may be closed: then they are those of the last snapshot.
        """
        if self._store is not None and self._pid == os.getpid():
            with contextlib.suppress(StoreClosedError):  # the arrays stay valid
                held = self._store._snapshot(self.names)  # noqa: SLF001
                _check_axes(held.arrays, self._what)
                self._held, self._arrays = held, dict(held.arrays)
        return dict(self._arrays)

    @property
    def hold(self) -> object:
        """What keeps the files of the last snapshot unchanged as long as it exists."""
        return self._held

    def held(self) -> Arrays:
        """Return the arrays of the last snapshot, to which a pickle refers."""
        return dict(self._arrays)

    def close(self) -> None:
        """Close the store if it was opened here; arrays of earlier snapshots stay valid."""
        if self._owned is not None:
            self._owned.close()

    def __deepcopy__(self, memo: dict[int, Any]) -> Source:
        """Return another source of the same arrays, which are not copied."""
        copied = Source.__new__(Source)
        copied.__dict__.update(self.__dict__)
        return copied

    def __getstate__(self) -> tuple[bool, dict[str, Any]]:
        """Return the arrays of the last snapshot, stored and mapped ones by reference."""
        parts = {name: part_of(array) or array for name, array in self._arrays.items()}
        return self.is_single, parts

    def __setstate__(self, state: tuple[bool, dict[str, Any]]) -> None:
        """Restore a source, which has the arrays of its last snapshot only."""
        self.is_single, parts = state
        self.names, self._pid = tuple(parts), os.getpid()
        self._owned = self._store = self._held = None
        self._arrays = {
            name: part.open() if isinstance(part, MappedPart) else part
            for name, part in parts.items()
        }


def common_length(arrays: Mapping[str, Any], what: str) -> int:
    """Return the number of rows that all arrays have.

    Raises
    ------
    InvalidValueError
        They have different ones.
    """
    lengths = {name: int(array.shape[0]) for name, array in arrays.items()}
    if len(set(lengths.values())) > 1:
        listed = ", ".join(f"{name!r} has {count:,}" for name, count in lengths.items())
        msg = (
            f"{what} takes row i of every array as one sample, and the arrays have different "
            f"numbers of rows: {listed}; pass the names of arrays of equal length"
        )
        raise InvalidValueError(msg)
    return next(iter(lengths.values()))


def checked_names(names: Any, known: list[Any], what: str) -> tuple[str, ...]:
    """Return the names as a tuple, each once and known."""
    if names is None:
        names = known
    elif isinstance(names, str):
        names = [names]
    elif not isinstance(names, (list, tuple)):
        wrong_type(f"{what}(names=)", "a str, or a list of them", names, 'pass ["x", "y"]')
    for name in names:
        if not isinstance(name, str):
            wrong_type(f"{what}(names=)", "names that are str", name, "pass the arrays' names")
        if name not in known:
            listed = ", ".join(map(repr, known[:10])) + (", …" if len(known) > 10 else "")
            msg = f"{what}: there is no array {name!r}; there are {listed or 'none'}"
            raise NotFoundError(msg)
    if not names:
        msg = f"{what} needs at least one array, and there are none; save one, or pass names"
        raise InvalidValueError(msg)
    if len(set(names)) < len(names):
        msg = f"{what}: a name occurs twice in {list(names)!r}; pass each once"
        raise InvalidValueError(msg)
    return tuple(names)


def _viewed(array: Any, name: str, what: str) -> Array | LazyArray:
    """Return an array of a mapping as it is if it is lazy, and as an ndarray otherwise."""
    if isinstance(array, LazyArray):
        return array
    if type(array) is np.ndarray or isinstance(array, np.memmap):
        return np.asarray(array)
    try:
        found: Any = share(array, "numpy", copy=False)
    except (UnsupportedError, WrongTypeError, ZeroCopyError) as error:
        msg = f"{what} takes rows of arrays in memory, and {name!r} is none: {error}"
        raise type(error)(msg) from error
    if not isinstance(found, np.ndarray):
        wrong_type(f"{what}: {name!r}", "one array", array, "pass each of its columns by name")
    return found


def _check_axes(arrays: Mapping[str, Any], what: str) -> None:
    """Refuse arrays that have no rows."""
    for name, array in arrays.items():
        if not array.shape:
            msg = (
                f"{what} takes rows along axis 0, and {name!r} is 0-d; pass the names of the "
                "arrays that have rows"
            )
            raise InvalidValueError(msg)
