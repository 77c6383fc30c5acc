"""`Renamer`: the part of `NumPack` that renames arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

from . import commits
from .checks import checked_name, entry_of
from .format.naming import exact_name
from .reading.reader import ProgressCounter
from .writer import Writer

if TYPE_CHECKING:
    from .reading.reader import ProgressCallback


class Renamer(Writer):
    """A `Writer` that also gives arrays other names."""

    def rename(
        self,
        array_name: str,
        new_name: str,
        *,
        overwrite: bool = False,
        progress: ProgressCallback | None = None,
    ) -> None:
        """Rename an array, in one commit and without rewriting its rows.

        Its attributes go with it. Lazy arrays that were loaded before stay valid.

        Parameters
        ----------
        array_name, new_name : str
        overwrite : bool, default False
            Replace an array that is called `new_name`.
        progress : callable, optional
            Called with the number of bytes written so far and the total: where the file system
            has no hard links, the rows are copied.

        Raises
        ------
        NotFoundError
            A `KeyError` that names the existing arrays.
        InvalidValueError
            An array `new_name` exists already, or the name is empty.
        StoreError
            The array is open in a `writable_batch_mode`.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("rename.npk") as npk:
        ...     npk.save({"x": np.arange(3)})
        ...     npk.rename("x", "y")
        ...     list(npk), npk.load("y")
        (['y'], array([0, 1, 2]))
        """
        self._session()
        old, new = exact_name(array_name, "rename"), checked_name(new_name)
        if self._batch.kept or self._batch.attributes:
            self._flush_batch([old, new])
        self._note_file_changes([old, new])
        with self._handle.write_transaction() as session:
            entry = entry_of(session.log.catalog.arrays, old)
            counter = ProgressCounter(progress, 0 if entry.is_unusable else entry.live_nbytes)
            commits.rename(session, old, new, counter, overwrite=overwrite)
