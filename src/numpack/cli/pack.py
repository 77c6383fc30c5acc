"""``numpack pack``: one file of a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ._errors import UsageError
from ._protocol import OK
from ._stores import add_options, reading
from ._text import escaped, size

if TYPE_CHECKING:
    import argparse

    from ._output import Output

HELP = "write the newest commit of a store to one file, which is read in place"
DESCRIPTION = (
    "The package is a ZIP archive, named .npkz, that NumPack and all commands that read a "
    "store map without unpacking it. It replaces a file of the same name when it is complete."
)
EXAMPLES = """
numpack pack features.npk
numpack ls features.npkz
numpack pack features.npk small.npkz --compress zstd
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", help="folder or URL")
    parser.add_argument("package", nargs="?", help="file to write; STORE.npkz by default")
    parser.add_argument(
        "--compress",
        choices=["zstd"],
        help="for transport alone: the package has to be unpacked to be read",
    )
    add_options(parser)


def run(options: argparse.Namespace, output: Output) -> int:
    """Write the package."""
    from ..formats.packages import pack  # noqa: PLC0415 -- imports the store
    from ._packages import described  # noqa: PLC0415

    if options.package is None and options.store.endswith(".npkz"):
        msg = f"{options.store} is a package already; name the file to write: PACKAGE"
        raise UsageError(msg)
    with (
        output.progress(f"pack {options.store}") as bar,
        reading(options.store, options) as store,
    ):
        path = pack(store, options.package, compress=options.compress, progress=bar.update)
    if output.as_json:
        output.json(described(path))
    else:
        output.line(f"{escaped(path)}: {size(Path(path).stat().st_size)}")
    return OK
