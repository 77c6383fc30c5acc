"""``numpack compact``: the space of deleted rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._protocol import OK
from ._stores import add_wait, address, matching, writing
from ._text import escaped, plural, size

if TYPE_CHECKING:
    import argparse

    from ._output import Output

HELP = "free the space of deleted rows"
DESCRIPTION = (
    "Arrays with deleted rows are rewritten without them, one commit each; all others are "
    "left alone. An array that is open for writing in place keeps its file."
)
EXAMPLES = """
numpack compact features.npk
numpack compact features.npk:labels
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("addresses", nargs="+", metavar="STORE[:NAME]", help="or a pattern")
    add_wait(parser)


def run(options: argparse.Namespace, output: Output) -> int:
    """Rewrite the arrays that have deleted rows."""
    results = []
    for each in map(address, options.addresses):
        with writing(each.store, options) as store:
            names = matching(store, [each.name]) if each.name else list(store)
            before = store.info()
            for name in names:
                if before.arrays[name].deleted_rows:
                    with output.progress(f"compact {name}") as bar:
                        store.update(name, progress=bar.update)
            after = store.info()
        freed = before.deleted_bytes - after.deleted_bytes
        count = sum(
            before.arrays[name].deleted_rows > after.arrays[name].deleted_rows for name in names
        )
        results.append({"store": each.store, "arrays": count, "freed_bytes": freed})
        if not output.as_json:
            text = f"{plural(count, 'array')} rewritten, {size(freed)} freed"
            output.line(f"{escaped(str(each))}: {text}")
    if output.as_json:
        output.json(results)
    return OK
