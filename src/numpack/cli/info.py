"""``numpack info``: the format, the sizes and the lock of a store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ._protocol import OK
from ._stores import add_at, add_options, is_url, reading
from ._text import escaped, iso_moment, moment, size
from ._wording import worded

if TYPE_CHECKING:
    import argparse

    from ..store.reading.inspection import StoreInfo
    from ._output import Output

HELP = "show the format, commits, sizes and lock of a store"
DESCRIPTION = (
    "Deleted rows take space until `numpack compact`; files that no commit names are removed "
    "by the next writer, unless a parallel write is in progress."
)
EXAMPLES = """
numpack info features.npk
numpack info features.npk --json
"""

_OF_FOLDERS = ("orphaned_bytes", "other_bytes", "parallel_writes", "lock_holders")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", help="folder, package (.npkz) or URL")
    parser.add_argument("-b", "--bytes", action="store_true", help="sizes in bytes")
    add_at(parser)
    add_options(parser)


def run(options: argparse.Namespace, output: Output) -> int:
    """Show the description."""
    with reading(options.store, options) as store:
        found, attributes = store.info(), dict(store.attrs.store)
    is_folder = not is_url(options.store) and Path(options.store).is_dir()
    is_folder = is_folder and found.format == "numpack"  # otherwise nothing else is counted
    if output.as_json:
        output.json(_as_json(found, attributes, is_folder=is_folder))
        return OK
    output.heading(escaped(options.store))
    rows = _rows(found, exact=options.bytes, is_folder=is_folder)
    output.pairs(rows)
    if attributes:
        output.line("attributes")
        output.pairs(
            [(f"  {escaped(key)}", escaped(repr(attributes[key]))) for key in attributes]
        )
    return OK


def _rows(found: StoreInfo, *, exact: bool, is_folder: bool) -> list[tuple[str, str]]:
    version = f", version {found.version}" if found.version else ""
    changed = "" if found.modified is None else f", last change {moment(found.modified)}"
    rows = [
        ("format", f"{found.format}{version}"),
        ("path", escaped(found.path)),
        ("commits", f"{found.commit:,}{changed}"),
        ("arrays", f"{len(found.arrays):,}"),
        ("live", size(found.live_bytes, exact=exact)),
        ("deleted rows", size(found.deleted_bytes, exact=exact)),
    ]
    if is_folder:
        rows += [
            ("unnamed files", size(found.orphaned_bytes, exact=exact)),
            ("log, checksums", size(found.other_bytes, exact=exact)),
            ("lock", _lock(found)),
        ]
    if found.parallel_writes:
        rows.append(("parallel writes", f"{found.parallel_writes:,}, not committed"))
    if found.open_in_place:
        names = ", ".join(map(escaped, found.open_in_place))
        rows.append(("written in place", f"{names}: without checksums"))
    return rows


def _lock(found: StoreInfo) -> str:
    if found.lock_holders is None:
        return "this system does not tell who holds it"
    holders = [
        f"{'held' if each.writes else 'shared'} by {escaped(str(each))}"
        for each in found.lock_holders
    ]
    return "; ".join(holders) or "free: nobody is writing"


def _as_json(
    found: StoreInfo, attributes: dict[str, Any], *, is_folder: bool
) -> dict[str, Any]:
    holders = found.lock_holders
    described = {
        **found._asdict(),
        "read_only": worded(found.read_only),
        "modified": None if found.modified is None else iso_moment(found.modified),
        "arrays": len(found.arrays),
        "attributes": attributes,
        "lock_holders": None if holders is None else [each._asdict() for each in holders],
    }
    hidden = () if is_folder else _OF_FOLDERS
    return {key: value for key, value in described.items() if key not in hidden}
