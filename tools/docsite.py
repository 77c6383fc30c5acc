"""Build the documentation site, or show it while its pages are written.

Run by ``make docs`` and ``make docs-serve``. The build is strict: it fails for a broken link or
anchor, a warning about a docstring, and for what `docsite_check` finds in the built pages.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

from docsite_check import find_problems
from docsite_stage import stage

ROOT = Path(__file__).parents[1]
ZENSICAL = (sys.executable, "-m", "zensical")
_COLORS = re.compile(r"\x1b\[[0-9;]*m")
# The parameters of a class are those of `__new__` too, which griffe does not look at.
_EXPECTED = re.compile(r"griffe: \S*src/numpack/shared_memory/array.py:\d+: Parameter.*\n")


def main() -> int:
    """Build or serve the site; return the exit status."""
    parser = argparse.ArgumentParser(description="Build the documentation site.")
    parser.add_argument("action", choices=["build", "serve"])
    if parser.parse_args().action == "serve":
        return serve(ROOT)
    problems = build(ROOT)
    sys.stdout.write("".join(f"{problem}\n" for problem in problems))
    sys.stdout.write(f"{ROOT / 'build' / 'site' / 'index.html'}\n" if not problems else "")
    return 1 if problems else 0


def build(project: Path) -> list[str]:
    """Build ``build/site`` in a folder that has zensical.toml; return its problems."""
    shutil.rmtree(project / "build" / "docs", ignore_errors=True)
    stage(ROOT, project / "build" / "docs")
    done = subprocess.run(  # noqa: S603 -- fixed arguments
        [*ZENSICAL, "build", "--clean", "--strict"],
        cwd=project,
        capture_output=True,
        text=True,
        check=False,
    )
    output = _EXPECTED.sub("", _COLORS.sub("", done.stdout + done.stderr))
    if done.returncode or "griffe:" in output:
        return [output]
    return find_problems(project / "build" / "site")


def serve(project: Path) -> int:
    """Serve the site, and copy pages to it as they change, until Ctrl-C."""
    stage(ROOT, project / "build" / "docs")
    with subprocess.Popen([*ZENSICAL, "serve"], cwd=project) as server:  # noqa: S603
        try:
            while server.poll() is None:
                time.sleep(1)
                stage(ROOT, project / "build" / "docs")
        except KeyboardInterrupt:
            server.terminate()
    return 0


if __name__ == "__main__":
    sys.exit(main())
