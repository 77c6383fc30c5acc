"""Run Cython, unless it has translated the same sources before.

The C files do not depend on the machine or the version of Python, so that those of the first
wheel serve for the others. Meson runs this in place of ``cython``; the folder of the results is
in ``CYTHON_RESULTS``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

_SUFFIXES = (".pyx", ".pxd", ".pxi", ".h")


def main(arguments: list[str]) -> int:
    """Translate one file, or copy an earlier result; return the exit status."""
    if "-o" not in arguments:  # a question about the version
        return subprocess.run(["cython", *arguments], check=False).returncode
    output = Path(arguments[arguments.index("-o") + 1])
    options = [each for each in arguments if each != str(output)]
    earlier = Path(os.environ["CYTHON_RESULTS"]) / _digest(options)
    if not earlier.exists():
        status = subprocess.run(["cython", *arguments], check=False).returncode
        if status == 0:
            partial = earlier.with_name(f"{earlier.name}.{os.getpid()}")
            shutil.copyfile(output, partial)
            partial.rename(earlier)
        return status
    shutil.copyfile(earlier, output)
    return 0


def _digest(options: list[str]) -> str:
    """Return a digest of the command and of all that Cython may read, the source's tree."""
    digest = hashlib.sha256("\0".join(options).encode())
    [source] = [Path(each) for each in options if each.endswith(".pyx")]
    tree = next((up for up in source.parents if up.name == "src"), source.parent)
    for path in sorted(tree.rglob("*")):
        if path.suffix in _SUFFIXES:
            digest.update(f"{path.relative_to(tree)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
