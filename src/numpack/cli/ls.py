"""``numpack ls``: the arrays of a store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._protocol import OK
from ._stores import add_at, add_options, matching, reading
from ._tables import ARRAY_COLUMNS, Column, Table
from ._text import escaped, iso_moment, moment, shape, size

if TYPE_CHECKING:
    import argparse

    from ..store.reading.inspection import ArraySummary
    from ._output import Output

HELP = "list the arrays of a store"
DESCRIPTION = (
    "With -l also the rows that were deleted and still take space, the time of the last "
    "change, and whether the array has checksums. In a pipe nothing is shortened."
)
EXAMPLES = """
numpack ls features.npk
numpack ls -l features.npk 'model/*'
numpack ls -1 features.npk
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", help="folder, package (.npkz) or URL")
    parser.add_argument(
        "names", nargs="*", default=[], metavar="NAME", help="or a pattern, such as 'x*'"
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("-l", "--long", action="store_true", help="all that is known of each")
    form.add_argument("-1", "--names-only", action="store_true", help="one name a line")
    parser.add_argument("-b", "--bytes", action="store_true", help="sizes in bytes")
    parser.add_argument(
        "-S",
        "--sort-size",
        action="store_true",
        help="the largest first, instead of the oldest",
    )
    add_at(parser)
    add_options(parser)


def run(options: argparse.Namespace, output: Output) -> int:
    """List the arrays."""
    with reading(options.store, options) as store:
        arrays = store.info().arrays
        names = matching(store, options.names) if options.names else arrays
        found = [arrays[name] for name in names]
    if options.sort_size:
        found.sort(key=lambda each: -each.nbytes)
    if output.as_json:
        output.json([_as_json(each) for each in found])
    elif options.names_only:
        for each in found:
            output.line(escaped(each.name))
    elif found:
        output.table(_table(found, is_long=options.long, exact=options.bytes))
    return OK


def _table(found: list[ArraySummary], *, is_long: bool, exact: bool) -> Table:
    columns = list(ARRAY_COLUMNS)
    if is_long:
        columns += [
            Column("deleted", right=True, style="yellow"),
            Column("modified", style="dim"),
            Column("checked", style="dim"),
        ]
    table = Table(columns)
    for each in found:
        cells = [escaped(each.name), escaped(each.dtype or "damaged"), shape(each.shape)]
        cells.append(size(each.nbytes, exact=exact))
        if is_long:
            cells += [f"{each.deleted_rows:,}" if each.deleted_rows else ""]
            cells += [moment(each.modified), "yes" if each.has_checksums else "no"]
        table.rows.append(cells)
    return table


def _as_json(each: ArraySummary) -> dict[str, Any]:
    return {
        "name": each.name,
        "dtype": each.dtype,
        "shape": list(each.shape),
        "nbytes": each.nbytes,
        "deleted_rows": each.deleted_rows,
        "deleted_bytes": each.deleted_bytes,
        "modified": iso_moment(each.modified),
        "has_checksums": each.has_checksums,
        "attributes": each.attributes,
        **({"damage": each.damage} if each.damage else {}),
    }
