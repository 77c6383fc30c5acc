"""Conversions in a process whose memory is limited, or that is killed in the middle."""

from __future__ import annotations

import json
import os
import resource
import signal
from pathlib import Path
from typing import Any

import numpack

MIB = 1 << 20
# The file that is streamed. 2 GB take minutes, so that only a variable asks for them.
LARGE = int(os.environ.get("FORMATS_BYTES", 96 * MIB))
KILLED = min(LARGE, 32 * MIB)  # several parts, after the second of which the process is killed


def status(field: str) -> int:
    """Return a size of this process in bytes, such as ``VmHWM``."""
    line = next(
        line
        for line in Path("/proc/self/status").read_text().splitlines()
        if line.startswith(f"{field}:")
    )
    return int(line.split()[1]) * 1024


def convert_within(limit: int, arguments: str) -> None:
    """Convert with no more than some memory besides what is in use; check the resident size.

    Parameters
    ----------
    limit : int
        Bytes. Both memory that is allocated and the resident size, with the pages of mapped
        files, may grow by so much.
    arguments : str
        Of `numpack.convert`, a small file to import everything, then the large one, as JSON: a
        list of pairs of the positional arguments, and the keyword arguments.
    """
    for positional, keywords in json.loads(arguments):
        Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
        before = status("VmRSS")
        bound = status("VmData") + limit + 64 * MIB  # stacks of threads, what malloc reserves
        resource.setrlimit(resource.RLIMIT_DATA, (bound, resource.RLIM_INFINITY))
        numpack.convert(*positional, **keywords)
        resource.setrlimit(resource.RLIMIT_DATA, (resource.RLIM_INFINITY,) * 2)
    grown = status("VmHWM") - before
    assert grown <= limit, f"{grown / MIB:.0f} MiB more are resident"


def convert_and_die(arguments: str) -> None:
    """Convert, and kill this process when the second part has been written."""
    parts = 0

    def progress(*_: Any) -> None:
        nonlocal parts
        parts += 1
        if parts == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    positional, keywords = json.loads(arguments)
    numpack.convert(*positional, progress=progress, **keywords)
