"""The interface of a file format: the names that each module of this package provides.

The modules themselves implement these protocols, and mypy checks each one against them in
``tests/typing/check_formats.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from .._core.dtypes import DType
    from .._core.memory import Array

Part: TypeAlias = "dict[str, Array]"
"""The next rows of one or more arrays, by name; a 0-d array comes as a whole."""


class ArrayInfo(NamedTuple):
    """What is known of an array before its rows are read.

    Attributes
    ----------
    dtype : dtype
        Of NumPy or ml_dtypes. An array of objects is refused if it is chosen.
    shape : tuple of int or None
        The number of rows is ``None`` where only reading all of them tells it.
    attrs : mapping
        Attributes of the array, as JSON has them.
    """

    dtype: DType
    shape: tuple[int | None, ...]
    attrs: Mapping[str, Any] = {}


class Source(Protocol):
    """What arrays are read from, a part at a time: an open file, a store, or an object.

    Attributes
    ----------
    arrays : mapping of str to ArrayInfo
        In the order of the file.
    attrs : mapping
        Attributes of the file as a whole.
    nbytes : int or None
        What `Format.open_source` reads if it reads all arrays, for the progress.
    """

    @property
    def arrays(self) -> Mapping[str, ArrayInfo]: ...

    @property
    def attrs(self) -> Mapping[str, Any]: ...

    def parts(self, names: Sequence[str], *, together: bool) -> Iterator[Part]:
        """Read arrays, a part at a time.

        Parameters
        ----------
        names : sequence of str
            Of arrays of the source.
        together : bool
            Whether each part has to hold the same rows of all the arrays, which then have
            equal lengths.

        Yields
        ------
        dict of str to ndarray
            About `PART_BYTES` in all, or the smallest piece of the format that is larger, such
            as a row group. The rows of each array come in order. An array without rows comes
            once, in a part that has no rows of it. The memory may be used again for the next
            part.

        Raises
        ------
        InvalidValueError
            The file is damaged, or holds what arrays cannot.
        """

    def close(self) -> None:
        """Release the file."""


class Target(Protocol):
    """A file that is being written. Its path has nothing of it before `commit` returns."""

    def write(self, part: Part) -> None:
        """Write the next rows of one or more arrays."""

    def commit(self) -> None:
        """Complete the file, and give it its name."""

    def abort(self) -> None:
        """Remove what was written; do nothing after `commit`."""


class Format(Protocol):
    """A module for one file format, which is read, written, or both.

    Attributes
    ----------
    LABEL : str
        The format's name in messages.
    READ_OPTIONS, WRITE_OPTIONS : frozenset of str
        Names of the keyword options of `open_source` and `create_target`:
        ``ReadOptions.__optional_keys__`` of the `TypedDict` that declares them.
    TOGETHER : bool
        Whether a file has the same number of rows of all its arrays, so that each part that is
        written has to hold the same rows of all of them.
    NEEDS_LENGTHS : bool
        Whether `create_target` has to be told the number of rows of each array.
    SEQUENTIAL : bool, optional
        Whether all rows of an array have to be written before those of the next one. Such a
        format needs lengths. False by default.
    """

    LABEL: str
    TOGETHER: bool
    NEEDS_LENGTHS: bool

    @property
    def READ_OPTIONS(self) -> frozenset[str]: ...  # noqa: N802

    @property
    def WRITE_OPTIONS(self) -> frozenset[str]: ...  # noqa: N802

    def open_source(self, path: Path, /, *args: Any, **options: Any) -> Source:
        """Open a file for reading.

        Raises
        ------
        InvalidValueError
            It is not of this format, damaged, or not safe to read.
        OSError
            It cannot be opened.
        """

    def create_target(
        self,
        path: Path,
        arrays: Mapping[str, ArrayInfo],
        attrs: Mapping[str, Any],
        /,
        *args: Any,
        **options: Any,
    ) -> Target:
        """Begin to write a file, which replaces one of the same path when it is complete.

        Raises
        ------
        UnsupportedError
            The format cannot hold one of the arrays; nothing has been written.
        """
