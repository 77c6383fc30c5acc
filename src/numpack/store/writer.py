"""`Writer`: the part of `NumPack` that changes a store, each call in one commit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.policy import wrong_type
from . import commits
from .checks import checked_name, entry_of, named_arrays
from .format.naming import exact_name
from .reading.reader import ProgressCounter, Reader

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from .batches.in_place import WritableBatch
    from .commits.attributes import AttributeChange
    from .reading.reader import ProgressCallback


class Writer(Reader):
    """A mapping of names to arrays that can be changed."""

    _writable_batches: list[WritableBatch]

    def save(
        self, arrays: Mapping[str, Any], *, progress: ProgressCallback | None = None
    ) -> None:
        """Store arrays in one commit, replacing those of the same names.

        In `batch_mode` they are kept in memory until the block ends.

        Parameters
        ----------
        arrays : dict of str to array
            NumPy arrays or scalars, or arrays of any framework that `share` supports.
        progress : callable, optional
            Called with the number of bytes written so far and the total. If it raises, the
            store is unchanged.

        Raises
        ------
        InvalidValueError
            `arrays` is not a dictionary, or a name is empty.
        WrongTypeError
            A name is not a string, or a value is not an array.
        UnsupportedError
            An array has an object dtype, a long double dtype or a mask.
        OSError
            The disk is full, or cannot be written. The store is unchanged.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("save.npk") as npk:
        ...     npk.save({"x": np.arange(3), "y": np.zeros((2, 2), "f4")})
        ...     list(npk)
        ['x', 'y']
        """
        self._session()
        values = named_arrays(arrays)
        counter = ProgressCounter(progress, sum(array.nbytes for array in values.values()))
        if self._batch.depth:
            counter(counter.total)
            self._batch.keep_saved(values)
            return
        self._note_file_changes(values)
        with self._handle.write_transaction() as session:
            commits.save(session, values, counter)
        self._batch.forget(values)

    def append(self, arrays: Mapping[str, Any]) -> None:
        """Append rows to one or more arrays in one commit.

        Stored rows are not rewritten, and lazy arrays that were loaded before keep their
        length.

        Parameters
        ----------
        arrays : dict of str to array
            Rows with the dtype and row shape of the array of the same name.

        Raises
        ------
        NotFoundError
            A `KeyError`: there is no array of a name.
        InvalidValueError
            `arrays` is not a dictionary, or dtype or row shape differ.
        OSError
            The disk is full, or cannot be written. The store is unchanged.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("append.npk") as npk:
        ...     npk.save({"x": np.zeros((2, 3))})
        ...     npk.append({"x": np.ones((4, 3))})
        ...     npk.get_shape("x")
        (6, 3)
        """
        self._session()
        if type(arrays) is dict and len(arrays) == 1 and not self._batch.kept:
            [(name, array)] = arrays.items()
            if type(array) is np.ndarray:  # which needs no conversion before it is validated
                with self._handle.write_transaction() as session:
                    if not commits.append_plain(session, name, array):
                        commits.append(session, named_arrays(arrays))
                return
        values = named_arrays(arrays)
        if self._batch.kept:
            self._flush_batch(values)
        with self._handle.write_transaction() as session:
            commits.append(session, values)

    def replace(self, arrays: Mapping[str, Any], indexes: Any) -> None:
        """Overwrite selected rows in place, of one or more arrays in one commit.

        Unlike every other change, this one is visible in lazy arrays that were loaded before.
        Only while a `Loader` reads an array, in this or another process, its file is left as
        it is: it is copied, with the rows replaced, and the copy takes its place.

        Parameters
        ----------
        arrays : dict of str to array
            Rows with the dtype and row shape of the array of the same name, one for each row
            that `indexes` selects; a single row may lack the row axis.
        indexes : int, list, tuple, slice, integer array or boolean mask
            The rows to overwrite; negative numbers count from the end. If a number occurs more
            than once, the last of its values is stored.

        Raises
        ------
        NotFoundError
            A `KeyError`: there is no array of a name.
        InvalidValueError
            `arrays` is not a dictionary, or dtype, row shape or number of rows differ.
        IndexRangeError
            An `IndexError`: a row number is out of range.
        InvalidIndexError
            `indexes` is of another type.
        OSError
            The disk is full, or cannot be written.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("replace.npk") as npk:
        ...     npk.save({"x": np.arange(4)})
        ...     npk.replace({"x": np.array([7, 8])}, [0, -1])
        ...     npk.load("x")
        array([7, 1, 2, 8])
        """
        self._session()
        values = named_arrays(arrays)
        if self._batch.kept:
            self._flush_batch(values)
        with self._handle.write_transaction() as session:
            commits.replace(session, values, indexes)

    def drop(self, array_name: str | list[str] | tuple[str, ...], indexes: Any = None) -> None:
        """Delete arrays, or rows of arrays, in one commit.

        Lazy arrays that were loaded before are unchanged. Deleted rows stay in the file until
        `update`; `append` never restores them.

        Parameters
        ----------
        array_name : str or list of str
            Without `indexes`, missing names are ignored.
        indexes : int, list, tuple, slice, integer array or boolean mask, optional
            The rows to delete; negative numbers count from the end. A number that occurs more
            than once counts once.

        Raises
        ------
        NotFoundError
            A `KeyError`: rows are to be deleted from an array that does not exist.
        IndexRangeError
            An `IndexError`: a row number is out of range.
        InvalidIndexError
            `indexes` is of another type.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("drop.npk") as npk:
        ...     npk.save({"x": np.arange(4), "y": np.arange(2)})
        ...     npk.drop("x", [0, 2])
        ...     npk.drop("y")
        ...     list(npk), npk.load("x")
        (['x'], array([1, 3]))
        """
        self._session()
        names = _dropped_names(array_name)
        if self._batch.kept and indexes is not None:
            self._flush_batch(names)
        if indexes is None:
            self._note_file_changes(names)
        with self._handle.write_transaction() as session:
            if indexes is None:
                commits.drop(session, names)
            else:
                commits.drop_rows(session, names, indexes)
        self._batch.forget(names)
        if indexes is None:
            self._batch.forget_attributes(names)

    def update(self, array_name: str, *, progress: ProgressCallback | None = None) -> None:
        """Rewrite an array without its deleted rows, if there are any.

        While the array is open in a `writable_batch_mode`, its file is left as it is.

        Parameters
        ----------
        array_name : str
        progress : callable, optional
            Called with the number of bytes written so far and the total.

        Raises
        ------
        NotFoundError
            A `KeyError` that names the existing arrays.
        CorruptStoreError
            A block of the array is damaged; nothing was written.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("update.npk") as npk:
        ...     npk.save({"x": np.arange(4)})
        ...     npk.drop("x", 1)
        ...     npk.update("x")
        ...     npk.load("x")
        array([0, 2, 3])
        """
        self._session()
        array_name = exact_name(array_name, "update")
        if self._batch.kept:
            self._flush_batch([array_name])
        with self._handle.write_transaction() as session:
            entry = entry_of(session.log.catalog.arrays, array_name)
            commits.update(session, array_name, ProgressCounter(progress, entry.live_nbytes))

    def clone(
        self, source_name: str, target_name: str, *, progress: ProgressCallback | None = None
    ) -> None:
        """Store a copy of an array, with its attributes, under another name.

        Parameters
        ----------
        source_name, target_name : str
        progress : callable, optional
            Called with the number of bytes written so far and the total.

        Raises
        ------
        NotFoundError
            A `KeyError` that names the existing arrays.
        CorruptStoreError
            A block of the array is damaged; nothing was written.
        InvalidValueError
            An array `target_name` exists already, or the name is empty.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("clone.npk") as npk:
        ...     npk.save({"x": np.arange(3)})
        ...     npk.clone("x", "y")
        ...     npk.load("y")
        array([0, 1, 2])
        """
        self._session()
        source_name = exact_name(source_name, "clone")
        target_name = checked_name(target_name)
        if self._batch.kept or self._batch.attributes:
            self._batch.write([source_name, target_name])
        with self._handle.write_transaction() as session:
            entry = entry_of(session.log.catalog.arrays, source_name)
            counter = ProgressCounter(progress, entry.live_nbytes)
            commits.clone(session, source_name, target_name, counter)

    def reset(self) -> None:
        """Delete all arrays and attributes in one commit.

        Lazy arrays that were loaded before stay valid.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("reset.npk") as npk:
        ...     npk.save({"x": np.arange(3)})
        ...     npk.reset()
        ...     len(npk)
        0
        """
        self._session()
        self._batch.forget()
        self._batch.forget_attributes()
        self._note_file_changes()
        with self._handle.write_transaction() as session:
            commits.reset(session)

    def _adopt(
        self,
        source: Writer,
        attributes: Mapping[str | None, AttributeChange] | None = None,
        *,
        drop_others: bool = False,
    ) -> None:
        """Make all arrays of a temporary store part of this one, in one commit.

        Its files are renamed, so it must be on the same file system, and is of no use
        afterwards; close it and remove its folder. After an error it is as before.

        Parameters
        ----------
        source : NumPack
            Open for writing. Its attributes do not count.
        attributes : mapping of str or None to AttributeChange, optional
            Changes of the attributes of these arrays, of others and of the store (``None``) in
            the same commit. The arrays keep those that their names have.
        drop_others : bool, default False
            Delete the arrays of other names in the same commit.
        """
        names = list(source)
        self._note_file_changes(None if drop_others else names)
        with (
            self._handle.write_transaction() as session,
            source._handle.write_transaction() as other,
        ):
            commits.adopt(session, other, names, attributes, drop_others=drop_others)
        self._batch.forget(None if drop_others else names)

    def _append_from(
        self,
        source: Writer,
        attributes: Mapping[str | None, AttributeChange] | None = None,
    ) -> None:
        """Append the rows of all arrays of another store to those here, in one commit.

        They are read and written a few MiB at a time. Parameters are those of `_adopt`.

        Raises
        ------
        NotFoundError
            A `KeyError`: there is no array of a name.
        InvalidValueError
            Dtype or row shape differ.
        """
        names = list(source)
        if self._batch.kept:
            self._flush_batch(names)
        with (
            self._handle.write_transaction() as session,
            source._handle.write_transaction() as other,
        ):
            commits.append_from(session, other, names, attributes)

    def __setitem__(self, array_name: str, array: Any) -> None:
        """Store an array; the same as ``save({array_name: array})``."""
        self.save({array_name: array})

    def __delitem__(self, array_name: str) -> None:
        """Delete an array, which must exist."""
        array_name = exact_name(array_name, "del")
        if array_name not in self:
            entry_of(self._arrays(), array_name)
        self.drop(array_name)

    def _note_file_changes(self, names: Iterable[str] | None = None) -> None:
        """Notify `writable_batch_mode` that some arrays, or all, are about to get new files."""
        for batch in self._writable_batches:
            batch.note_file_changes(names)

    def _flush_batch(self, names: Mapping[str, Any] | list[str] | tuple[str, ...]) -> None:
        """Write and forget a batch's changes to arrays that are about to be changed."""
        self._batch.write(list(names))
        self._batch.forget(list(names))


def _dropped_names(array_name: Any) -> list[str]:
    names = array_name if isinstance(array_name, list | tuple) else [array_name]
    for name in names:
        if not isinstance(name, str):
            wrong_type("drop", "a name or a list of names", name, "pass str or list of str")
    return [str.__str__(name) for name in names]
