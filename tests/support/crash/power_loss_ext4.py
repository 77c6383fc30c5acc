"""Power loss on a real file system: ``python -m support.crash.power_loss_ext4``.

The tests model a device that may lose anything that was not flushed, and run everywhere; this
program checks the model against ext4, and needs the right to mount a file system. A store is
changed on ext4 on a loop device. The contents of the file behind the device, after a call has
returned or during one, are what a power loss leaves: they are copied, mounted and opened.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from numpack import NotAStoreError, NumPack
from support.crash.operations import nothing, state_of
from support.crash.power_loss_kinds import KINDS, PATH

SIZE = 24 << 20
DIGEST = 32  # bytes
FEW = "create,save over,append across blocks,replace,drop,mode w,upgrade,fold,sync".split(",")
MOMENTS = 1, 40  # when a writer is stopped, for each kind: in CI, and in `make crash`
OPTIONS = "commit=300"  # only what is flushed is written


def mount(image: Path, where: Path) -> None:
    where.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", f"loop,{OPTIONS}", image, where], check=True)


def unmount(where: Path) -> None:
    subprocess.run(["umount", where], check=True)


def seen(path: str) -> bytes:
    """Return a digest of the contents of a store."""
    try:
        with NumPack(path, mode="r") as store:
            if not store.verify():
                raise AssertionError(str(store.verify()))
            return digest(state_of(store))
    except NotAStoreError:
        return bytes(DIGEST)


def digest(state: Any) -> bytes:
    return hashlib.sha256(repr(sorted(state.items())).encode()).digest()


def write(name: str, writer: int) -> None:
    """Run a kind of change; write a digest of the store after each step."""
    for _ in KINDS[name].run():
        os.write(writer, seen(PATH))


class Trial:
    """A kind of change on its own file system."""

    def __init__(self, name: str, work: Path) -> None:
        self._name, self._kind = name, KINDS[name]
        self._work, self._image, self._disk = work, work / "image", work / "disk"
        self.losses = 0

    def run(self, seconds: float | None) -> float:
        """Lose power after each call that has returned, or once after some seconds.

        Returns
        -------
        float
            The seconds that the run took.
        """
        with open(self._image, "wb") as file:
            file.truncate(SIZE)
        subprocess.run(["mkfs.ext4", "-q", "-F", self._image], check=True)
        mount(self._image, self._disk)
        try:
            path = self._disk / PATH
            if self._kind.build is not nothing:
                path.parent.mkdir(parents=True)
                self._kind.build(str(path))
                os.sync()
            before = seen(str(path))
            start = time.monotonic()
            self._strike(before, seconds)
            return time.monotonic() - start
        finally:
            unmount(self._disk)

    def _strike(self, state: Any, seconds: float | None) -> None:
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.chdir(self._disk)
            if seconds is None:
                stop_after_each(writer, self._name)
            write(self._name, writer)
            os._exit(0)
        os.close(writer)
        try:
            with open(reader, "rb") as pipe:
                if seconds is None:
                    while os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1]):
                        state = pipe.read(DIGEST)
                        self._look([state])
                        os.kill(pid, signal.SIGCONT)
                    return
                time.sleep(seconds)
                os.kill(pid, signal.SIGSTOP)
                copy = self._copied()
                os.kill(pid, signal.SIGCONT)
                states = [state]
                while record := pipe.read(DIGEST):
                    states.append(record)
                self._look(states, copy)
                os.waitpid(pid, 0)
        finally:
            with_no_child(pid)

    def _copied(self) -> Path:
        copy = self._work / "lost"
        subprocess.run(["cp", "--sparse=always", self._image, copy], check=True)
        return copy

    def _look(self, allowed: list[Any], copy: Path | None = None) -> None:
        copy = copy or self._copied()
        where = self._work / "found"
        mount(copy, where)
        try:
            found = seen(str(where / PATH))
            if found not in allowed:
                raise AssertionError(
                    f"{self._name}: neither the state before nor the one after"
                )
            with NumPack(where / PATH, upgrade=True) as store:
                if any(found) and digest(state_of(store)) != found:
                    raise AssertionError(f"{self._name}: a writer sees something else")
                if not store.verify():
                    raise AssertionError(f"{self._name}: {store.verify()}")
        finally:
            unmount(where)
        self.losses += 1


def stop_after_each(writer: int, name: str) -> None:
    for _ in KINDS[name].run():
        os.write(writer, seen(PATH))
        os.kill(os.getpid(), signal.SIGSTOP)
    os._exit(0)


def with_no_child(pid: int) -> None:
    """Kill the child, if it is still running."""
    try:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
    except (ProcessLookupError, ChildProcessError):
        pass


def main() -> None:
    """Try all kinds on a file system in a private mount namespace."""
    if sys.argv[1:2] == ["mounted"]:
        dice, losses = random.Random(3), 0
        thorough = "CRASH" in os.environ
        names = [name for name, kind in KINDS.items() if not kind.mixed]
        for name in names if thorough else FEW:
            trial = Trial(name, Path.cwd())
            took = trial.run(None)
            for _ in range(MOMENTS[thorough]):
                if KINDS[name].at_once:
                    trial.run(dice.random() * min(took, 0.3))
            losses += trial.losses
        sys.stdout.write(f"{losses} power losses on ext4, nothing was lost\n")
        return
    folder = tempfile.mkdtemp()
    env = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    probe = (
        f"cd {folder} && truncate -s 9M probe && mkfs.ext4 -q -F probe && mkdir disk && "
        "mount -o loop probe disk && umount disk || exit 77; "
        f"exec {sys.executable} -W error -W ignore:.*fork -m {__spec__.name} mounted"
    )
    try:
        done = subprocess.run(["unshare", "-m", "sh", "-c", probe], env=env, check=False)
    except FileNotFoundError:
        done = None
    shutil.rmtree(folder)
    if done is None or done.returncode == 77 or (done.returncode == 1 and os.geteuid()):
        sys.stdout.write(
            "NOT CHECKED: a power loss on ext4 needs root, unshare(1), mkfs.ext4 and a loop "
            "device\n"
        )
        return
    sys.exit(done.returncode)


if __name__ == "__main__":
    main()
