"""Processes of servers, which end with the tests, however those end."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

# The kernel kills a process when its parent has ended. It asks for that itself, since code
# between a fork and an exec is not safe in a process with threads.
_START = """
import ctypes, os, sys
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, 9)  # PR_SET_PDEATHSIG, SIGKILL
if os.getppid() == int(sys.argv[1]):
    os.execv(sys.argv[2], sys.argv[2:])
"""


@contextlib.contextmanager
def running(command: list[str], output: Path, **variables: str) -> Iterator[subprocess.Popen]:
    """Run a command in the block; kill it and its children afterwards."""
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _START, str(os.getpid()), *command],
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            cwd=output.parent,
            env={**os.environ, **variables},
            start_new_session=True,
        )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
        process.wait()


def free_ports(number: int) -> list[int]:
    """Return ports of the loopback that nothing listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(number)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def wait_until(answers: Callable[[], bool], process: subprocess.Popen, output: Path) -> None:
    """Wait until a server answers; raise with its output if it has ended, or after a minute."""
    end = time.monotonic() + 60
    while not answers():
        if process.poll() is not None or time.monotonic() > end:
            state = "has ended" if process.poll() is not None else "does not answer"
            raise RuntimeError(f"{process.args[-1]} {state}:\n{output.read_text()[-4000:]}")
        time.sleep(0.05)
