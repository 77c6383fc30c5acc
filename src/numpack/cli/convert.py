"""``numpack convert``: a file into a store, a store into a file, or one into another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._errors import UsageError
from ._protocol import OK
from ._stores import key_value, old_new
from ._text import escaped

if TYPE_CHECKING:
    import argparse

    from ._output import Output

HELP = "convert files and stores to other formats"
DESCRIPTION = (
    "The suffixes name the formats. Rows are streamed, so that neither needs to fit in "
    "memory, and the target appears, or is replaced, when it is complete. Values and dtypes "
    "are kept; what a format cannot hold is refused before anything is written."
)
EXAMPLES = """
numpack convert features.npk x.npy --array x
numpack convert x.npy other.npk --rename x=y --dtype float16
numpack convert x.npy features.npk --append
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("source", help="file, or store: a folder, a package or a URL")
    parser.add_argument("target", help="file or store")
    parser.add_argument("-f", "--from", dest="read", metavar="FORMAT", help="of the source")
    parser.add_argument("-t", "--to", dest="written", metavar="FORMAT", help="of the target")
    parser.add_argument(
        "-a",
        "--array",
        action="append",
        metavar="NAME",
        help="an array or column to convert, instead of all; may be repeated",
    )
    parser.add_argument(
        "--rename",
        action="append",
        default=[],
        type=old_new,
        metavar="OLD=NEW",
        help="another name for an array; may be repeated",
    )
    parser.add_argument(
        "--dtype",
        action="append",
        default=[],
        metavar="[NAME=]DTYPE",
        help="cast all arrays, or one; may be repeated",
    )
    parser.add_argument(
        "--append", action="store_true", help="append the rows to the arrays of a store"
    )
    parser.add_argument("--no-attrs", action="store_true", help="leave attributes out")
    parser.add_argument(
        "--option",
        action="append",
        default=[],
        type=key_value,
        metavar="KEY=VALUE",
        help="of one of the formats, such as nulls=mask or compression=zstd; VALUE is JSON or "
        """text: header=false, shape=[-1,10], types={"price":"float32"}; may be repeated""",
    )


def run(options: argparse.Namespace, output: Output) -> int:
    """Convert the source to the target."""
    from ..formats import convert  # noqa: PLC0415 -- imports the store

    with output.progress(f"convert {options.source}") as bar:
        convert(
            options.source,
            options.target,
            format=_formats(options),
            arrays=options.array,
            rename=dict(options.rename) or None,
            dtype=_dtypes(options.dtype),
            attrs=not options.no_attrs,
            append=options.append,
            progress=bar.update,
            **dict(options.option),
        )
    if output.as_json:
        output.json({"source": options.source, "target": options.target})
    else:
        output.line(f"{escaped(options.source)} -> {escaped(options.target)}")
    return OK


def _formats(options: argparse.Namespace) -> tuple[str | None, str | None] | None:
    if options.read is None and options.written is None:
        return None
    return options.read, options.written


def _dtypes(given: list[str]) -> Any:
    """Return the dtype for all arrays, or those by name; ``None`` for none."""
    by_name = dict(each.rsplit("=", 1) for each in given if "=" in each)
    plain = [each for each in given if "=" not in each]
    if plain and (by_name or len(plain) > 1):
        msg = "--dtype is given once for all arrays, or once for each as NAME=DTYPE"
        raise UsageError(msg)
    return plain[0] if plain else by_name or None
