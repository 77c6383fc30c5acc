"""Text files of one array, a row a line, in the manner of `numpy.loadtxt` and `savetxt`."""

from __future__ import annotations

import contextlib
import itertools
from typing import TYPE_CHECKING, Any

import numpy as np

from ..._core import dtypes
from ...adapters._safetensors_header import open_regular
from ...errors import InvalidValueError, UnsupportedError
from ...store.checks import checked_name
from ...store.format.naming import listed
from .._protocol import ArrayInfo
from ..common.new_files import NewFile
from ..common.refusals import unsupported_array, warn_of_attributes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path
    from typing import TextIO

    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from .._protocol import Part

_LABEL = "a .txt file"
_BLOCK_BYTES = 2 << 20  # of values; their text takes several times as much
_MAX_LINES = 1 << 16  # that are parsed at once
_MAX_LINE = 64 << 20  # characters


class TextSource:
    """The array of a text file; see `Source`.

    Parameters
    ----------
    path : Path
    array : str, optional
        The name of the array, by default that of the file without its suffix.
    types : dtype, optional
        Of the values, by default float64, as `numpy.loadtxt` has it.
    delimiter, comments, skip_rows
        See `csv.ReadOptions`.
    """

    def __init__(
        self,
        path: Path,
        *,
        array: str | None = None,
        types: Any = np.float64,
        delimiter: str | None = None,
        comments: str | None = "#",
        skip_rows: int = 0,
    ) -> None:
        self._path, self._skip = path, skip_rows
        self._delimiter, self._comments = delimiter, comments
        self._dtype = _checked_dtype(types)
        self._name = checked_name(path.stem if array is None else array)
        self._columns: int | None = None  # values of a line
        first = next(self._blocks(1), None)
        self._columns = 0 if first is None else first.shape[1]
        self._cell = () if self._columns == 1 else (self._columns,)
        self.arrays = {self._name: ArrayInfo(self._dtype, (None, *self._cell))}
        self.attrs: Mapping[str, Any] = {}
        self.nbytes: int | None = path.stat().st_size

    def parts(self, names: Sequence[str], *, together: bool) -> Iterator[Part]:  # noqa: ARG002
        """Read the array, a part at a time; see `Source.parts`."""
        if not names:
            return
        width = max(1, int(np.prod(self._cell)) * self._dtype.itemsize)
        empty = True
        for rows in self._blocks(max(1, min(_BLOCK_BYTES // width, _MAX_LINES))):
            empty = False
            yield {self._name: rows.reshape(len(rows), *self._cell)}
        if empty:
            yield {self._name: np.empty((0, *self._cell), self._dtype)}

    def close(self) -> None:
        """Do nothing: the file is open only while it is read."""

    def _blocks(self, count: int) -> Iterator[Array]:
        """Parse so many lines at a time."""
        with open(open_regular(self._path), encoding="utf-8") as file:  # noqa: PTH123
            try:
                lines = itertools.islice(_lines(file), self._skip, None)
                while block := list(itertools.islice(lines, count)):
                    if not (rows := self._parse(block)).size:
                        continue
                    yield rows
            except UnicodeDecodeError as error:
                msg = f"{self._path} is not text: {error}; name its format with format="
                raise InvalidValueError(msg) from error

    def _parse(self, lines: list[str]) -> Array:
        if not any(map(self._has_values, lines)):
            return np.empty((0, 0), self._dtype)  # of which loadtxt would warn
        try:
            rows: Array = np.loadtxt(
                lines, self._dtype, self._comments, self._delimiter, ndmin=2
            )
        except (ValueError, OverflowError, TypeError) as error:
            msg = (
                f"{self._path} is not a table of {self._dtype}: {error}; check types=, "
                "delimiter=, comments= and skip_rows=, or read it with format='csv'"
            )
            raise InvalidValueError(msg) from error
        if self._columns not in (None, rows.shape[1]):
            msg = (
                f"{self._path} has lines of {rows.shape[1]} values after lines of "
                f"{self._columns}; all need the same number"
            )
            raise InvalidValueError(msg)
        return rows

    def _has_values(self, line: str) -> bool:
        return bool((line.partition(self._comments)[0] if self._comments else line).strip())


def _lines(file: TextIO) -> Iterator[str]:
    while line := file.readline(_MAX_LINE):
        if len(line) == _MAX_LINE:
            msg = f"{file.name} has a line of more than {_MAX_LINE:,} characters"
            raise InvalidValueError(msg)
        yield line


def _checked_dtype(given: Any) -> DType:
    try:
        dtype: DType = np.dtype(given)
    except TypeError as error:
        msg = f"types={given!r} of a .txt file is no dtype; pass one such as 'int64'"
        raise InvalidValueError(msg) from error
    if dtype.kind not in "biufc" or dtypes.is_extension(dtype):
        msg = f"a .txt file holds numbers, not {dtype}; read it with format='csv'"
        raise InvalidValueError(msg)
    return dtype


class TextTarget:
    """A text file that is being written; see `Target`."""

    def __init__(
        self,
        path: Path,
        arrays: Mapping[str, ArrayInfo],
        attrs: Mapping[str, Any],
        *,
        delimiter: str = " ",
        fmt: str | None = None,
    ) -> None:
        if len(arrays) != 1:
            msg = (
                f"a .txt file holds one array, not {len(arrays):,}: {listed(arrays)}; choose "
                "one with arrays=[name], or write a .csv file"
            )
            raise UnsupportedError(msg)
        [(self._name, info)] = arrays.items()
        self._shape, self._rows = info.shape, 0
        _require_rows_of_numbers(self._name, info)
        warn_of_attributes(arrays, attrs, _LABEL)
        self._delimiter, self._format = delimiter, fmt or _format(info.dtype)
        self._new = NewFile(path)
        try:
            self._file = self._new.path.open("x", encoding="utf-8")
        except BaseException:
            self._new.abort()
            raise

    def write(self, part: Part) -> None:
        """Write the next lines."""
        rows = part[self._name]
        self._rows += len(rows)
        if rows.dtype.kind == "b":
            rows = rows.view(np.uint8)
        try:
            np.savetxt(self._file, rows, self._format, self._delimiter)
        except (TypeError, ValueError) as error:
            msg = f"fmt={self._format!r} is no format of {rows.dtype}: {error}"
            raise InvalidValueError(msg) from error

    def commit(self) -> None:
        """Complete the file."""
        if not self._rows:
            raise _without_rows(self._name, self._shape)
        self._file.close()
        self._new.commit()

    def abort(self) -> None:
        """Remove what was written."""
        with contextlib.suppress(OSError):
            self._file.close()
        self._new.abort()


def _require_rows_of_numbers(name: str, info: ArrayInfo) -> None:
    if info.dtype.kind not in "biufc" or dtypes.is_extension(info.dtype):
        reason, fix = "it is numbers in text", "write a .csv or .parquet file"
        raise unsupported_array(name, str(info.dtype), _LABEL, reason, fix)
    if len(info.shape) not in (1, 2) or 0 in info.shape[1:]:
        reason = "a line is a row of numbers"
        fix = "write a .npy file, or give it one or two dimensions"
        raise unsupported_array(name, f"of shape {info.shape}", _LABEL, reason, fix)
    if info.shape[0] == 0:
        raise _without_rows(name, info.shape)


def _without_rows(name: str, shape: tuple[int | None, ...]) -> UnsupportedError:
    reason = "only its lines tell the shape"
    return unsupported_array(name, f"of shape {shape}", _LABEL, reason, "write a .npy file")


def _format(dtype: DType) -> str:
    """Return savetxt's format of a dtype, with all digits."""
    return "%d" if dtype.kind in "biu" else "%.18e"
