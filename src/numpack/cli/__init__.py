"""The command line: one module for each command, all of one shape.

Imports the whole package; only `__main__` imports it. A command is described by
`_protocol.Command`. Its module imports what it needs when it runs, so that ``numpack --help``
imports no store, framework or rich.
"""

from ._main import main

__all__ = ["main"]
