"""``numpack mv``: other names for arrays, and arrays from one store to another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._protocol import OK
from ._stores import add_options, add_wait, writing
from ._text import escaped, plural

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from ._output import Output
    from ._stores import Address
    from ._transfer import Transfer

HELP = "rename arrays, or move them to another store"
DESCRIPTION = (
    "Addresses are those of `numpack cp`. Within a store no row is rewritten, and each new "
    "name is one commit. Between stores the arrays are copied in one commit, and then "
    "removed where they were."
)
EXAMPLES = """
numpack mv features.npk:labels features.npk:targets
numpack mv features.npk:targets moved.npk:labels
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("sources", nargs="+", metavar="SOURCE", help="STORE:NAME")
    parser.add_argument("target", metavar="TARGET", help="STORE:NAME, STORE:group/ or STORE")
    parser.add_argument("-f", "--force", action="store_true", help="replace existing arrays")
    add_wait(parser)
    add_options(parser)


def run(options: argparse.Namespace, output: Output) -> int:
    """Move the arrays."""
    from ._transfer import names_in, planned, refuse_existing, target_of  # noqa: PLC0415

    target = target_of(options.target)
    transfers = planned(options.sources, target, options)
    if not options.force:
        refuse_existing(target, transfers, names_in(target.store, options))
    moved = [
        {"from": f"{each.store}:{old}", "to": f"{target.store}:{new}"}
        for each in transfers
        for old, new in each.names.items()
    ]
    _move(transfers, target, options, output)
    if output.as_json:
        output.json(moved)
    else:
        output.line(f"{plural(len(moved), 'array')} moved to {escaped(target.store)}")
    return OK


def _move(
    transfers: Sequence[Transfer], target: Address, options: argparse.Namespace, output: Output
) -> None:
    from ._transfer import copy, is_same  # noqa: PLC0415

    within = [each for each in transfers if is_same(each.store, target.store)]
    others = [each for each in transfers if each not in within]
    for each in within:
        with writing(each.store, options) as store:
            for old, new in each.names.items():
                store.rename(old, new, overwrite=options.force)
    if not others:
        return
    for each in others:  # before anything is copied: a store that is only read raises
        with writing(each.store, options):
            pass
    with output.progress(f"copy to {target.store}") as bar:
        copy(others, target.store, options, bar.update)
    for each in others:
        with writing(each.store, options) as store:
            store.drop(list(each.names))
