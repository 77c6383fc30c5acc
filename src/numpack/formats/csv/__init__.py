"""Text: CSV and TSV files of columns, and ``.txt`` files of one array in NumPy's manner.

Source: RFC 4180; the documentation of `pyarrow.csv`, `numpy.loadtxt` and `numpy.savetxt`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict

from ..._core.policy import wrong_type
from ...errors import InvalidValueError
from ..columns.source import ColumnOptions, ColumnSource
from .reading import CsvColumns, CsvLayout, StackedSource
from .text_arrays import TextSource, TextTarget
from .writing import CsvTarget

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .._protocol import ArrayInfo, Source, Target


class ReadOptions(ColumnOptions, total=False):
    """Options of `open_source`; those that CSV alone has are refused for ``.txt``.

    Attributes
    ----------
    delimiter : str
        Between the values of a line; a comma, of ``.tsv`` files a tab, and of ``.txt`` any
        white space.
    header : bool
        Of CSV: whether the first line has the names of the columns.
    names : sequence of str
        Of CSV: names of the columns, instead of those in the file.
    array : str
        Make one 2-D array of that name, whose columns are those of the file; of ``.txt``, the
        name of the array.
    skip_rows : int
        Lines that are skipped at the beginning.
    null_values : sequence of str
        Of CSV: texts that stand for a null, besides an empty one that is not quoted.
    decimal_point : str
        Of CSV: the character before the fraction of a number.
    encoding : str
        Of CSV: of the file, by default UTF-8.
    block_size : int
        Of CSV: bytes that are parsed at once. No line may be longer. By default, types are
        inferred from the first MiB, and the file is parsed in blocks of 512 KiB.
    comments : str
        Of ``.txt``: what begins a comment, ``"#"``.
    """

    delimiter: str
    header: bool
    names: Sequence[str]
    array: str
    skip_rows: int
    null_values: Sequence[str]
    decimal_point: str
    encoding: str
    block_size: int
    comments: str


class WriteOptions(TypedDict, total=False):
    """Options of `create_target`.

    Attributes
    ----------
    delimiter : str
        Between the values of a line; a comma, of ``.tsv`` files a tab, of ``.txt`` a space.
    header : bool
        Of CSV: whether the first line has the names of the columns.
    flatten : bool
        Of CSV: write each value of a row as a column of its own, ``NAME_0``, ``NAME_1`` and so
        on, instead of refusing arrays of several dimensions.
    fmt : str
        Of ``.txt``: the format of a value, as `numpy.savetxt` has it.
    """

    delimiter: str
    header: bool
    flatten: bool
    fmt: str


LABEL = "CSV"
READ_OPTIONS = ReadOptions.__optional_keys__
WRITE_OPTIONS = WriteOptions.__optional_keys__
TOGETHER = True
NEEDS_LENGTHS = False

_OF_TEXT = frozenset({"delimiter", "array", "skip_rows", "comments", "types"})
_TEXT_WRITING = frozenset({"delimiter", "fmt"})
_ONLY_TEXT = frozenset({"comments"}), frozenset({"fmt"})


def open_source(path: Path, /, **options: Any) -> Source:
    """Open a text file; see `Format.open_source` and `ReadOptions`."""
    if _is_text(path):
        _check(options, _OF_TEXT, ".txt")
        return TextSource(path, **options)
    _check(options, READ_OPTIONS - _ONLY_TEXT[0], "CSV")
    columns = {
        name: options.pop(name) for name in ColumnOptions.__optional_keys__ & options.keys()
    }
    array = options.pop("array", None)
    options["delimiter"] = _checked_delimiter(options.get("delimiter"), path)
    layout = CsvLayout(**options)
    types = columns.pop("types", None)
    if types is not None and not hasattr(types, "keys"):
        wrong_type("convert", "types= of CSV as a mapping", types, "pass {'column': 'float64'}")
    file = CsvColumns(path, layout, types)
    try:
        source = ColumnSource(file, **columns)
        return source if array is None else StackedSource(source, array)
    except BaseException:
        file.close()
        raise


def create_target(
    path: Path, arrays: Mapping[str, ArrayInfo], attrs: Mapping[str, Any], /, **options: Any
) -> Target:
    """Begin to write a text file; see `Format.create_target` and `WriteOptions`."""
    if _is_text(path):
        _check(options, _TEXT_WRITING, ".txt")
        return TextTarget(path, arrays, attrs, **options)
    _check(options, WRITE_OPTIONS - _ONLY_TEXT[1], "CSV")
    options["delimiter"] = _checked_delimiter(options.get("delimiter"), path)
    return CsvTarget(path, arrays, attrs, **options)


def _is_text(path: Path) -> bool:
    return path.suffix.lower() == ".txt"


def _checked_delimiter(given: Any, path: Path) -> str:
    """Return a delimiter that can be told from quotes and the ends of lines."""
    if given is None:
        return "\t" if path.suffix.lower() == ".tsv" else ","
    if not isinstance(given, str) or len(given) != 1:
        wrong_type("convert", "one character as delimiter", given, "pass ','")
    if not given.isascii() or given in '\0\n\r"':
        msg = f"delimiter={given!r} does not divide the values of CSV; pass a character as ','"
        raise InvalidValueError(msg)
    return given


def _check(options: Mapping[str, Any], known: frozenset[str], label: str) -> None:
    for name in options:
        if name not in known:
            msg = (
                f"{label} files have no option {name!r}; theirs are: {', '.join(sorted(known))}"
            )
            raise InvalidValueError(msg)
    header = options.get("header", True)
    if header not in (True, False):
        msg = f"header must be True or False, which {header!r} is not"
        raise InvalidValueError(msg)
