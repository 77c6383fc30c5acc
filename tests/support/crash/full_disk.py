"""A really full disk: ``python -m support.crash.full_disk``.

The tests simulate a full disk, and run everywhere; this program checks the simulation, and
needs the right to mount a file system.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from numpack import NumPack
from support.crash.operations import State, state_of

SIZE = 4 << 20
ROWS = np.arange(120_000.0).reshape(-1, 2)

CALLS: dict[str, Callable[[NumPack], object]] = {
    "save": lambda s: s.save({"new": ROWS}),
    "save over": lambda s: s.save({"x": -ROWS, "y": ROWS}),
    "append": lambda s: s.append({"x": ROWS, "y": ROWS}),
    "append a row": lambda s: s.append({"x": ROWS[:1]}),
    "drop rows": lambda s: s.drop("x", np.arange(0, 30_000, 2)),
    "replace": lambda s: s.replace({"x": -ROWS}, slice(None)),
    "clone": lambda s: s.clone("x", "new"),
    "update": lambda s: s.update("y"),
}


def fill(path: str, spare: int) -> None:
    """Fill the disk except for some bytes."""
    with open(path, "wb", buffering=0) as file:
        try:
            while file.write(bytes(4096)):
                pass
        except OSError:
            pass
        file.truncate(max(0, file.tell() - spare))


def attempt(name: str, spare: int) -> bool:
    """Make a call with some bytes left on the disk; return whether it failed."""
    with NumPack("s.npk", drop_if_exists=True) as store:
        store.save(
            {"x": ROWS[: len(ROWS) // 2], "y": ROWS[:5000]}
            | ({"x": ROWS} if name == "replace" else {})
        )
        store.drop("y", [7])
        before = state_of(store)
        lazy = store.load("x", lazy=True)
        fill("filler", spare)
        failed = False
        try:
            CALLS[name](store)
        except OSError:
            failed = True
        found = state_of(store)
        if failed and found != before:
            raise AssertionError(
                f"{name} with {spare} bytes left: the failed call has changed the store"
            )
        os.unlink("filler")
        if name != "replace" and lazy[()].tobytes() != before["x"][2]:
            raise AssertionError(f"{name}: a lazy array has changed")
        store.save({"probe": ROWS[:3]})
        check(found, name)
    return failed


def check(found: State, name: str) -> None:
    with NumPack("s.npk", mode="r") as reader:
        again = state_of(reader)
        again.pop("probe")
        if again != found or not reader.verify():
            raise AssertionError(f"{name}: {reader.verify()}")


def main() -> None:
    """Try all calls on a small file system in a private mount namespace."""
    if sys.argv[1:] == ["mounted"]:
        failures = sum(
            attempt(name, spare)
            for name in CALLS
            for spare in (0, 4096, 8192, 65536, 1 << 20, 1_500_000)
        )
        if failures < len(CALLS):
            raise AssertionError("the disk was never full")
        sys.stdout.write(f"{failures} calls failed on a disk that was full\n")
        return
    folder = tempfile.mkdtemp()
    script = (
        f"mount -t tmpfs -o size={SIZE} tmpfs {folder} || exit 77; cd {folder}; "
        f"{sys.executable} -W error -m support.crash.full_disk mounted"
    )
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    try:
        done = subprocess.run(["unshare", "-m", "sh", "-c", script], env=env, check=False)
    except FileNotFoundError:
        done = None
    shutil.rmtree(folder)
    if done is None or (done.returncode in (1, 77) and os.geteuid()):
        sys.stdout.write("NOT CHECKED: a really full disk needs root and unshare(1)\n")
        return
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
