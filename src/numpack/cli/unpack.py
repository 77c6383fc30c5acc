"""``numpack unpack``: a store of a package."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._protocol import OK
from ._tables import ARRAY_COLUMNS, Table
from ._text import escaped, plural, shape, size

if TYPE_CHECKING:
    import argparse

    from ._output import Output

HELP = "make a store of a package"
DESCRIPTION = (
    "Every block is checked against its checksum. Names that leave the folder, damage and "
    "archives that are larger than they claim are refused, and nothing is left of them."
)
EXAMPLES = """
numpack pack features.npk
numpack unpack --list features.npkz
numpack unpack features.npkz unpacked.npk
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("package", help="a file named .npkz")
    parser.add_argument("store", nargs="?", help="new or empty folder; PACKAGE.npk by default")
    parser.add_argument(
        "-l", "--list", action="store_true", help="show what is in the package; unpack nothing"
    )
    parser.add_argument(
        "--max-bytes",
        type=int,
        metavar="N",
        help="refuse a package of more bytes; by default, what is free on the disk",
    )


def run(options: argparse.Namespace, output: Output) -> int:
    """Unpack the package, or show what is in it."""
    from ..formats.packages import package_info, unpack  # noqa: PLC0415 -- imports the store

    if options.list:
        return _list(options, output)
    with output.progress(f"unpack {options.package}") as bar:
        path = unpack(
            options.package, options.store, max_bytes=options.max_bytes, progress=bar.update
        )
    count = package_info(options.package)["total_arrays"]
    if output.as_json:
        output.json({"store": path, "arrays": count})
    else:
        output.line(f"{escaped(path)}: {plural(count, 'array')}")
    return OK


def _list(options: argparse.Namespace, output: Output) -> int:
    from ._packages import described  # noqa: PLC0415

    found = described(options.package)
    if output.as_json:
        output.json(found)
        return OK
    arrays = found["arrays"]
    nbytes = sum(each["nbytes"] for each in arrays)
    output.heading(escaped(str(options.package)))
    output.pairs(
        [
            ("commits", f"{found['commit']:,}"),
            ("arrays", f"{len(arrays):,}, {size(nbytes)}"),
            ("package", size(found["nbytes"])),
            ("compressed", found["compress"] or "no: it is read in place"),
        ]
    )
    if arrays:
        cells = [
            [
                escaped(each["name"]),
                escaped(each["dtype"]),
                shape(each["shape"]),
                size(each["nbytes"]),
            ]
            for each in arrays
        ]
        output.table(Table(ARRAY_COLUMNS, cells))
    return OK
