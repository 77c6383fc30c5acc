"""`ParallelWrite`: an array that many processes write and one commit stores."""

from __future__ import annotations

import operator
import os
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from ..._core.policy import wrong_type
from ..._core.processes import boot_id
from ...errors import (
    IndexRangeError,
    InvalidIndexError,
    InvalidValueError,
    WriteEndedError,
)
from .. import commits
from ..checks import as_array, check_rows, checked_name
from ..format import data_files
from ..format.dtype_codes import MAX_NDIM, InvalidRecordError, itemsize
from ..format.log.records import check_size
from ..format.log.state import Entry
from ..format.naming import quoted
from ..format.schema import encode_dtype, storable_dtype
from ..format.staged.completion import complete
from ..format.staged.files import StagedFiles, ended_error, remove_abandoned
from ..fs.directory import DATA
from ..handle import Handle
from ..kernels.checksums import BLOCK
from ..lazy.reference import path_of
from .parallel_location import Location, Opener

if TYPE_CHECKING:
    from ..._core.dtypes import DType
    from ..session import Session


class ParallelWrite:
    """An array that many processes and threads write, and one commit makes part of the store.

    `NumPack.begin` returns it. Nothing of the array is visible before `commit`: the rows are in
    a file beside the arrays. Pickled, it is a reference of a few hundred bytes; each process
    that unpickles it writes to the same file. Each row must be written before the commit, in
    any order and by any process. Where a row is written more than once, the last value counts;
    if that happens at the same time, it is either of them.

    In a ``with`` statement it is committed at the end, or aborted after an exception.

    If no process commits, the file is removed by the next writer that opens the store, once all
    processes that have used the parallel write have ended or dropped it.

    Raises
    ------
    MovedError
        On first use of a copy that was unpickled: the files cannot be found; ``reason`` says
        why. A `WriteEndedError` if the parallel write was committed or aborted.

    Examples
    --------
    >>> import pickle
    >>> import numpy as np
    >>> from numpack import NumPack
    >>> with NumPack("parallel.npk") as npk:
    ...     with npk.begin("x", (4, 2), "f4") as plan:
    ...         plan[:3] = np.ones((3, 2), "f4")
    ...         pickle.loads(pickle.dumps(plan))[3] = np.zeros(2, "f4")
    ...     npk.load("x").sum(axis=1)
    array([2., 2., 2., 0.], dtype=float32)
    """

    def __init__(self, location: Location, files: StagedFiles | None = None) -> None:
        self._location = location
        self._entry = Entry("", location.code, location.shape, modified=0)
        self._opener = Opener(location, files)
        self._ended = ""  # "committed" or "aborted", by this object

    @property
    def name(self) -> str:
        """The name under which the array will be stored."""
        return self._location.name

    @property
    def path(self) -> str:
        """The path of the store."""
        files = self._opener.current
        return self._location.path if files is None else path_of(files.folder)

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the array."""
        return self._location.shape

    @property
    def dtype(self) -> DType:
        """The dtype of the array."""
        return self._entry.dtype

    @property
    def nbytes(self) -> int:
        """The size of the array in bytes."""
        return self._entry.nbytes

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.shape[0]

    def __setitem__(self, rows: int | slice, values: Any) -> None:
        """Write rows; any process and any thread can do so.

        Parameters
        ----------
        rows : int or slice
            A row, or consecutive rows; negative numbers count from the end.
        values : array
            Of the dtype and row shape of the array, of any framework that `share` supports.
            They are never converted to another dtype.

        Raises
        ------
        InvalidIndexError
            `rows` is neither an integer nor a slice with step 1.
        IndexRangeError
            There is no such row.
        InvalidValueError
            Dtype, row shape or number of rows differ.
        WriteEndedError
            The parallel write was committed or aborted.
        OSError
            The disk is full, or cannot be written. The rows count as not written.
        """
        first, stop = _selected(rows, len(self))
        array = as_array(self.name, values)
        dtype = check_rows(self.name, self._entry, array, count=stop - first)
        files = self._opener.open()
        if array.nbytes:
            chunks = data_files.chunks_of(array, dtype)
            files.write(first, stop, self._entry.row_nbytes, chunks)
        elif files.has_ended():
            raise ended_error(self.path)

    def commit(self) -> None:
        """Make the array part of the store, in one commit; it replaces one of the same name.

        Any process can commit. Writes in progress are waited for. The store's other arrays may
        have been changed since `NumPack.begin`.

        Raises
        ------
        IncompleteWriteError
            Rows have not been written. They can be, and then committed.
        WriteEndedError
            The parallel write was committed or aborted already.
        LockTimeoutError
            A process was still writing, to the array or to the store, after `lock_timeout`.
        CorruptStoreError
            The staged files are damaged.
        OSError
            The disk is full, or cannot be written. Nothing was committed, and it can be tried
            again.

        Examples
        --------
        >>> import numpy as np
        >>> from numpack import NumPack
        >>> with NumPack("parallel.npk") as npk:
        ...     plan = npk.begin("x", 4, "i8")
        ...     plan[:] = np.arange(4)
        ...     plan.commit()
        ...     npk.load("x")
        array([0, 1, 2, 3])
        """
        files, durable = self._opener.open(), self._location.durable
        with files.locked(exclusive=True) as checksums:
            tail = complete(files, self.name, self._entry, checksums, durable=durable)
            entry = self._entry.replace(tail=tail)
            handle = Handle(
                path_of(files.folder),
                mode="r+",
                upgrade=False,
                durable=durable,
                lock_timeout=self._location.lock_timeout,
            )
            handle.open()
            try:
                with handle.write_transaction() as session:
                    commits.put_staged(session, self.name, entry, files)
            finally:
                handle.close(checkpoint=False)
        self._end("committed")

    def abort(self) -> None:
        """Discard everything that was written; do nothing if the parallel write has ended.

        Writes in progress are waited for; later ones raise `WriteEndedError`.

        Examples
        --------
        >>> from numpack import NumPack
        >>> with NumPack("parallel.npk") as npk:
        ...     plan = npk.begin("x", 4, "i8")
        ...     plan.abort()
        ...     plan
        ParallelWrite('x', int64, shape=(4,), aborted)
        """
        if self._ended:
            return
        try:
            files = self._opener.open()
            with files.locked(exclusive=True):
                files.remove()
        except WriteEndedError:
            self._end("ended")
        else:
            self._end("aborted")

    def __enter__(self) -> Self:
        """Return the object itself."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *exc_info: object) -> None:
        """Commit; abort after an exception; do nothing if it has ended in the block."""
        if kind is not None:
            self.abort()
        elif not self._ended:
            self.commit()

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the location of the files; unpickling opens nothing before the first use."""
        return type(self), (self._location._replace(path=self.path),)

    def __repr__(self) -> str:
        """Return name, dtype, shape and state."""
        state = self._ended
        if not state:
            files = self._opener.current
            is_open = files is not None and not files.has_ended()
            state = "open" if is_open else "not opened here" if files is None else "ended"
        dtype = self._entry.dtype_name
        return f"ParallelWrite({quoted(self.name)}, {dtype}, shape={self.shape}, {state})"

    def _end(self, how: str) -> None:
        """Let go of the files."""
        self._ended = how
        self._opener.release()


def begin(session: Session, name: Any, shape: Any, dtype: Any) -> ParallelWrite:
    """Create the files of a parallel write. Requires the store's lock."""
    name, entry = _described(name, shape, dtype)
    folder, token = session.folder, session.log.catalog.token
    remove_abandoned(folder, folder.names(DATA), token)
    files = StagedFiles.create(folder, token, entry.nbytes // BLOCK)
    status = os.fstat(files.data)
    location = Location(
        path_of(folder),
        name,
        files.stem,
        (status.st_dev, status.st_ino),
        boot_id(),
        entry.code,
        entry.stored,
        session.durable,
        folder.lock_timeout,
    )
    return ParallelWrite(location, files)


def _described(name: Any, shape: Any, dtype: Any) -> tuple[str, Entry]:
    """Validate the arguments of `NumPack.begin`."""
    name = checked_name(name)
    try:
        given = np.dtype(dtype)
    except TypeError:
        wrong_type("begin", "a dtype", dtype, "pass array.dtype, or a name such as 'float32'")
    example = np.ndarray((0,), given, buffer=bytes(1))
    extents = (*_checked_extents(shape), *example.shape[1:])  # those of a subarray
    code = encode_dtype(storable_dtype(example))
    try:
        check_size(extents, itemsize(code))
    except InvalidRecordError as error:
        msg = f"an array of shape {extents} and dtype {given} cannot be stored: {error}"
        raise InvalidValueError(msg) from None
    return name, Entry("", code, extents, modified=0)


def _checked_extents(shape: Any) -> tuple[int, ...]:
    given = shape if isinstance(shape, tuple | list) else (shape,)
    try:
        extents = tuple(operator.index(extent) for extent in given)
    except TypeError:
        wrong_type("begin", "a shape: a tuple of integers", shape, "pass array.shape")
    if not extents:
        msg = "a 0-d array has no rows that processes could write; store it with save"
        raise InvalidValueError(msg)
    if len(extents) > MAX_NDIM or min(extents) < 0:
        msg = f"a shape has up to {MAX_NDIM} extents, none of them negative, and not {shape!r}"
        raise InvalidValueError(msg)
    return extents


def _selected(rows: Any, count: int) -> tuple[int, int]:
    """Return the first row of an index, and the one after the last."""
    if isinstance(rows, slice):
        first, stop, step = rows.indices(count)
        if step == 1:
            return first, max(first, stop)
        what = f"a slice with step {step}"
    elif isinstance(rows, bool | np.bool_) or not hasattr(type(rows), "__index__"):
        what = f"{type(rows).__name__}"
    elif not isinstance(rows, np.ndarray) or rows.ndim == 0:
        row = operator.index(rows)
        if not -count <= row < count:
            raise IndexRangeError(f"row {row} is out of range for {count:,} rows")
        return row % count, row % count + 1
    else:
        what = "an array"
    msg = (
        f"a parallel write takes a row number or consecutive rows, plan[first:stop] = values, "
        f"not {what}; write each run of consecutive rows with a call of its own"
    )
    raise InvalidIndexError(msg)
