"""A fault at each system call of an operation in turn, and a check of the store after it.

Run as ``python -m support.crash.faults OPERATION KINDS MOST`` with the library of `built` in
``LD_PRELOAD``, it prints a line of JSON for each fault.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

from numpack import NumPack
from numpack.errors import NotAStoreError
from support.crash.operations import OPERATIONS, ROWS, Operation, State, state_of
from support.files import contents

KILL_BEFORE, KILL_HALF, KILL_AFTER, FAIL, FULL = range(1, 6)
KILLS = (KILL_BEFORE, KILL_HALF, KILL_AFTER)
NAMES = dict(enumerate(("before", "half", "after", "fail", "full"), start=1))
WRITES = frozenset({"write", "pwrite"})
NEED_ROOM = WRITES | {"open", "openat", "fallocate", "posix_fallocate", "mkdir", "link"}
TOP = {"numpack.json", "commits.log", "lock", "data", "journal"}

_SOURCE = Path(__file__).with_name("faults.c")
_SECONDS = 60  # after which a child counts as hung


def built(folder: Path) -> Path:
    """Build the fault-injection library."""
    library = folder / "faults.so"
    compiler = os.environ.get("CC", "cc").split()
    flags = ["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC"]
    more = ["-U_FORTIFY_SOURCE", "-ldl", "-lpthread"]
    subprocess.run([*compiler, *flags, "-o", library, _SOURCE, *more], check=True)
    return library


class Faults:
    """The fault-injection library, with which this process was started."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.faults_arm.argtypes = [ctypes.c_long, ctypes.c_int, ctypes.c_int]
        self._library.faults_counted.restype = ctypes.c_long
        self._library.faults_name.restype = ctypes.c_char_p
        self._library.faults_name.argtypes = [ctypes.c_long]

    def arm(self, at: int = 0, kind: int = 0, error: int = 0) -> None:
        self._library.faults_arm(at, kind, error)

    def disarm(self) -> bool:
        return bool(self._library.faults_disarm())

    def calls(self) -> list[str]:
        count = self._library.faults_counted()
        names = (self._library.faults_name(number).decode() for number in range(count))
        return [name.removesuffix("64").removesuffix("at") for name in names]


