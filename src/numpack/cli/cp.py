"""``numpack cp``: arrays within a store, and from one store to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._protocol import OK
from ._stores import add_options, add_wait
from ._text import escaped, plural

if TYPE_CHECKING:
    import argparse

    from ._output import Output

HELP = "copy arrays within a store, or between stores"
DESCRIPTION = (
    "An address is STORE:NAME, where the name may be a pattern; a STORE alone has all "
    "arrays. A TARGET without a name keeps the names, and STORE:group/ puts group/ before "
    "them. Attributes are copied too. The rows are streamed, and the target has all of them "
    "in one commit, or nothing."
)
EXAMPLES = """
numpack cp features.npk:x features.npk:x2
numpack cp features.npk:x features.npk:labels copy.npk
numpack cp 'features.npk:model/*' copy.npk:old/
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="STORE:NAME or STORE")
    parser.add_argument("target", metavar="TARGET", help="STORE:NAME, STORE:group/ or STORE")
    parser.add_argument("-f", "--force", action="store_true", help="replace existing arrays")
    add_wait(parser)
    add_options(parser)


def run(options: argparse.Namespace, output: Output) -> int:
    """Copy the arrays."""
    from ._transfer import copy, names_in, planned, refuse_existing, target_of  # noqa: PLC0415

    target = target_of(options.target)
    transfers = planned(options.sources, target, options)
    taken = names_in(target.store, options)
    if not options.force:
        refuse_existing(target, transfers, taken)
    with output.progress(f"copy to {target.store}") as bar:
        copy(transfers, target.store, options, bar.update)
    copied = [
        {"from": f"{each.store}:{old}", "to": f"{target.store}:{new}"}
        for each in transfers
        for old, new in each.names.items()
    ]
    if output.as_json:
        output.json(copied)
    else:
        output.line(f"{plural(len(copied), 'array')} copied to {escaped(target.store)}")
    return OK
