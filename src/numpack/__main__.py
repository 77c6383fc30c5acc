"""The command line: ``numpack doctor``, ``python -m numpack doctor``."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version

from .doctor import examine
from .doctor.report import show, to_json
from .errors import NumpackError


def main(arguments: list[str] | None = None) -> int:
    """Run a command and return the exit status: 1 if `explain` was wrong, 2 for an error."""
    parser = argparse.ArgumentParser(prog="numpack", description="Arrays without copies.")
    parser.add_argument("--version", action="version", version=f"numpack {version('numpack')}")
    commands = parser.add_subparsers(required=True)
    doctor = commands.add_parser(
        "doctor", help="list the installed frameworks and test all conversions between them"
    )
    doctor.add_argument(
        "--dtype",
        default="float32",
        help="dtype of the converted array, by its name in NumPy or ml_dtypes (%(default)s)",
    )
    doctor.add_argument("--json", action="store_true", help="write the report as JSON")
    doctor.set_defaults(run=_doctor)
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except NumpackError as error:
        parser.exit(2, f"numpack: {error}\n")
    return status


def _doctor(options: argparse.Namespace) -> int:
    report = examine(options.dtype)
    if options.json:
        sys.stdout.write(to_json(report) + "\n")
    else:
        show(report)
    return 1 if report.contradictions else 0


if __name__ == "__main__":
    sys.exit(main())
