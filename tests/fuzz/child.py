"""One input in a forked child of limited memory and time; what became of it."""

from __future__ import annotations

import faulthandler
import json
import os
import random
import resource
import select
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import trees
from .drive import Driver
from .oracle import untouched
from .seeds import Arrays, Seed
from .trees import Tree

_MEMORY = 2 << 30  # more than the parent has
_CPU, _WALL = 2, 6  # seconds; waiting for others takes none of the first
_FILE_BYTES = 1 << 30
_CANARIES = ["victim", "victim.bin", "victim.sum", "victim.del"]


@dataclass(frozen=True)
class Input:
    """What is tried."""

    kind: str
    tree: Tree
    expected: Arrays
    choices: str  # the seed of what is done with it


@dataclass
class Outcome:
    """What became of it."""

    findings: list[tuple[str, str]] = field(default_factory=list)  # what, and the details
    messages: list[str] = field(default_factory=list)
    ops: Counter[str] = field(default_factory=Counter)


class Place:
    """A folder for the input, beside one that nothing may touch.

    Parameters
    ----------
    folder : Path
        Empty.
    """

    def __init__(self, folder: Path) -> None:
        self.folder, self.store, self.canary = folder, folder / "store", folder / "canary"
        self.log = folder / "stderr"
        self.is_sanitized = "libasan" in Path("/proc/self/maps").read_text()
        self._slowness = 10 if self.is_sanitized else 1
        self.canary.mkdir()
        for name in _CANARIES:
            (self.canary / name).write_bytes(b"not to be touched" * 40)
        self.log.touch()
        self._signature = self._arm()

    def run(self, what: Input) -> Outcome:
        """Try an input; a hang has to happen twice, the second time with more patience."""
        outcome = self._run(what, 1)
        if any(finding.startswith("hang") for finding, _ in outcome.findings):
            outcome = self._run(what, 4)
        return outcome

    def _run(self, what: Input, patience: int) -> Outcome:
        trees.remove(self.store)
        trees.write(what.tree, self.store)
        self.log.write_bytes(b"")
        outcome = self._forked(what, patience * self._slowness)
        if (found := self._changed()) is not None:
            outcome.findings.append((f"outside of the store: {found}", ""))
            self._signature = self._arm()
        return outcome

    def _forked(self, what: Input, patience: int) -> Outcome:
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reading)
            self._in_child(what, writing, patience)
        os.close(writing)
        outcome, last, is_over = _told(reading, _WALL * patience)
        if not is_over:
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        code = os.waitstatus_to_exitcode(status)
        details = self.log.read_text(errors="replace")[-6000:]
        if not is_over or code == -signal.SIGXCPU:
            outcome.findings.append((f"hang: {last}", details))
        elif code < 0:
            outcome.findings.append((f"{signal.Signals(-code).name}: {last}", details))
        elif code:
            outcome.findings.append((f"exit {code}: {last}", details))
        return outcome

    def _in_child(self, what: Input, writing: int, patience: int) -> None:
        code = 99
        try:
            descriptor = os.open(self.log, os.O_WRONLY)
            os.dup2(descriptor, 2)
            os.close(descriptor)
            self._limit(patience)
            os.chdir(self.folder)

            def tell(**event: Any) -> None:
                os.write(writing, json.dumps(event).encode() + b"\n")

            Driver(self.store, random.Random(what.choices), what.expected, tell).run(what.kind)
            code = 0
        finally:
            if code:
                import traceback

                traceback.print_exc()
            os._exit(code)

    def _limit(self, patience: int) -> None:
        if not self.is_sanitized:  # its shadow alone takes terabytes of addresses
            faulthandler.enable()
            faulthandler.register(signal.SIGXCPU, chain=True)
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            room = pages * resource.getpagesize() + _MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (room, room))
        seconds = _CPU * patience
        resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES, _FILE_BYTES))

    # What is outside

    def _arm(self) -> list[tuple[int, ...]]:
        """Make it show when a file outside of the store is read or written."""
        for name in _CANARIES:
            if not (self.canary / name).is_file():
                (self.canary / name).write_bytes(b"not to be touched" * 40)
        for path in (*self._outside(), self.canary):
            os.utime(path, ns=(10**18, 2 * 10**18))  # read after it was written: never
        return self._look()

    def _outside(self) -> list[Path]:
        return [self.canary / name for name in _CANARIES]

    def _look(self) -> list[tuple[int, ...]]:
        looks = []
        for path in (self.canary, *self._outside()):
            try:
                s = os.lstat(path)
            except OSError:
                looks.append(())
                continue
            looks.append((s.st_ino, s.st_mode, s.st_nlink, s.st_size, s.st_mtime_ns, s.st_ctime_ns,
                          s.st_atime_ns))
        return looks

    def _changed(self) -> str | None:
        found = self._look()
        if set(os.listdir(self.folder)) - {"store", "canary", "stderr"}:
            for name in set(os.listdir(self.folder)) - {"store", "canary", "stderr"}:
                trees.remove(self.folder / name)
            return "a new file"
        for path, before, after in zip(("canary", *_CANARIES), self._signature, found, strict=True):
            if before != after:
                is_read = before[:6] == after[:6]
                return f"{path} was {'read' if is_read else 'changed'}"
        return None


def made(seed: Seed, tree: Tree, choices: str) -> Input:
    return Input(seed.kind, tree, untouched(seed, tree), choices)


def _told(reading: int, seconds: float) -> tuple[Outcome, str, bool]:
    """What the child tells until it ends, or its time is over."""
    outcome, last, rest = Outcome(), "nothing", b""
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(reading, select.POLLIN | select.POLLHUP)
    try:
        while (left := deadline - time.monotonic()) > 0:
            if not poll.poll(1000 * left):
                break
            data = os.read(reading, 1 << 16)
            if not data:
                return outcome, last, True
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                last = _take(outcome, json.loads(line)) or last
        return outcome, last, False
    finally:
        os.close(reading)


def _take(outcome: Outcome, event: dict[str, str]) -> str | None:
    if "op" in event:
        outcome.ops[event["op"]] += 1
        return event["op"]
    if "message" in event:
        outcome.messages.append(event["message"])
    else:
        outcome.findings.append((event["finding"], event["trace"]))
    return None
