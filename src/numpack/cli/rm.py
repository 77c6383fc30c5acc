"""``numpack rm``: arrays out of stores."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import NotFoundError
from ._output import is_terminal
from ._protocol import OK
from ._stores import add_wait, address, is_url, listed, matching, writing
from ._text import escaped, plural, shape, size

if TYPE_CHECKING:
    import argparse

    from ..store import NumPack
    from ..store.reading.inspection import ArraySummary
    from ._output import Output

HELP = "remove arrays from stores"
DESCRIPTION = (
    "On a terminal each array is asked for, unless -f is given. All arrays of a store are "
    "removed in one commit. Processes that have mapped them keep them until they end. The "
    "store itself is a folder: `rm -r` removes it."
)
EXAMPLES = """
numpack rm features.npk:flag
numpack rm -f features.npk:when 'features.npk:tmp*'
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("arrays", nargs="+", metavar="STORE:NAME", help="or a pattern, quoted")
    parser.add_argument(
        "-f",
        "--force",
        action="store_true",
        help="do not ask; ignore arrays and stores that do not exist",
    )
    add_wait(parser)


def run(options: argparse.Namespace, output: Output) -> int:
    """Remove the arrays."""
    asks = not options.force and is_terminal(sys.stdin) and is_terminal(sys.stderr)
    removed = []
    for path, patterns in listed(map(address, options.arrays)).items():
        if options.force and not Path(path).exists() and not is_url(path):
            continue
        with writing(path, options) as store:
            names = _chosen(store, patterns, is_forced=options.force)
            if asks:
                known = store.info().arrays
                names = [name for name in names if _is_confirmed(known[name], path, output)]
            store.drop(names)
        removed += [f"{path}:{name}" for name in names]
    if output.as_json:
        output.json(removed)
    else:
        output.line(f"{plural(len(removed), 'array')} removed")
    return OK


def _chosen(store: NumPack, patterns: list[str], *, is_forced: bool) -> list[str]:
    if not is_forced:
        return matching(store, patterns)
    found: dict[str, None] = {}
    for each in patterns:
        try:
            found.update(dict.fromkeys(matching(store, [each])))
        except NotFoundError:
            continue
    return list(found)


def _is_confirmed(each: ArraySummary, path: str, output: Output) -> bool:
    what = f"{escaped(each.dtype)} {shape(each.shape)}, {size(each.nbytes)}"
    return output.confirm(f"remove {escaped(f'{path}:{each.name}')} ({what})?")
