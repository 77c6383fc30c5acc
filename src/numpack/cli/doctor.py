"""``numpack doctor``: the installed frameworks, and a test of every conversion."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._protocol import FOUND, OK

if TYPE_CHECKING:
    import argparse

    from ._output import Output

HELP = "list the installed frameworks and test all conversions between them"
DESCRIPTION = "The exit status is 1 if memory contradicts what `explain` predicts."
EXAMPLES = """
numpack doctor
numpack doctor --dtype int16 --json
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument(
        "--dtype",
        default="float32",
        help="dtype of the converted array, by its name in NumPy or ml_dtypes (%(default)s)",
    )


def run(options: argparse.Namespace, output: Output) -> int:
    """Examine the frameworks and write the report."""
    from ..doctor import examine  # noqa: PLC0415 -- imports each framework
    from ..doctor.report import to_json, to_text  # noqa: PLC0415

    report = examine(options.dtype)
    if output.as_json:
        output.line(to_json(report))
    else:
        output.line(to_text(report, output.width or 80, with_rich=output.is_rich))
    return FOUND if report.contradictions else OK
