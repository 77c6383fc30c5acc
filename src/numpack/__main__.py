"""The command line: ``numpack doctor``, ``python -m numpack publish STORE URL``."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from importlib.metadata import version
from typing import Any

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
    _add_publish(commands)
    options = parser.parse_args(arguments)
    try:
        status: int = options.run(options)
    except NumpackError as error:
        parser.exit(2, f"numpack: {error}\n")
    return status


def _add_publish(commands: Any) -> None:
    publish = commands.add_parser(
        "publish",
        help="write the newest commit of a store to an object store, as far as it changed",
        epilog="Credentials are taken from the environment, such as AWS_ACCESS_KEY_ID and "
        "AWS_SECRET_ACCESS_KEY: other users of this machine see the arguments of a command.",
    )
    publish.add_argument("store", help="the store's folder")
    publish.add_argument("url", help="such as s3://bucket/features.npk")
    publish.add_argument(
        "--overwrite",
        action="store_true",
        help="publish even if another store, or a later commit, is there",
    )
    publish.add_argument(
        "--option",
        action="append",
        default=[],
        type=_option,
        metavar="KEY=VALUE",
        help="of the object store, such as region=eu-west-1; may be repeated; no secrets",
    )
    publish.add_argument("--json", action="store_true", help="write the report as JSON")
    publish.set_defaults(run=_publish)


def _option(text: str) -> tuple[str, Any]:
    """Return the key and the value of an option: a number, true, false, or else a string."""
    key, equals, value = text.partition("=")
    if not key or not equals:
        raise argparse.ArgumentTypeError(f"{text!r} is not KEY=VALUE")
    with contextlib.suppress(ValueError):
        found = json.loads(value)
        if isinstance(found, bool | int | float | dict):
            return key, found
    return key, value


def _publish(options: argparse.Namespace) -> int:
    from .store import NumPack  # noqa: PLC0415 -- as on first use of the package

    with NumPack(options.store, mode="r") as store:
        report = store.publish(
            options.url, storage_options=dict(options.option), overwrite=options.overwrite
        )
    text = json.dumps(report._asdict()) if options.json else str(report)
    sys.stdout.write(f"{text}\n")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    report = examine(options.dtype)
    if options.json:
        sys.stdout.write(to_json(report) + "\n")
    else:
        show(report)
    return 1 if report.contradictions else 0


if __name__ == "__main__":
    sys.exit(main())
