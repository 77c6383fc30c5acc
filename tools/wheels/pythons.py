"""Find the interpreters that wheels are built for and tested with.

``python -m wheels.pythons 3.12`` prints the path of one.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

_PRINT_VERSION = (
    "import sys, sysconfig; "
    "print('%d.%d' % sys.version_info[:2], sysconfig.get_config_var('Py_GIL_DISABLED') or 0)"
)


class PythonNotFoundError(Exception):
    """No interpreter of the version is installed."""


def find_python(version: str) -> Path:
    """Return the path of CPython of a version, with the GIL.

    Parameters
    ----------
    version : str
        Such as "3.12".

    Raises
    ------
    PythonNotFoundError
        If it is not on PATH, nor among the versions of pyenv or uv.
    """
    for path in _candidates(version):
        if _output(str(path), "-c", _PRINT_VERSION) == f"{version} 0":
            return path
    raise PythonNotFoundError(
        f"Python {version} is not on PATH, nor among the versions of pyenv or uv; install it, "
        f"for example by `uv python install {version}` or `pyenv install {version}`"
    )


def _candidates(version: str) -> Iterator[Path]:
    """Yield paths of interpreters, the most likely ones first; they need not work."""
    if on_path := shutil.which(f"python{version}"):
        yield Path(on_path)
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    installed = [path for path in pyenv.glob(f"{version}.*") if path.name.count(".") == 2]
    numbered = [path for path in installed if path.name.rpartition(".")[2].isdigit()]
    for path in sorted(numbered, key=lambda path: -int(path.name.rpartition(".")[2])):
        yield path / "bin" / f"python{version}"
    if shutil.which("uv") and (found := _output("uv", "python", "find", version)):
        yield Path(found)


def _output(*command: str) -> str:
    """Return what a command prints, or "" if it fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{find_python(sys.argv[1])}\n")
    except PythonNotFoundError as error:
        sys.exit(str(error))
