"""Every command implements the protocol of `numpack.cli._protocol`.

Checked by mypy, never run. `tests/cli/test_errors.py` finds commands that are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpack.cli import (
    bench,
    compact,
    convert,
    cp,
    doctor,
    explain,
    info,
    ls,
    mv,
    pack,
    publish,
    rm,
    show,
    unpack,
    verify,
)

if TYPE_CHECKING:
    from numpack.cli._protocol import Command

COMMANDS: tuple[Command, ...] = (
    bench,
    compact,
    convert,
    cp,
    doctor,
    explain,
    info,
    ls,
    mv,
    pack,
    publish,
    rm,
    show,
    unpack,
    verify,
)
