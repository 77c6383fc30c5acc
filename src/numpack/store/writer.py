"""`Writer`: what of `NumPack` changes the store, each call in one commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.policy import wrong_type
from . import commits
from .checks import checked_name, entry_of, named_arrays
from .format.naming import exact_name
from .reader import ProgressReport, Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .batches.in_place import WritableBatch
    from .reader import Progress


class Writer(Reader):
    """A mapping of names to arrays that can be changed."""

    _in_place: list[WritableBatch]

    def save(self, arrays: Mapping[str, Any], *, progress: Progress | None = None) -> None:
        """Store arrays, all of them in one commit; existing names are replaced.

        In `batch_mode` they are kept until the block ends.

        Parameters
        ----------
        arrays : dict of str to array
            NumPy arrays or scalars, or arrays of any framework that `share` knows.
        progress : callable, optional
            Called with the bytes that were written and those there are. If it raises,
            nothing has changed.

        Raises
        ------
        InvalidValueError
            `arrays` is no dictionary, or a name is empty.
        WrongTypeError
            A name is no string, or a value no array.
        UnsupportedError
            An array holds objects, long doubles or a mask.
        OSError
            The disk is full, or cannot be written. Nothing has changed.
        """
        self._session()
        values = named_arrays(arrays)
        told = ProgressReport(progress, sum(array.nbytes for array in values.values()))
        if self._batch.depth:
            told(told.total)
            self._batch.keep_saved(values)
            return
        self._leave_files(values)
        with self._handle.writing() as session:
            commits.save(session, values, told)
        self._batch.forget(values)

    def append(self, arrays: Mapping[str, Any]) -> None:
        """Add rows to arrays, to all of them in one commit.

        What is stored already is not rewritten, and lazy arrays keep their length.

        Parameters
        ----------
        arrays : dict of str to array
            Rows of the dtype and row shape of the array of that name.

        Raises
        ------
        NotFoundError
            A `KeyError`: there is no array of a name.
        InvalidValueError
            `arrays` is no dictionary, or dtype or row shape differ.
        OSError
            The disk is full, or cannot be written. Nothing has changed.
        """
        self._session()
        if type(arrays) is dict and len(arrays) == 1 and not self._batch.kept:
            [(name, array)] = arrays.items()
            if type(array) is np.ndarray:
                with self._handle.writing() as session:
                    done = commits.append_plain(session, name, array)
                if done:
                    return
        values = named_arrays(arrays)
        if self._batch.kept:
            self._settle_batch(values)
        with self._handle.writing() as session:
            commits.append(session, values)

    def replace(self, arrays: Mapping[str, Any], indexes: Any) -> None:
        """Write rows in place of others, in all arrays in one commit.

        Unlike every other change, this one shows in lazy arrays that were loaded before.

        Parameters
        ----------
        arrays : dict of str to array
            Rows of the dtype and row shape of the array of that name, as many as `indexes`
            tells; a single one may lack the row axis.
        indexes : int, list, tuple, slice, integer array or boolean mask
            The rows; negative numbers count from the end. If one is told twice, the last
            of its values is kept.

        Raises
        ------
        NotFoundError
            A `KeyError`: there is no array of a name.
        InvalidValueError
            `arrays` is no dictionary, or dtype, row shape or number of rows differ.
        IndexRangeError
            An `IndexError`: a row number is out of range.
        InvalidIndexError
            `indexes` is something else.
        OSError
            The disk is full, or cannot be written.
        """
        self._session()
        values = named_arrays(arrays)
        if self._batch.kept:
            self._settle_batch(values)
        with self._handle.writing() as session:
            commits.replace(session, values, indexes)

    def drop(self, array_name: str | list[str] | tuple[str, ...], indexes: Any = None) -> None:
        """Remove arrays, or rows of them, in one commit.

        Lazy arrays that were loaded before keep what they have. Dropped rows leave the file
        with `update`; `append` never brings them back.

        Parameters
        ----------
        array_name : str or list of str
            Without `indexes`, names that are not there are ignored.
        indexes : int, list, tuple, slice, integer array or boolean mask, optional
            The rows; negative numbers count from the end. One that is told twice counts
            once.

        Raises
        ------
        NotFoundError
            A `KeyError`: rows are to be dropped of an array that is not there.
        IndexRangeError
            An `IndexError`: a row number is out of range.
        InvalidIndexError
            `indexes` is something else.
        """
        self._session()
        given = array_name if isinstance(array_name, list | tuple) else [array_name]
        for name in given:
            if not isinstance(name, str):
                wrong_type("drop", "a name or a list of names", name, "pass str or list of str")
        names = [str.__str__(name) for name in given]
        if self._batch.kept and indexes is not None:
            self._settle_batch(names)
        if indexes is None:
            self._leave_files(names)
        with self._handle.writing() as session:
            if indexes is None:
                commits.drop(session, names)
            else:
                commits.drop_rows(session, names, indexes)
        self._batch.forget(names)

    def update(self, array_name: str, *, progress: Progress | None = None) -> None:
        """Write the rows of an array anew, without those that were dropped, if any were.

        While the array is open in a `writable_batch_mode` its file stays as it is.

        Parameters
        ----------
        array_name : str
        progress : callable, optional
            Called with the bytes that were written and those there are.

        Raises
        ------
        NotFoundError
            A `KeyError` that names the arrays there are.
        """
        self._session()
        array_name = exact_name(array_name, "update")
        if self._batch.kept:
            self._settle_batch([array_name])
        with self._handle.writing() as session:
            entry = entry_of(session.log.catalog.arrays, array_name)
            commits.update(session, array_name, ProgressReport(progress, entry.live_nbytes))

    def clone(
        self, source_name: str, target_name: str, *, progress: Progress | None = None
    ) -> None:
        """Store an array once more, under another name.

        Parameters
        ----------
        source_name, target_name : str
        progress : callable, optional
            Called with the bytes that were written and those there are.

        Raises
        ------
        NotFoundError
            A `KeyError` that names the arrays there are.
        InvalidValueError
            There is an array `target_name` already, or it is empty.
        """
        self._session()
        source_name = exact_name(source_name, "clone")
        target_name = checked_name(target_name)
        if self._batch.kept:
            self._batch.write([source_name, target_name])
        with self._handle.writing() as session:
            entry = entry_of(session.log.catalog.arrays, source_name)
            told = ProgressReport(progress, entry.live_nbytes)
            commits.clone(session, source_name, target_name, told)

    def reset(self) -> None:
        """Drop all arrays, in one commit. Lazy arrays of them stay valid."""
        self._session()
        self._batch.forget()
        self._leave_files()
        with self._handle.writing() as session:
            commits.reset(session)

    def __setitem__(self, array_name: str, array: Any) -> None:
        """Store an array: `save`."""
        self.save({array_name: array})

    def __delitem__(self, array_name: str) -> None:
        """Drop an array that is there."""
        array_name = exact_name(array_name, "del")
        if array_name not in self:
            entry_of(self._arrays(), array_name)
        self.drop(array_name)

    def _leave_files(self, names: Iterable[str] | None = None) -> None:
        """Let the views of `writable_batch_mode` know that arrays, or all, get other files."""
        for batch in self._in_place:
            batch.leave(names)

    def _settle_batch(self, names: Mapping[str, Any] | list[str] | tuple[str, ...]) -> None:
        """Write what a batch has of some arrays, which are about to be changed otherwise."""
        self._batch.write(list(names))
        self._batch.forget(list(names))