class Trial:
    """One operation, with a fault at each of its system calls in turn."""

    def __init__(self, name: str) -> None:
        self.operation: Operation = OPERATIONS[name]
        self.faults = Faults()
        self.operation.build("template")
        self.before = self._seen("template")
        self._copy("model")
        store = self.operation.store("model")
        if self.operation.opens:
            self.warm = self.before
        else:
            self.warm = state_of(store)
        self.operation.act(store)
        store.close()
        self.after = self._seen("model")
        shutil.rmtree("model")
        self.calls = self._counted()

    def run(self, kinds: list[int], most: int) -> None:
        """Inject a fault at each call, and then once after the last.

        Of many calls, about `most` are chosen, evenly and others for each kind of fault.
        """
        for kind in kinds:
            calls = [
                (at, call)
                for at, call in enumerate(self.calls, start=1)
                if self._differs(kind, call)
            ]
            step = max(1, -(-len(calls) // most))
            for at, call in [*calls[kind % step :: step], (len(self.calls) + 1, "")]:
                self._run_one(kind, at, call)

    def _differs(self, kind: int, call: str) -> bool:
        """Check whether a fault at a call differs from one at the previous call."""
        if call == "page":
            return kind == KILL_BEFORE
        if kind == KILL_HALF:
            return call in WRITES
        return kind != FULL or call in NEED_ROOM

    def _copy(self, path: str) -> None:
        if os.path.exists("template"):
            shutil.copytree("template", path)

    def _seen(self, path: str, **options: Any) -> State:
        try:
            with NumPack(path, mode="r", **options) as store:
                return state_of(store)
        except NotAStoreError:
            return {}

    def _counted(self) -> list[str]:
        self._copy("counted")
        store = self.operation.store("counted")
        self.faults.arm()
        self.operation.act(store)
        self.faults.disarm()
        calls = self.faults.calls()
        store.close()
        shutil.rmtree("counted")
        return calls

    def _run_one(self, kind: int, at: int, call: str) -> None:
        result: dict[str, Any] = {"kind": NAMES[kind], "at": at, "call": call, "wrong": []}
        try:
            self._strike(result, kind, at)
        except Exception:
            result["wrong"].append(traceback.format_exc())
        sys.stdout.write(json.dumps(result) + "\n")
        shutil.rmtree("s.npk", ignore_errors=True)

    def _strike(self, result: dict[str, Any], kind: int, at: int) -> None:
        self._copy("s.npk")
        code, report = self._child(kind, at)
        result |= {"code": code, **report}
        wrong = result["wrong"]
        disk = contents()
        found = self._seen("s.npk")
        if contents() != disk:
            wrong.append("reading changed the store")
        probe = found.pop("probe", None)
        if (probe is not None) != (kind in (FAIL, FULL)):
            wrong.append("the handle can no longer write")
        result["state"] = self._name(found)
        self._write_on(wrong, {**found, **({"probe": probe} if probe else {})})

    def _name(self, state: State) -> str:
        if state == self.after:
            return "after"
        return "before" if state == self.warm else "mixture"

    def _child(self, kind: int, at: int) -> tuple[int, dict[str, Any]]:
        """Run the operation in a child; return its exit code, and its report if it survives."""
        reader, writer = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reader)
            code = 3
            try:
                signal.alarm(_SECONDS)
                report = self._act(kind, at)
                os.write(writer, json.dumps(report).encode())
                code = 0
            except BaseException:
                os.write(writer, json.dumps({"error": traceback.format_exc()}).encode())
            finally:
                os._exit(code)
        os.close(writer)
        with open(reader, "rb") as pipe:
            text = pipe.read()
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), json.loads(text or b"{}")

    def _act(self, kind: int, at: int) -> dict[str, Any]:
        error = errno.ENOSPC if kind == FULL else errno.EIO
        sys.unraisablehook = lambda _: None  # errors in finalizers are expected
        store = self.operation.store("s.npk")
        self.faults.arm(at, kind, error)
        report: dict[str, Any] = {"raised": "", "wrong": []}
        try:
            self.operation.act(store)
        except Exception as raised:
            report["raised"] = f"{type(raised).__name__}: {raised}"
            if not isinstance(raised, OSError):
                report["wrong"] = [traceback.format_exc()]
        report["fired"] = self.faults.disarm()
        if kind in (FAIL, FULL):
            store.open()
            report["same handle"] = self._name(state_of(store))
            store.save({"probe": ROWS})
        return report

    def _write_on(self, wrong: list[str], found: State) -> None:
        """Open and change the store as the next writer."""
        options = {"upgrade": True} if (self.operation.options or {}).get("upgrade") else {}
        with NumPack("s.npk", mode="r" if found else "a") as reader:
            lazies = {name: reader.load(name, lazy=True) for name in reader}
        with NumPack("s.npk", **options) as store:
            report = store.verify()
            if not report.ok:
                wrong.append(str(report))
            if state_of(store) != found:
                wrong.append("the next writer sees something else")
            store.save({"next": ROWS})
            self._check_files(wrong, store)
            store.reset()
        left = os.listdir("s.npk/data")
        if left:
            wrong.append(f"left after reset: {left}")
        lost = [n for n, a in lazies.items() if a[()].tobytes() != found[n][2]]
        if lost:
            wrong.append(f"lazy arrays changed: {lost}")

    def _check_files(self, wrong: list[str], store: NumPack) -> None:
        live = {entry.id for entry in store._handle.session.arrays().values()}
        orphans = [n for n in os.listdir("s.npk/data") if n.partition(".")[0] not in live]
        top = set(os.listdir("s.npk")) - TOP
        if orphans or top:
            wrong.append(f"orphans: {orphans} {top}")


def main() -> None:
    warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)
    trial = Trial(sys.argv[1])
    sys.stdout.write(json.dumps({"calls": trial.calls}) + "\n")
    trial.run([int(each) for each in sys.argv[2].split(",")], int(sys.argv[3]))


if __name__ == "__main__":
    main()
