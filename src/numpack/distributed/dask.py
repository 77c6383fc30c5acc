"""Dask arrays over stored arrays, and stored arrays from Dask arrays."""

from __future__ import annotations

import contextlib
import math
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.owner import base_view
from .._core.policy import wrong_type
from ..errors import MissingDependencyError
from ..store.lazy.array import hold_rows
from .opening import opened

try:
    import dask
    import dask.array as da
except ImportError as error:
    msg = "numpack.distributed.dask requires Dask; install it with: pip install 'numpack[dask]'"
    raise MissingDependencyError(msg) from error

if TYPE_CHECKING:
    from dask.delayed import Delayed

    from ..store import LazyArray, ParallelWrite
    from ..store.reading.snapshot import Snapshot
    from .opening import Store

__all__ = ["from_store", "to_store"]


def from_store(store: Store, array_name: str, chunks: Any = "auto") -> da.Array:
    """Return a Dask array over a stored array.

    Tasks carry a reference of less than 1 KiB and the rows of their block. The process that
    runs one maps the file, and the block is a read-only view of it: nothing is copied or sent.
    The array's name, by which results are cached, depends on the values: it is another one
    after any change of the stored array.

    Parameters
    ----------
    store : str, os.PathLike or NumPack
        A path has to lead to the same store on all workers.
        A URL (``s3://…``), or a store that was opened by one, is read by each of them.
    array_name : str
    chunks : int, tuple or str, default "auto"
        As for `dask.array.from_array`; ``"auto"`` and sizes such as ``"64 MiB"`` make blocks of
        whole rows.

    Returns
    -------
    dask.array.Array
        The array as it is now. Later changes of the stored array do not change it: as long as
        it exists in this process, writers replace rows in a copy of the file. If it exists
        only elsewhere, as in a graph that was sent to a scheduler, tasks raise `MovedError`
        once rows were replaced.

    Raises
    ------
    NotFoundError
        There is no such array.
    StoreNotFoundError
        There is no store.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack import NumPack
    >>> from numpack.distributed.dask import from_store
    >>> with NumPack("dask.npk") as npk:
    ...     npk.save({"x": np.ones((6, 2))})
    >>> x = from_store("dask.npk", "x", chunks=(4, 2))
    >>> x.chunks, float(x.sum().compute())
    (((4, 2), (2,)), 12.0)
    """
    with opened(store, "from_store", mode="r") as npk:
        snapshot = npk._snapshot([array_name])  # noqa: SLF001 -- of this package
    array = snapshot.arrays[array_name]
    if isinstance(chunks, str) and array.ndim:
        chunks = (chunks, *(-1,) * (array.ndim - 1))
    return da.from_array(StoredBlocks(array, snapshot), chunks, name=None, inline_array=True)


class StoredBlocks:
    """A stored array as tasks index it.

    In a worker, each task maps the file anew and the block keeps the mapping, so that it is
    unmapped with the block: pages that are mapped count as memory of the worker, which Dask
    limits. In this process the array is indexed as it is.

    Parameters
    ----------
    array : LazyArray
        Kept, so that workers find its file through this process if it is unlinked.
    snapshot : Snapshot
        Kept, so that no writer replaces the rows.
    """

    def __init__(self, array: LazyArray, snapshot: Snapshot) -> None:
        self.shape, self.dtype, self.ndim = array.shape, array.dtype, array.ndim
        self._array: LazyArray | None = array
        self._snapshot: Snapshot | None = snapshot
        self._token = array.__dask_tokenize__()
        self._reference = pickle.dumps(array)

    def __getitem__(self, index: Any) -> Any:
        """Return a block: a read-only view of the mapped file, if its rows are consecutive.

        The view holds the rows: no writer replaces them while it exists.
        """
        array = pickle.loads(self._reference) if self._array is None else self._array  # noqa: S301
        held = hold_rows(array)
        return base_view(np.asarray(array[index]), held)

    def __dask_tokenize__(self) -> Any:
        """Return a token that is equal only for equal values."""
        return self._token

    def __getstate__(self) -> dict[str, Any]:
        """Pickle the reference alone."""
        return {**self.__dict__, "_array": None, "_snapshot": None}


def to_store(
    array: da.Array, store: Store, array_name: str, *, compute: bool = True, **options: Any
) -> Delayed | None:
    """Store a Dask array by one commit, which replaces an array of the same name.

    The workers write their blocks into one file. Nothing is visible before all have been
    written: if computing fails, or a process dies, the store is unchanged. A task that Dask
    runs again writes its rows again.

    Parameters
    ----------
    array : dask.array.Array
        Of at least one axis. Blocks that are not whole rows are rechunked. If the sizes of
        blocks are unknown the array is computed to find them, and once more to store it.
    store : str, os.PathLike or NumPack
        A path has to lead to the same store on all workers. It is created if it does not exist.
    array_name : str
    compute : bool, default True
        Whether to compute now; otherwise that is left to the result.
    **options
        Keywords of `dask.compute`, such as ``scheduler``.

    Returns
    -------
    dask.delayed.Delayed or None
        With ``compute=False``: computing it stores the array, once. As long as it exists, the
        file is kept.

    Raises
    ------
    WrongTypeError
        `array` is not a Dask array.
    UnsupportedError
        Arrays of its dtype cannot be stored.
    InvalidValueError
        A block has another dtype or shape than the array claims; or the array is 0-d.

    Examples
    --------
    >>> import dask.array as da
    >>> from numpack import NumPack
    >>> from numpack.distributed.dask import to_store
    >>> to_store(da.arange(6, chunks=2) * 10, "dask.npk", "y")
    >>> with NumPack("dask.npk") as npk:
    ...     npk.load("y")
    array([ 0, 10, 20, 30, 40, 50])
    """
    if not isinstance(array, da.Array):
        wrong_type("to_store", "a dask.array.Array", array, "use npk.save for other arrays")
    array = _in_whole_rows(array, options)
    with opened(store, "to_store", mode="a") as npk:
        plan = npk.begin(array_name, array.shape, array.dtype)
    written = _written(array, plan)
    if not compute:
        return dask.delayed(_commit, pure=False)(plan, written)
    with plan:
        dask.compute(written, **options)
    return None


def _in_whole_rows(array: da.Array, options: dict[str, Any]) -> da.Array:
    """Return an array with blocks of known sizes, each of whole rows."""
    if any(math.isnan(size) for sizes in array.chunks for size in sizes):
        array = da.Array(array.dask, array.name, array.chunks, meta=array)
        with dask.config.set(**options) if options else contextlib.nullcontext():
            array = array.compute_chunk_sizes()
    if array.ndim < 2 or all(len(sizes) == 1 for sizes in array.chunks[1:]):
        return array
    return array.rechunk(dict.fromkeys(range(1, array.ndim), -1))


def _written(array: da.Array, plan: ParallelWrite) -> da.Array:
    """Return an array of the number of rows that each block has written."""
    return da.map_blocks(
        _write,
        array,
        plan=plan,
        dtype="i8",
        chunks=tuple((1,) * len(sizes) for sizes in array.chunks),
        meta=np.empty((0,) * array.ndim, "i8"),
    )


def _write(block: Any, *, plan: ParallelWrite, block_info: Any = None) -> Any:
    """Write a block of rows; return the number of its rows."""
    first, stop = block_info[0]["array-location"][0]
    plan[first:stop] = block
    return np.full((1,) * block.ndim, stop - first)


def _commit(plan: ParallelWrite, _written: Any) -> None:
    """Commit, in a worker, what others have written."""
    plan.commit()
