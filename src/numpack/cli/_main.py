"""`main`: parses the arguments, runs a command, and turns its errors into exit statuses."""

from __future__ import annotations

import argparse
import importlib
import itertools
import sys
import warnings
from typing import TYPE_CHECKING, Any, NoReturn, cast

from ._errors import complain, message_of
from ._output import Output, OutputClosedError
from ._protocol import ERROR, INTERRUPTED, PIPE_CLOSED
from ._text import escaped
from ._wording import worded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from ._protocol import Command

COMMANDS = (
    "ls",
    "show",
    "info",
    "verify",
    "convert",
    "cp",
    "mv",
    "rm",
    "compact",
    "pack",
    "unpack",
    "publish",
    "explain",
    "doctor",
    "bench",
)
_EPILOG = """\
A STORE is a folder, and where it is only read also a package (.npkz) or a URL, such as
s3://bucket/features.npk. `numpack COMMAND --help` shows the options and examples.

exit status: 0 success, 1 something was found, such as damage, 2 an error or wrong usage,
130 interrupted
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        By default those of the process.

    Returns
    -------
    int
        The exit status: 0 if all is well, 1 if something was found, such as damage, 2 for an
        error, 130 after Ctrl-C.

    Raises
    ------
    SystemExit
        The arguments are wrong (status 2), or ask for help or the version.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack import NumPack
    >>> from numpack.cli import main
    >>> with NumPack("features.npk", drop_if_exists=True) as npk:
    ...     npk.save({"x": np.zeros((4, 3), "f4")})
    >>> main(["ls", "features.npk"])
    name  dtype    shape    size
    x     float32  (4, 3)   48 B
    0
    """
    given = sys.argv[1:] if arguments is None else list(arguments)
    options = _parsed(given)
    with warnings.catch_warnings():
        warnings.showwarning = _show_warning
        if not sys.warnoptions:
            warnings.simplefilter("always", UserWarning)  # such as AttributesWarning
        return _run(options)


def command(name: str) -> Command:
    """Import the module of a command."""
    return cast("Command", importlib.import_module(f"{__package__}.{name}"))


def _run(options: argparse.Namespace) -> int:
    if sys.stdout is None:  # such as of `>&-`
        complain("standard output is closed")
        return ERROR
    output = Output(as_json=options.json)
    try:
        status = command(options.command).run(options, output)
        output.flush()
    except OutputClosedError:  # the reader of a pipe has ended, such as `head`
        output.discard()
        return PIPE_CLOSED
    except KeyboardInterrupt:
        complain("interrupted")
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 -- a traceback is of no use in a shell
        complain(message_of(error, options.command))
        return ERROR
    return status


def _parsed(given: Sequence[str]) -> argparse.Namespace:
    """Parse the arguments; options may stand between the others, and `--json` first."""
    if not given:
        parser = _parser()
        parser.print_help(sys.stderr)
        parser.exit(ERROR)
    json = list(itertools.takewhile("--json".__eq__, given))
    name, *others = given[len(json) :] or [""]
    if name not in COMMANDS:
        return _parser().parse_args(given)
    parser = _Parser(prog=f"numpack {name}", **_described(command(name)))
    _add_arguments(parser, command(name))
    return parser.parse_intermixed_args([*json, *others], argparse.Namespace(command=name))


def _parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    parser = _Parser(
        prog="numpack",
        description="Look into stores of arrays, check, convert and publish them.",
        epilog=_EPILOG,
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action=_Version, nargs=0, help="show the version")
    commands = parser.add_subparsers(required=True, dest="command", metavar="COMMAND")
    for name in COMMANDS:
        module = command(name)
        _add_arguments(
            commands.add_parser(name, help=module.HELP, **_described(module)), module
        )
    return parser


def _described(module: Command) -> dict[str, Any]:
    """Return the arguments for the parser of a command."""
    examples = "".join(f"  {line}\n" for line in module.EXAMPLES.strip().splitlines())
    text = f"{module.HELP[0].upper()}{module.HELP[1:]}."
    return {
        "description": f"{text} {module.DESCRIPTION}".strip(),
        "epilog": f"examples:\n{examples}",
        "formatter_class": _HelpFormatter,
        "allow_abbrev": False,
    }


def _add_arguments(parser: argparse.ArgumentParser, module: Command) -> None:
    module.add_arguments(parser)
    parser.add_argument("--json", action="store_true", help="write JSON")


class _Parser(argparse.ArgumentParser):
    """A parser whose errors are in one line, without control characters."""

    def error(self, message: str) -> NoReturn:
        """Write the usage and the error, and exit."""
        self.print_usage(sys.stderr)
        self.exit(ERROR, f"{self.prog}: error: {escaped(message)}\n")


class _Version(argparse.Action):
    """Writes the version, which only then is looked up."""

    def __call__(self, parser: argparse.ArgumentParser, *_: object) -> None:
        from importlib.metadata import version  # noqa: PLC0415

        sys.stdout.write(f"numpack {version('numpack')}\n")
        parser.exit()


class _HelpFormatter(argparse.HelpFormatter):
    """A formatter that wraps the description, and leaves the lines of the examples."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.startswith("examples:"):
            return "".join(f"{indent}{line}" for line in text.splitlines(keepends=True))
        paragraphs = text.split("\n\n")
        return "\n\n".join(
            super(_HelpFormatter, self)._fill_text(each, width, indent) for each in paragraphs
        )


def _show_warning(message: Warning | str, *_: object, **__: object) -> None:
    complain(f"warning: {escaped(worded(str(message)))}")
