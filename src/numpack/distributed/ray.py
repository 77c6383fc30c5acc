"""Ray datasets and tasks over stored arrays, and stored arrays from Ray datasets."""

from __future__ import annotations

import functools
import itertools
import math
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.policy import wrong_type
from ..errors import InvalidValueError, MissingDependencyError, NotFoundError, UnsupportedError
from ..store.checks import checked_name
from ..store.lazy.array import hold_rows
from ..store.lazy.reference import path_of
from .opening import check_store, opened
from .pieces import PieceFolder, commit_pieces, write_piece

try:
    import ray
    import ray.data
    from ray.data.block import BlockAccessor, BlockMetadata
    from ray.data.datasource import Datasink, Datasource, ReadTask
except ImportError as error:
    msg = "numpack.distributed.ray requires Ray; install it with: pip install 'numpack[ray]'"
    raise MissingDependencyError(msg) from error

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from .._core.memory import Array
    from ..store import LazyArray
    from ..store.reading.snapshot import Snapshot
    from .opening import Store
    from .pieces import Piece

    Names = str | Sequence[str] | None

__all__ = ["NumPackSink", "NumPackSource", "map_rows", "read_store"]

BLOCK_NBYTES = 64 << 20  # of the blocks of a task, and of the rows of a call of `map_rows`


def read_store(store: Store, names: Names = None, **options: Any) -> ray.data.Dataset:
    """Return a Ray dataset of the rows of stored arrays, one column for each array.

    Parameters
    ----------
    store : str, os.PathLike or NumPack
        A path has to lead to the same store on all nodes.
        A URL (``s3://…``), or a store that was opened by one, is read by each of them.
    names : str or sequence of str, optional
        All arrays by default. They have the same number of rows.
    **options
        Keywords of `ray.data.read_datasource`, such as ``override_num_blocks``.

    Returns
    -------
    ray.data.Dataset
        Of the arrays as they are now. Rows of several axes are tensors.

    See Also
    --------
    NumPackSource : The data source, and the errors it raises.
    map_rows : Call a function with rows that are not copied into Ray's object store.

    Examples
    --------
    >>> from numpack.distributed.ray import read_store
    >>> read_store("features.npk", ["x", "y"]).mean("y")  # doctest: +SKIP
    """
    return ray.data.read_datasource(NumPackSource(store, names), **options)


