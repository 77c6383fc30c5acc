"""Pieces of an array whose number of rows is known when all of them have been written."""

from __future__ import annotations

import contextlib
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from ..errors import InvalidValueError
from ..store.fs.temporary import TemporaryFolder

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


class PieceFolder(TemporaryFolder):
    """A folder for pieces inside a store's folder, which the store neither reads nor copies.

    Parameters
    ----------
    store : str
        Path of the store's folder.
    """

    def __init__(self, store: str) -> None:
        super().__init__(store, PREFIX)


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
