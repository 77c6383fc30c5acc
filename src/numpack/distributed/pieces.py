"""Pieces of an array whose number of rows is known when all of them have been written."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InvalidValueError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from .._core.memory import Array
    from ..store import NumPack, ParallelWrite

PREFIX = "pieces-"
THREADS = 4


class Piece(NamedTuple):
    """Rows that one attempt of a task has written into a file of their own."""

    task: int
    path: str
    rows: int
    dtype: np.dtype[Any]
    row_shape: tuple[int, ...]


class PieceFolder:
    """A folder for pieces inside a store's folder, which ends with this process.

    The store neither reads nor copies it. The process that creates it holds a lock (`flock`) on
    it. Where that is gone the process has been killed, and the next `PieceFolder` of the store
    removes the folder.

    Parameters
    ----------
    store : str
        Path of the store's folder.
    """

    def __init__(self, store: str) -> None:
        remove_abandoned(store)
        self.path = str(Path(store) / f"{PREFIX}{os.urandom(8).hex()}")
        descriptor = _create_locked(self.path)
        self._end = weakref.finalize(self, _remove, self.path, descriptor, os.getpid())

    def remove(self) -> None:
        """Remove the folder, once; an attempt that goes on writes into nothing."""
        self._end()


def write_piece(folder: str, task: int, arrays: Iterable[Array]) -> Piece | None:
    """Write arrays one after the other into a new file; return ``None`` if they have no rows.

    Raises
    ------
    InvalidValueError
        Their dtypes or row shapes differ.
    FileNotFoundError
        The folder has been removed: nobody needs the piece.
    """
    path = Path(folder) / f"{task}-{os.urandom(8).hex()}"
    piece = Piece(task, str(path), 0, np.dtype("f8"), ())
    with contextlib.ExitStack() as stack:
        file: Any = None
        for array in arrays:
            if not len(array):
                continue
            found = piece._replace(dtype=array.dtype, row_shape=array.shape[1:])
            if file is None:
                file, piece = stack.enter_context(path.open("xb")), found
            check_equal_rows(piece, found)
            np.ascontiguousarray(array).tofile(file)
            piece = piece._replace(rows=piece.rows + len(array))
    return piece if piece.rows else None


def check_equal_rows(first: Piece, other: Piece) -> None:
    """Check that two pieces can be rows of one array."""
    for what, one, two in (
        ("dtype", first.dtype, other.dtype),
        ("shape", first.row_shape, other.row_shape),
    ):
        if one != two:
            msg = (
                f"the rows of task {first.task} have the {what} {one}, and those of task "
                f"{other.task} {two}; convert them to the same {what} before they are written"
            )
            raise InvalidValueError(msg)


def commit_pieces(store: NumPack, name: str, pieces: Iterable[Piece]) -> None:
    """Store pieces as one array, in the order of their tasks, by one commit.

    Raises
    ------
    InvalidValueError
        They differ in dtype or row shape, or there are none.
    """
    ordered = sorted(pieces, key=lambda piece: piece.task)
    if not ordered:
        msg = (
            f"there are no rows to store as '{name}', and so its dtype is unknown; store an "
            f"empty array with npk.save"
        )
        raise InvalidValueError(msg)
    for piece in ordered[1:]:
        check_equal_rows(ordered[0], piece)
    ends = np.cumsum([piece.rows for piece in ordered]).tolist()
    shape = (ends[-1], *ordered[0].row_shape)
    starts = [end - piece.rows for piece, end in zip(ordered, ends, strict=True)]
    plan = store.begin(name, shape, ordered[0].dtype)
    with plan, ThreadPoolExecutor(THREADS) as pool:
        for _ in pool.map(_copy, [plan] * len(ordered), ordered, starts):
            pass  # raises the error of a thread


def _copy(plan: ParallelWrite, piece: Piece, first: int) -> None:
    """Write the rows of a piece, from row `first` on."""
    shape = (piece.rows, *piece.row_shape)
    if 0 not in shape:
        plan[first : first + piece.rows] = np.memmap(piece.path, piece.dtype, "r", shape=shape)


def remove_abandoned(store: str) -> None:
    """Remove the folders of processes that have ended."""
    for path in Path(store).glob(f"{PREFIX}{'[0-9a-f]' * 16}"):
        with contextlib.suppress(OSError):  # in use, being removed, or without locks
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(descriptor)


def _create_locked(path: str) -> int:
    """Create a folder; return a descriptor that holds a shared lock on it."""
    while True:
        Path(path).mkdir(exist_ok=True)
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        with contextlib.suppress(FileNotFoundError):  # removed before it was locked
            if os.path.samestat(Path(path).stat(), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)


def _remove(path: str, descriptor: int, process: int) -> None:
    """Remove a folder under another name, in which late attempts create no files."""
    try:
        if process == os.getpid():
            ended = f"{path[:-16]}{os.urandom(8).hex()}"
            with contextlib.suppress(OSError):  # it has been removed
                Path(path).rename(ended)
                shutil.rmtree(ended)
    finally:
        os.close(descriptor)
