"""What one sample is: a row, a window of rows, or rows between two offsets."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ...errors import InvalidValueError
from ..kernels.copying import begin_rows
from .remote_rows import are_local, fetch_ahead, local, rows_of
from .rows import consecutive
from .subset import Subset

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from ...store import LazyArray
    from ..kernels.buffers import BufferPool
    from ..kernels.copying import Copy, PlainRows
    from .order import Numbers
    from .rows import Rows

    Arrays = Mapping[str, Array | LazyArray]
    Pools = dict[str, BufferPool]
    Begun: TypeAlias = tuple[dict[str, Any], list[Copy]]  # arrays, and what completes them

CU_SEQLENS = "cu_seqlens"
_INT32_MAX = 2**31 - 1


class RowSamples:
    """Samples that are rows, or windows of consecutive rows.

    Parameters
    ----------
    arrays : mapping of str to LazyArray or ndarray
        Of equal length.
    rows : index or None
        The rows that are samples, or those that windows are taken from, which have to be
        consecutive.
    window, stride : int
        Rows of a window, and from the start of one to that of the next; 0 and 1 without them.

    Attributes
    ----------
    names : tuple of str
        Of the arrays of a batch.
    count : int
        Number of samples.
    """

    def __init__(self, arrays: Arrays, rows: Any, window: int, stride: int) -> None:
        self._arrays = {name: rows_of(array) for name, array in arrays.items()}
        self._plain: dict[str, PlainRows] = {}
        self.prepare()
        self._window, self._stride = window, stride
        first = next(iter(self._arrays.values()))
        self._subset = Subset(rows, first.count)
        self.names = tuple(self._arrays)
        self.count = len(self._subset)
        if window:
            if self._subset.span is None:
                msg = (
                    "Loader(window=) takes windows of consecutive rows, and rows= selects "
                    "others; pass a slice, such as rows=slice(0, 1000)"
                )
                raise InvalidValueError(msg)
            self.count = max(0, (len(self._subset) - window) // stride + 1)

    def prepare(self) -> None:
        """Begin an epoch: arrays may have been fetched from an object store since the last."""
        if len(self._plain) < len(self._arrays):
            plain = {name: array.plain() for name, array in self._arrays.items()}
            self._plain = {name: each for name, each in plain.items() if each is not None}

    @property
    def is_local(self) -> bool:
        """Whether there is nothing to fetch."""
        return are_local(self._arrays)

    def fetch(self, samples: Numbers) -> None:
        """Fetch the rows of some samples that are in an object store."""
        fetch_ahead(self._arrays.values(), self._rows(samples), self._window)

    def begin(self, samples: Numbers, pools: Pools) -> Begun:
        """Return the arrays of some samples, and the copies to be made."""
        rows, arrays = self._rows(samples), {}
        if len(self._plain) == len(self._arrays):
            return begin_rows(self._plain, rows, self._window, pools)
        copies: list[Copy] = []
        for name, array in self._arrays.items():
            arrays[name], copy = array.copy(rows, self._window, pools[name])
            if copy is not None:
                copies.append(copy)
        return arrays, copies

    def request(self, samples: Numbers) -> list[Copy]:
        """Return copies that only request the pages of some samples."""
        rows = self._rows(samples)
        found = [array.request(rows, self._window) for array in self._arrays.values()]
        return [copy for copy in found if copy is not None]

    def views(self, start: int, stop: int, hold: object) -> dict[str, Any] | None:
        """Return consecutive samples as views of files; ``None`` if they must be copied.

        The views keep `hold`.
        """
        span = self._subset.span
        if span is None or self._window:
            return None
        rows = range(span.start + start, span.start + stop)
        found = {
            n: array.view(rows.start, rows.stop, hold) for n, array in self._arrays.items()
        }
        return None if any(each is None for each in found.values()) else found

    def unmap_pages(self) -> None:
        """Let the pages of the arrays no longer count as memory of this process."""
        for array in self._arrays.values():
            array.unmap_pages()

    def selected(self) -> Numbers:
        """Return the numbers of the rows that are selected."""
        return self._subset.rows(np.arange(len(self._subset), dtype=np.int64))

    def to_state(self) -> dict[str, Any]:
        """Return what has to be equal where the order of an epoch is resumed."""
        return {"rows": self._subset.to_state(), "window": [self._window, self._stride]}

    def _rows(self, samples: Numbers) -> Numbers:
        if self._window and self._stride != 1 and self.count > 1:  # else it may exceed int64
            samples = samples * self._stride
        return self._subset.rows(samples)


class RaggedSamples:
    """Samples of consecutive rows between two offsets.

    Parameters
    ----------
    arrays : mapping of str to LazyArray or ndarray
        Those with a row for each sample give that row. All others have the rows that the
        offsets count.
    offsets : LazyArray or ndarray
        Integers, one more than there are samples, not decreasing.
    rows : index or None
        The samples that are selected.
    pad : scalar or None
        What samples are filled up with to the longest one of the batch; ``None`` puts them end
        to end.

    Attributes
    ----------
    names, count
        As of `RowSamples`.
    """

    def __init__(self, arrays: Arrays, offsets: Array | LazyArray, rows: Any, pad: Any) -> None:
        _check_offsets(offsets)
        self._offsets, self._pad = local(offsets), pad
        self._subset = Subset(rows, offsets.shape[0] - 1)
        self.count = len(self._subset)
        total = int(self._offsets[-1])
        self._ragged: dict[str, Rows] = {}
        self._single: dict[str, Rows] = {}
        for name, array in arrays.items():
            kinds = self._kind(name, array.shape[0], total)
            kinds[name] = rows_of(array)
        for name, rows_of_samples in self._ragged.items():
            _check_pad(pad, name, rows_of_samples.dtype)
        self.names = (*self._ragged, *self._single, CU_SEQLENS)
        if CU_SEQLENS in arrays:
            msg = f"the name {CU_SEQLENS!r} is that of the lengths in a batch; rename the array"
            raise InvalidValueError(msg)

    def _kind(self, name: str, count: int, total: int) -> dict[str, Rows]:
        """Return where an array of `count` rows belongs, if the offsets count `total` rows."""
        samples = self._offsets.shape[0] - 1
        if count == total or (count > total and count != samples):
            return self._ragged
        if count == samples:
            return self._single
        msg = (
            f"the array {name!r} has {count:,} rows, and neither one for each of the "
            f"{samples:,} samples nor the {total:,} that the offsets count; leave it out"
        )
        raise InvalidValueError(msg)

    def prepare(self) -> None:
        """Begin an epoch."""

    @property
    def is_local(self) -> bool:
        """Whether there is nothing to fetch."""
        return are_local(self._ragged) and are_local(self._single)

    def fetch(self, samples: Numbers) -> None:
        """Fetch the rows of some samples that are in an object store."""
        rows = self._subset.rows(samples)
        starts, lengths = self._extents(rows)
        fetch_ahead(self._ragged.values(), consecutive(starts, lengths), 0)
        fetch_ahead(self._single.values(), rows, 0)

    def begin(self, samples: Numbers, pools: Pools) -> Begun:
        """Return the arrays of some samples, and the copies to be made."""
        rows, arrays = self._subset.rows(samples), {}
        copies: list[Copy | None] = []
        starts, lengths = self._extents(rows)
        ends = np.cumsum(lengths)
        if len(ends) and ends[-1] > _INT32_MAX:
            msg = f"a batch of {ends[-1]:,} rows is too long for int32; make batch_size smaller"
            raise InvalidValueError(msg)
        for name, array in self._ragged.items():
            out, places = self._output(array, lengths, ends, pools[name])
            arrays[name] = out
            copies.append(array.copy_segments(starts, lengths, places, out))
        for name, array in self._single.items():
            arrays[name], copy = array.copy(rows, 0, pools[name])
            copies.append(copy)
        cumulative = pools[CU_SEQLENS].empty((len(rows) + 1,), np.dtype(np.int32))
        cumulative[0], cumulative[1:] = 0, ends
        arrays[CU_SEQLENS] = cumulative
        return arrays, [copy for copy in copies if copy is not None]

    def request(self, samples: Numbers) -> list[Copy]:
        """Return no copies: pages are requested when the samples are copied."""
        del samples
        return []

    def views(self, start: int, stop: int, hold: object) -> None:
        """Return ``None``: batches are copied."""
        del start, stop, hold

    def unmap_pages(self) -> None:
        """Let the pages of the arrays no longer count as memory of this process."""
        for array in (*self._ragged.values(), *self._single.values()):
            array.unmap_pages()

    def selected(self) -> Numbers:
        """Return the numbers of the rows that are selected."""
        return self._subset.rows(np.arange(len(self._subset), dtype=np.int64))

    def to_state(self) -> dict[str, Any]:
        """Return what has to be equal where the order of an epoch is resumed."""
        return {"rows": self._subset.to_state()}

    def _extents(self, rows: Numbers) -> tuple[Numbers, Numbers]:
        """Return the first rows of some samples, and their lengths."""
        starts = np.asarray(self._offsets[rows]).astype(np.int64)
        stops = np.asarray(self._offsets[rows + 1]).astype(np.int64)
        counts = [array.count for array in self._ragged.values()]
        wrong = (starts < 0) | (stops < starts)
        if counts:
            wrong |= stops > min(counts)
        if wrong.any():
            at = int(np.flatnonzero(wrong)[0])
            msg = (
                f"the offsets of sample {rows[at]:,} are {starts[at]:,} and "
                f"{stops[at]:,}, which is no range of the rows; "
                "offsets have to ascend from 0 to the number of rows"
            )
            raise InvalidValueError(msg)
        return starts, stops - starts

    def _output(
        self, array: Rows, lengths: Numbers, ends: Numbers, pool: BufferPool
    ) -> tuple[Array, Numbers]:
        """Return an array for samples, and where in its rows each of them begins."""
        if self._pad is None:
            total = int(ends[-1]) if len(ends) else 0
            return array.empty((total, *array.shape), pool), ends - lengths
        longest = int(lengths.max()) if len(lengths) else 0
        out = array.empty((len(lengths), longest, *array.shape), pool)
        out[...] = self._pad
        return out, np.arange(len(lengths), dtype=np.int64) * longest


def _check_pad(pad: Any, name: str, dtype: DType) -> None:
    if pad is None:
        return
    try:
        np.empty((), dtype)[...] = pad
    except (OverflowError, TypeError, ValueError) as error:
        msg = f"Loader(pad={pad!r}) does not fit the array {name!r} of {dtype}: {error}"
        raise InvalidValueError(msg) from None


def _check_offsets(offsets: Array | LazyArray) -> None:
    if offsets.ndim != 1 or offsets.dtype.kind not in "iu" or not offsets.shape[0]:
        msg = (
            "Loader(offsets=) takes the name of a 1-d array of integers, one more than there "
            f"are samples; got {offsets.dtype} of shape {offsets.shape}"
        )
        raise InvalidValueError(msg)
