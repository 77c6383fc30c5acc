"""Runs a module in forked children of one process, which imports it once.

``python -m support.fork_server MODULE`` reads requests from its standard input, one a line.
"""

from __future__ import annotations

import importlib
import json
import os
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import support


class ForkServer:
    """Starts the process, and runs the module in it as often as needed.

    Parameters
    ----------
    module : str
        Its function ``main`` reads ``sys.argv``.
    **env : str
        Environment variables of the process.
    """

    def __init__(self, module: str, **env: str) -> None:
        tests = str(Path(support.__file__).parents[1])
        paths = [tests, *filter(None, [os.environ.get("PYTHONPATH")])]
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "support.fork_server", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(paths), **env},
        )

    def run(self, folder: Path, *args: str) -> str:
        """Run the module in a folder; check its status and return what it printed."""
        output = folder / "output"
        request = {"folder": str(folder), "output": str(output), "args": args}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        status = json.loads(self._process.stdout.readline())
        printed = output.read_text()
        assert status == 0, f"{args}: exit {status}\n{printed}"
        return printed

    def close(self) -> None:
        self._process.communicate()


def main() -> None:
    warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
    name = sys.argv[1]
    module = importlib.import_module(name)
    for line in sys.stdin:
        request = json.loads(line)
        pid = os.fork()
        if not pid:
            os._exit(_run(module, name, **request))
        _, status = os.waitpid(pid, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _run(module: Any, name: str, folder: str, output: str, args: list[str]) -> int:
    os.chdir(folder)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    for each in (1, 2):
        os.dup2(descriptor, each)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    sys.argv = [name, *args]
    try:
        module.main()
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0


if __name__ == "__main__":
    main()
