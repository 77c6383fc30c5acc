"""`Dataset`: the rows of arrays as a map-style dataset of torch."""

from __future__ import annotations

import contextlib
import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core.memory import aligned_empty
from ..._core.policy import wrong_type
from ...io import share
from ...store import LazyArray
from ...store.kernels.gather import gather_rows
from ...store.rows.foreign_indexes import out_of_range_error
from ...store.rows.indexing import Selection
from ..source import Source, common_length
from .batch import Batch, register_collate, sample_of

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Mapping

    from ..._core.memory import Array
    from ...adapters._options import Target
    from ...store import NumPack
    from ...store.rows.indexing import Numbers


class Dataset:
    """Rows of stored arrays as a map-style dataset for `torch.utils.data.DataLoader`.

    A DataLoader asks for a whole batch at once, which is gathered by native code with one call
    for each array, into aligned memory that becomes the tensor; torch's default collate returns
    it unchanged. No row is copied into the dataset, and it is pickled in a few hundred bytes:
    all workers map the same pages of the file, whether they are forked or spawned.

    The dataset has the rows of the commit at which it was created, so that its length does not
    change under a sampler. What is saved, appended or dropped afterwards is not seen, also by
    workers that start later, and the store may be closed; make a new dataset to read new rows.

    Parameters
    ----------
    source : str, os.PathLike, NumPack or mapping of str to array
        The path of a store, which is opened for reading, an open store, or arrays of equal
        length: lazy arrays, ndarrays, memmaps, or of any type that `numpack.share` views
        without a copy.
    names : str, or list or tuple of str, optional
        The arrays. A list makes each sample a dict, one name the array's row itself. By default
        all arrays, in a dict.
    target : str, default "torch"
        The framework of the samples, as for `numpack.share`. For another one than torch, pass
        ``collate_fn=numpack.data.collate`` to DataLoader, whose default collate makes tensors
        of NumPy arrays.
    transform : callable, optional
        Called with each gathered batch, in the process that gathers it, and with a batch of one
        row for a single sample. It returns an array, a mapping or a tuple of arrays, with one
        row for each sample.

    Raises
    ------
    InvalidValueError
        The arrays have different lengths, or there are none.
    NotFoundError
        There is no array of such a name.
    UnsupportedError
        The target has no equivalent of an array's dtype.

    Examples
    --------
    >>> import numpy as np
    >>> from torch.utils.data import DataLoader
    >>> from numpack import NumPack
    >>> from numpack.data import Dataset
    >>> with NumPack("features.npk") as npk:
    ...     npk.save({"x": np.zeros((1000, 8), "f4"), "y": np.arange(1000)})
    >>> loader = DataLoader(Dataset("features.npk"), batch_size=256, shuffle=True)
    >>> [tuple(batch["x"].shape) for batch in loader]
    [(256, 8), (256, 8), (256, 8), (232, 8)]
    """

    def __init__(
        self,
        source: str | os.PathLike[str] | NumPack | Mapping[str, Any],
        names: str | list[str] | tuple[str, ...] | None = None,
        *,
        target: Target = "torch",
        transform: Callable[[Any], Any] | None = None,
    ) -> None:
        if transform is not None and not callable(transform):
            wrong_type("Dataset(transform=)", "a function", transform, "pass one, or None")
        self._source = Source(source, names, what="Dataset")
        self._source.close()
        self._target, self._transform = target, transform
        self._arrays = self._source.held()
        self._length = common_length(self._arrays, "Dataset")
        for array in self._arrays.values():
            share(np.empty((0, *array.shape[1:]), array.dtype), target)  # or raises
        self._prepare()

    def __len__(self) -> int:
        """Return the number of rows, which never changes.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack.data import Dataset
        >>> len(Dataset({"x": np.zeros((3, 2))}, target="numpy"))
        3
        """
        return self._length

    def __getitem__(self, index: Any) -> Any:
        """Return the sample of a row number; a list, array or slice of them gives a batch.

        Parameters
        ----------
        index : int, slice, or list or array of int
            Negative numbers count from the end.

        Raises
        ------
        IndexRangeError
            A row number is out of range.
        InvalidIndexError
            `index` is of another type.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack.data import Dataset
        >>> dataset = Dataset({"x": np.arange(4), "y": np.arange(4.0)}, target="numpy")
        >>> dataset[-1]
        {'x': np.int64(3), 'y': np.float64(3.0)}
        >>> dataset[[0, 2]]
        {'x': array([0, 2]), 'y': array([0., 2.])}
        """
        if isinstance(index, bool) or getattr(index, "ndim", None):
            return self._gather(self._row_numbers(index))
        try:
            row = operator.index(index)
        except TypeError:  # a slice or a list, or of a type that is refused
            return self._gather(self._row_numbers(index))
        if not -self._length <= row < self._length:
            raise out_of_range_error(row, self._length)
        return sample_of(self._gather(np.array([row], np.int64)), 0)

    def __getitems__(self, indices: Any) -> Batch:
        """Return a batch, which torch's DataLoader asks for; `collate` returns its data.

        Parameters
        ----------
        indices : list or array of int
            Negative numbers count from the end.

        Raises
        ------
        IndexRangeError, InvalidIndexError
            As for indexing.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack.data import Dataset
        >>> batch = Dataset({"x": np.arange(4)}, "x", target="numpy").__getitems__([2, 0])
        >>> batch.data, list(batch)
        (array([2, 0]), [np.int64(2), np.int64(0)])
        """
        rows = self._row_numbers(indices)
        return Batch(self._gather(rows), len(rows), is_marked=self._target == "torch")

    def __repr__(self) -> str:
        """Return the number of rows and the names of the arrays."""
        return f"Dataset({self._length:,} rows of {', '.join(self._arrays)})"

    def __getstate__(self) -> dict[str, Any]:
        """Return what is pickled: stored arrays are, by reference."""
        return {
            "source": self._source,
            "target": self._target,
            "transform": self._transform,
            "length": self._length,
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled dataset, which has the same rows."""
        self._source, self._length = state["source"], state["length"]
        self._target, self._transform = state["target"], state["transform"]
        self._prepare()

    def _prepare(self) -> None:
        self._arrays = self._source.held()
        if self._target == "torch":
            register_collate()

    def _row_numbers(self, indexes: Any) -> Numbers:
        """Return row numbers as an array; negative ones and the range may be unchecked."""
        if type(indexes) is list and indexes and type(indexes[0]) is int:
            with contextlib.suppress(ValueError):  # of a list of lists, which is refused below
                rows = np.array(indexes)
                if rows.dtype == np.int64 and rows.ndim == 1:
                    return rows
        return Selection(indexes, self._length).numbers()

    def _gather(self, rows: Numbers) -> Any:
        """Return rows of all arrays as objects of the target, after the transform."""
        arrays, target = self._arrays, self._target
        if self._source.is_single:
            (array,) = arrays.values()
            found: Any = share(take_rows(array, rows), target)
        else:
            found = {
                name: share(take_rows(array, rows), target) for name, array in arrays.items()
            }
        return found if self._transform is None else self._transform(found)


def take_rows(array: Array | LazyArray, rows: Numbers) -> Array:
    """Copy rows of an array into new, aligned memory.

    Parameters
    ----------
    array : ndarray or LazyArray
    rows : ndarray of int64
        One-dimensional; negative numbers count from the end.

    Raises
    ------
    IndexRangeError
        A row number is out of range.
    """
    if isinstance(array, LazyArray):
        return array.take(rows)
    if (found := gather_rows(array, rows)) is not None:
        return found
    rows = Selection(rows, len(array)).numbers()
    if array.dtype.hasobject:
        return array.take(rows, axis=0)
    fresh = aligned_empty((len(rows), *array.shape[1:]), array.dtype)
    return array.take(rows, axis=0, out=fresh, mode="clip")  # which needs no buffer