class NumPackSource(Datasource):  # type: ignore[misc] # a class of Ray, which has no hints
    """A source of Ray datasets: the rows of stored arrays as of one commit.

    Tasks carry references and row numbers; the worker that runs one maps the files, and copies
    the rows into blocks in Ray's object store. As long as the source or its dataset exists in
    this process, no writer replaces the rows.

    Parameters
    ----------
    store : str, os.PathLike or NumPack
        A path has to lead to the same store on all nodes.
        A URL (``s3://…``), or a store that was opened by one, is read by each of them.
    names : str or sequence of str, optional
        All arrays by default.

    Raises
    ------
    InvalidValueError
        The arrays have different numbers of rows, or one is 0-d; or there are none.
    NotFoundError
        There is no such array.
    StoreNotFoundError
        There is no store.
    UnsupportedError
        Ray has no columns of an array's dtype, such as complex numbers and bfloat16.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack import NumPack
    >>> from numpack.distributed.ray import NumPackSource
    >>> with NumPack("ray.npk") as npk:
    ...     npk.save({"x": np.ones((6, 2)), "y": np.arange(6)})
    >>> source = NumPackSource("ray.npk", ["x", "y"])
    >>> [task.metadata.num_rows for task in source.get_read_tasks(4)]
    [1, 2, 1, 2]
    """

    def __init__(self, store: Store, names: Names = None) -> None:
        super().__init__()
        self._snapshot: Snapshot | None = _snapshot(store, "NumPackSource", names)
        self._arrays = self._snapshot.arrays
        self._count = _common_length(self._arrays)
        for name, array in self._arrays.items():
            _check_column(name, array)

    def get_name(self) -> str:
        """Return the name that Ray shows for the read tasks."""
        return "NumPack"

    def estimate_inmemory_data_size(self) -> int:
        """Return the size of the rows in bytes."""
        return self._count * _row_nbytes(self._arrays)

    def get_read_tasks(
        self,
        parallelism: int,
        per_task_row_limit: int | None = None,
        data_context: Any = None,  # noqa: ARG002 -- of Ray's interface
    ) -> list[ReadTask]:
        """Return tasks that read consecutive rows each, as Ray requires of a data source."""
        tasks = max(1, min(parallelism, self._count))
        ends = [self._count * number // tasks for number in range(tasks + 1)]
        # Older versions of Ray have no limit.
        limit = {} if per_task_row_limit is None else {"per_task_row_limit": per_task_row_limit}
        return [self._read_task(first, stop, limit) for first, stop in itertools.pairwise(ends)]

    def _read_task(self, first: int, stop: int, limit: dict[str, int]) -> ReadTask:
        metadata = BlockMetadata(
            num_rows=stop - first,
            size_bytes=(stop - first) * _row_nbytes(self._arrays),
            exec_stats=None,
            input_files=None,
        )
        parts = {name: array.rows(first, stop) for name, array in self._arrays.items()}
        return ReadTask(functools.partial(_blocks, parts), metadata, **limit)

    def __getstate__(self) -> dict[str, Any]:
        """Pickle references; this process goes on holding the rows."""
        return {**self.__dict__, "_snapshot": None}


def map_rows(
    store: Store,
    names: Names,
    function: Callable[..., Any],
    *,
    rows: int | None = None,
    **options: Any,
) -> list[ray.ObjectRef]:
    """Call a function with consecutive rows of stored arrays, in Ray tasks.

    The rows are not copied and not put in Ray's object store: a task carries a reference of
    less than 1 KiB an array, and its worker maps the file. Only results go to the object store.

    Parameters
    ----------
    store : str, os.PathLike or NumPack
        A path has to lead to the same store on all nodes.
        A URL (``s3://…``), or a store that was opened by one, is read by each of them.
    names : str or sequence of str
        Arrays with the same number of rows.
    function : callable
        Takes one argument for each name: an ndarray, which is a read-only view of the mapped
        file unless rows in between have been deleted. A result that is such a view is copied.
    rows : int, optional
        How many rows a call takes, except the last; by default those of 64 MiB.
    **options
        Options of the tasks, such as ``num_cpus`` and ``max_retries``; see `ray.remote`.

    Returns
    -------
    list of ray.ObjectRef
        The results in the order of the rows, for `ray.get`.

    Raises
    ------
    InvalidValueError
        The arrays have different numbers of rows, or one is 0-d; or `rows` is not positive.
    NotFoundError
        There is no such array.
    MovedError
        Raised in a task: the rows cannot be found, or were replaced after the call. See
        `LazyArray`.

    Examples
    --------
    >>> import ray
    >>> from numpack.distributed.ray import map_rows
    >>> sums = map_rows("features.npk", "x", lambda x: x.sum(axis=0))  # doctest: +SKIP
    >>> sum(ray.get(sums))  # doctest: +SKIP
    """
    if not callable(function):
        wrong_type("map_rows", "a function", function, "pass a callable as the third argument")
    arrays = _snapshot(store, "map_rows", names).arrays
    count = _common_length(arrays)
    step = _rows_of_block(arrays) if rows is None else rows
    if not isinstance(step, int) or isinstance(step, bool) or step < 1:
        msg = f"rows is how many rows a call takes, a positive int, and not {rows!r}"
        raise InvalidValueError(msg)
    task, function = _task.options(**options) if options else _task, ray.put(function)
    return [
        task.remote(
            function,
            *(pickle.dumps(each.rows(first, first + step)) for each in arrays.values()),
        )
        for first in range(0, count, step)
    ]


class NumPackSink(Datasink):  # type: ignore[misc] # a class of Ray, which has no hints
    """Where a Ray dataset is written: one array of a store, by one commit.

    ``dataset.write_datasink(NumPackSink(path, name))`` stores a column of the dataset. Each
    attempt of a task writes its rows into a file of its own; when all tasks are done, the files
    of those attempts whose results reached this process are copied into the array in the order
    of the tasks, and committed. So each row is stored once, whichever tasks Ray runs again, and
    nothing is visible before. If writing fails, the store is unchanged.

    The order of the tasks is that of the rows if ``preserve_order`` of Ray's execution options
    is set, or if Ray reads and writes in the same tasks.

    If this process is killed, a folder ``pieces-…`` is left in the folder of the store. The
    next sink of the store removes it; until then it only takes up space.

    Parameters
    ----------
    store : str, os.PathLike or NumPack
        A path has to lead to the same store on all nodes. It is created if it does not exist.
    name : str
        Of the array. It replaces an array of the same name.
    column : str, optional
        By default the column called `name`, or the only one.

    Raises
    ------
    NotFoundError
        Raised by the write: the dataset has no such column.
    InvalidValueError
        Raised by the write: dtypes or row shapes differ, or there are no rows.
    UnsupportedError
        Raised by the write: arrays of that dtype cannot be stored.

    Examples
    --------
    >>> import ray
    >>> from numpack.distributed.ray import NumPackSink
    >>> ray.data.range(6).write_datasink(NumPackSink("ray.npk", "id"))  # doctest: +SKIP
    """

    def __init__(self, store: Store, name: str, column: str | None = None) -> None:
        check_store(store, "NumPackSink")
        self._store: Store | None = store
        self._name, self._column = checked_name(name), column
        self._pieces: PieceFolder | None = None
        self._folder = ""

    def get_name(self) -> str:
        """Return the name that Ray shows for the write tasks."""
        return "NumPack"

    def on_write_start(self, schema: Any = None) -> None:  # noqa: ARG002 -- Ray's interface
        """Create the folder of the pieces; Ray calls this in the driver."""
        assert self._store is not None  # noqa: S101 -- for the type checker
        self._end()
        with opened(self._store, "NumPackSink", mode="a") as npk:
            self._pieces = PieceFolder(path_of(npk._session().folder))  # noqa: SLF001
        self._folder = self._pieces.path

    def write(self, blocks: Iterable[Any], ctx: Any) -> Piece | None:
        """Write the rows of a task; Ray calls this in workers, once for each attempt."""
        columns = (self._values(BlockAccessor.for_block(block)) for block in blocks)
        return write_piece(self._folder, ctx.task_idx, columns)

    def on_write_complete(self, write_result: Any) -> None:
        """Commit the pieces that the tasks returned; Ray calls this in the driver."""
        assert self._store is not None  # noqa: S101 -- for the type checker
        pieces = [each for each in write_result.write_returns if each is not None]
        with opened(self._store, "NumPackSink", mode="a") as npk:
            commit_pieces(npk, self._name, pieces)
        self._end()

    def on_write_failed(self, error: Exception) -> None:  # noqa: ARG002 -- Ray's interface
        """Remove the pieces; Ray calls this in the driver."""
        self._end()

    def _values(self, block: BlockAccessor) -> Array:
        """Return a block's values of the column."""
        if not block.num_rows():
            return np.empty(0)
        names = block.column_names()
        column = self._column or (names[0] if len(names) == 1 else self._name)
        if column not in names:
            msg = f"the dataset has no column '{column}', only {names}; pass one as column="
            raise NotFoundError(msg)
        values = block.to_numpy(column)
        if values.dtype.hasobject:
            msg = (
                f"the column '{column}' holds Python objects, or rows of different shapes, "
                f"which cannot be stored; convert it with dataset.map_batches"
            )
            raise UnsupportedError(msg)
        return np.asarray(values)

    def _end(self) -> None:
        if self._pieces is not None:
            self._pieces.remove()
        self._pieces, self._folder = None, ""

    def __getstate__(self) -> dict[str, Any]:
        """Pickle what workers need: they write pieces, and do not open the store."""
        return {**self.__dict__, "_store": None, "_pieces": None}


def _call(function: Callable[..., Any], *references: bytes) -> Any:
    """Call a function with the mapped rows of lazy arrays.

    They are pickled before: Ray passes bytes on in a fifth of the time that objects take.
    """
    arrays = [pickle.loads(each) for each in references]  # noqa: S301 -- made by `map_rows`
    held = [hold_rows(each) for each in arrays]
    result = function(*(np.asarray(array) for array in arrays))
    del held  # not before
    return result


_task = ray.remote(_call)  # of the module: Ray sends it to each worker once


def _blocks(arrays: dict[str, LazyArray]) -> Iterator[Any]:
    """Yield the rows of lazy arrays as blocks of Ray."""
    count, step = _common_length(arrays), _rows_of_block(arrays)
    held = [hold_rows(each) for each in arrays.values()]
    for first in range(0, count or 1, step):
        parts = {name: np.asarray(each[first : first + step]) for name, each in arrays.items()}
        yield BlockAccessor.batch_to_block(parts)
    del held


def _snapshot(store: Store, function: str, names: Names) -> Snapshot:
    """Return lazy arrays of one commit, by default of all arrays."""
    with opened(store, function, mode="r") as npk:
        if isinstance(names, str):
            names = [names]
        chosen = list(npk if names is None else names)
        if not chosen:
            msg = "there are no arrays to read; pass the names of one or more"
            raise InvalidValueError(msg)
        return npk._snapshot(chosen)  # noqa: SLF001 -- of this package


def _common_length(arrays: dict[str, LazyArray]) -> int:
    """Return the number of rows of each array; raise an error if it differs."""
    for name, array in arrays.items():
        if array.ndim == 0:
            msg = f"the array '{name}' is 0-d and has no rows; leave it out of names="
            raise InvalidValueError(msg)
    counts = {name: len(array) for name, array in arrays.items()}
    if len(set(counts.values())) != 1:
        msg = (
            f"arrays that are read together have the same number of rows, and not {counts}; "
            f"read those that differ with calls of their own"
        )
        raise InvalidValueError(msg)
    return next(iter(counts.values()))


def _row_nbytes(arrays: dict[str, LazyArray]) -> int:
    return sum(each.dtype.itemsize * math.prod(each.shape[1:]) for each in arrays.values())


def _rows_of_block(arrays: dict[str, LazyArray]) -> int:
    return max(1, BLOCK_NBYTES // max(1, _row_nbytes(arrays)))


def _check_column(name: str, array: LazyArray) -> None:
    """Check that Ray stores the values as they are."""
    dtype = array.dtype
    number = dtype.kind in "biuf" and dtype.isbuiltin == 1
    time = dtype.kind in "mM" and array.ndim == 1
    if not (number or time) or 0 in array.shape[1:]:
        msg = (
            f"Ray has no columns of {dtype} and row shape {array.shape[1:]}, as '{name}' has; "
            f"use map_rows, or leave it out of names="
        )
        raise UnsupportedError(msg)
