"""``numpack verify``: the blocks of stores against their checksums."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..errors import CorruptStoreError, NumpackError
from ._errors import complain, message_of
from ._protocol import ERROR, FOUND, OK
from ._stores import add_options, reading
from ._text import escaped

if TYPE_CHECKING:
    import argparse

    from ..store.reading.verify import VerifyReport
    from ._output import Output

HELP = "check every block of stores against its checksum"
DESCRIPTION = (
    "All stores are checked, and the damaged rows are listed. The exit status is 2 if a store "
    "could not be read, and else 1 if anything is damaged."
)
EXAMPLES = """
numpack verify features.npk
numpack verify --json features.npk other.npk
"""


_NOTHING: dict[str, Any] = {
    "ok": False,
    "blocks": 0,
    "nbytes": 0,
    "unchecked": [],
    "damaged": [],
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("stores", nargs="+", metavar="STORE", help="folder, package or URL")
    parser.add_argument(
        "-q", "--quiet", action="store_true", help="write damage and errors only"
    )
    add_options(parser)


def run(options: argparse.Namespace, output: Output) -> int:
    """Check the stores, one after the other."""
    status, results = OK, []
    for path in options.stores:
        try:
            found, text = _checked(path, options, output)
        except (NumpackError, OSError) as error:
            text = message_of(error)
            found = {**_NOTHING, "error": text}
            output.flush()
            complain(f"{escaped(path)}: {text}")
            status = ERROR
        else:
            if not found["ok"]:
                status = max(status, FOUND)
            if not output.as_json and not (options.quiet and found["ok"]):
                first, *others = text.splitlines()
                output.line(f"{escaped(path)}: {escaped(first)}")
                for line in others:
                    output.line(escaped(line))
        results.append({"store": path, **found})
    if output.as_json:
        output.json(results)
    return status


def _checked(
    path: str, options: argparse.Namespace, output: Output
) -> tuple[dict[str, Any], str]:
    """Return what was found in a store, for JSON and as text."""
    try:
        with output.progress(f"verify {path}") as bar, reading(path, options) as store:
            report = store.verify(bar.update)
    except CorruptStoreError as error:  # so damaged that it cannot be opened
        damage = {"array": "", "block": None, "rows": [0, 0], "what": str(error)}
        return {**_NOTHING, "damaged": [damage]}, message_of(error)
    return _as_json(report), str(report)


def _as_json(report: VerifyReport) -> dict[str, Any]:
    return {
        "ok": report.ok,
        "blocks": report.blocks,
        "nbytes": report.nbytes,
        "unchecked": report.unchecked,
        "damaged": [
            {
                "array": each.array,
                "block": each.block if each.block >= 0 else None,
                "rows": [each.rows.start, each.rows.stop],
                "what": each.what,
            }
            for each in report.damaged
        ],
    }
