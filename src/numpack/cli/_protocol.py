"""The interface of a command: the names that each module of this package provides.

The modules themselves implement this protocol, and mypy checks each one against it in
``tests/typing/check_commands.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    import argparse

    from ._output import Output

OK, FOUND, ERROR = 0, 1, 2
"""Exit statuses: success; something was found, such as damage; an error, or wrong usage."""
INTERRUPTED, PIPE_CLOSED = 130, 141
"""Exit statuses as shells report them: of SIGINT (Ctrl-C), and of SIGPIPE."""


class Command(Protocol):
    """A module for one command, which has the command's name.

    Attributes
    ----------
    HELP : str
        What the command does, in one line without a full stop.
    DESCRIPTION : str
        Further sentences for ``--help``; may be empty.
    EXAMPLES : str
        Command lines, one a line; the tests run them.
    """

    HELP: str
    DESCRIPTION: str
    EXAMPLES: str

    def add_arguments(self, parser: argparse.ArgumentParser, /) -> None:
        """Declare the arguments of the command."""

    def run(self, options: argparse.Namespace, output: Output, /) -> int:
        """Run the command and return the exit status.

        Parameters
        ----------
        options : argparse.Namespace
            The arguments, and ``json``, whether output is JSON.
        output : Output

        Raises
        ------
        NumpackError, OSError
            Reported in one line, with exit status 2.
        """
