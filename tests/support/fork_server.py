"""Scripts in children of a process that has imported the frameworks: as isolated, but faster.

The server imports modules and forks a child for each script. The child runs the script as
``__main__`` and ends as an interpreter does, with its exit handlers and finalization.
"""

from __future__ import annotations

import atexit
import contextlib
import faulthandler
import gc
import importlib
import json
import os
import subprocess
import sys
import types
import warnings
from pathlib import Path
from typing import Any, Self

SECONDS = 300  # after which a script is stopped
END = "\n"  # ends the server, also if a forked process still has its input open


class ForkServer:
    """The parent's side.

    Parameters
    ----------
    *modules : str
        Imported once, before any script.
    **variables : str
        Environment variables of the process.
    """

    def __init__(self, *modules: str, **variables: str) -> None:
        tests = os.fspath(Path(__file__).parents[1])
        paths = [tests, *filter(None, [os.environ.get("PYTHONPATH")])]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **variables}
        environment.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", "support.fork_server", *modules],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        with contextlib.suppress(BrokenPipeError):  # it has ended
            self._process.stdin.write(END)
            self._process.stdin.close()
        self._process.wait(60)
        self._process.stdout.close()

    def run(self, script: str, *args: str, folder: Path, expect: int = 0) -> str:
        """Run a script in a folder and return its output; check its status."""
        request = {"script": script, "args": args, "folder": os.fspath(folder)}
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        assert answer, f"the server of forked scripts has ended: {self._process.wait()}"
        stdout, stderr = ((folder / name).read_text() for name in ("stdout", "stderr"))
        assert int(answer) == expect, f"exit {answer}\n{stdout}\n{stderr}"
        return stdout


def _serve() -> dict[str, Any] | None:
    """Answer requests; return the request in a child, and `None` in the server at the end."""
    requests, answers = os.fdopen(os.dup(0)), os.dup(1)
    with open(os.devnull) as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    for line in requests:
        if line == END:
            break
        request = json.loads(line)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python and frameworks warn about every fork
            child = os.fork()
        if child == 0:
            requests.close()
            os.close(answers)
            return request
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.write(answers, f"{status}\n".encode())
    requests.close()
    return None


def _become(request: dict[str, Any]) -> types.ModuleType:
    """Redirect the output of this child, and make a new ``__main__``."""
    os.chdir(request["folder"])
    for number, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, number)
        os.close(file)
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    atexit.register(gc.unfreeze)  # called last, so that finalization frees all objects
    sys.argv[:] = ["-c", *request["args"]]
    sys.path[0] = ""
    sys.modules["__main__"] = types.ModuleType("__main__")
    return sys.modules["__main__"]


if __name__ == "__main__":
    for _name in sys.argv[1:]:
        importlib.import_module(_name)
    gc.collect()
    gc.freeze()
    if (_request := _serve()) is not None:
        exec(compile(_request["script"], "<string>", "exec"), _become(_request).__dict__)
