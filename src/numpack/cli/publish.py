"""``numpack publish``: the newest commit of a store to an object store."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ._protocol import OK
from ._stores import add_options, reading

if TYPE_CHECKING:
    import argparse

    from ._output import Output

HELP = "write the newest commit of a store to an object store, as far as it changed"
DESCRIPTION = (
    "Credentials are taken from the environment, such as AWS_ACCESS_KEY_ID and "
    "AWS_SECRET_ACCESS_KEY: other users of this machine see the arguments of a command."
)
EXAMPLES = """
numpack publish features.npk "file://$PWD/published.npk"
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the arguments."""
    parser.add_argument("store", help="the store's folder")
    parser.add_argument("url", help="such as s3://bucket/features.npk")
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="publish even if another store, or a later commit, is there",
    )
    add_options(parser)


def run(options: argparse.Namespace, output: Output) -> int:
    """Publish the store."""
    with (
        output.progress(f"publish {options.store}") as bar,
        reading(options.store, options) as store,
    ):
        report = store.publish(
            options.url,
            storage_options=dict(options.option),
            overwrite=options.overwrite,
            progress=bar.update,
        )
    if output.as_json:
        output.json(report._asdict())
    else:
        output.line(str(report))
    return OK
