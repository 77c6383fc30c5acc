"""The command line: ``numpack doctor``, ``python -m numpack doctor``."""

from __future__ import annotations

import argparse
import sys
from importlib.metadata import version

from .doctor import examine
from .doctor.matrix import page
from .doctor.report import show, to_json
from .errors import NumpackError


def main(arguments: list[str] | None = None) -> int:
    """Run a command, and give the exit status: 1 if something is wrong, 2 for a wrong call."""
    parser = argparse.ArgumentParser(prog="numpack", description="Arrays without copies.")
    parser.add_argument("--version", action="version", version=f"numpack {version('numpack')}")
    commands = parser.add_subparsers(required=True)
    doctor = commands.add_parser(
        "doctor", help="say what is installed, and probe every hand-over between it"
    )
    doctor.add_argument(
        "--dtype",
        default="float32",
        help="of the array that is handed over, as NumPy or ml_dtypes calls it (%(default)s)",
    )
    doctor.add_argument("--json", action="store_true", help="write all that was found as JSON")
    doctor.set_defaults(run=_doctor)
    matrix = commands.add_parser(
        "matrix", help="write what is shared, dtype by layout by framework, as Markdown"
    )
    matrix.set_defaults(run=_matrix)
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


def _matrix(_options: argparse.Namespace) -> int:
    sys.stdout.write(page())
    return 0


if __name__ == "__main__":
    sys.exit(main())
