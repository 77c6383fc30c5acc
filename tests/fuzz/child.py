"""Run inputs in a forked child with limited memory and time; collect the outcomes."""

from __future__ import annotations

import faulthandler
import json
import os
import random
import resource
import select
import signal
import time
import traceback
from collections import Counter
from collections.abc import Container
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from . import trees
from .drive import Driver
from .oracle import untouched
from .seeds import Arrays, Seed
from .trees import Tree

_MEMORY = 2 << 30  # beyond the parent's
_CPU, _WALL = 2, 4  # seconds; waiting for other processes uses no CPU time
_FILE_BYTES = 1 << 30
_CANARIES = ["victim", "victim.bin", "victim.sum", "victim.del"]


@dataclass(frozen=True)
class Input:
    """An input."""

    kind: str
    tree: Tree
    expected: Arrays
    choices: str  # the seed of the driver's choices


@dataclass
class Outcome:
    """The outcome of an input."""

    findings: list[tuple[str, str]] = field(default_factory=list)  # summary and details
    messages: list[str] = field(default_factory=list)
    ops: Counter[str] = field(default_factory=Counter)


class Place:
    """A folder for the input, beside one that must not be accessed.

    Parameters
    ----------
    folder : Path
        An empty folder.
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

    def run(self, inputs: list[Input], known: Container[str] = ()) -> list[Outcome]:
        """Run inputs one after another in one child, or in further ones if it dies.

        An input with a finding that is not `known` is run again alone and with a longer time
        limit: a hang must be reproduced, because other processes may have caused it.
        """
        outcomes: list[Outcome] = []
        while len(outcomes) < len(inputs):
            outcomes += self._forked(inputs[len(outcomes) :], 1)
        for what, outcome in zip(inputs, outcomes, strict=True):
            new = [each for each in outcome.findings if each[0] not in known]
            if new and len(inputs) > 1:
                outcome.findings = again = self._forked([what], 4)[0].findings
                alone = {finding for finding, _ in again}
                outcome.findings += [
                    (f"{finding} (after others)", details)
                    for finding, details in new
                    if finding not in alone and not finding.startswith("hang")
                ]
        return outcomes

    def _forked(self, inputs: list[Input], patience: int) -> list[Outcome]:
        """Run inputs in one child, up to the first that kills it."""
        patience *= self._slowness
        self.log.write_bytes(b"")
        reading, writing = os.pipe()
        pid = os.fork()
        if not pid:
            os.close(reading)
            self._in_child(inputs, writing, patience)
        os.close(writing)
        outcomes, last, is_over = _collect(reading, pid, _WALL * patience)
        if not is_over:
            os.kill(pid, signal.SIGXCPU)  # its handler prints a traceback
            time.sleep(0.2)
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if self._look() != self._signature:
            self._signature = self._arm()  # the child has reported it and updated its own
        if is_over and not code:
            return outcomes[: len(inputs)]
        what = f"exit {code}" if code >= 0 else signal.Signals(-code).name
        if not is_over or code == -signal.SIGXCPU:
            what = "hang"
        details = self.log.read_text(errors="replace")[-6000:]
        outcomes[-1].findings.append((f"{what}: {last}", details))
        return outcomes

    def _in_child(self, inputs: list[Input], writing: int, patience: int) -> None:
        code = 99
        try:
            descriptor = os.open(self.log, os.O_WRONLY)
            os.dup2(descriptor, 2)
            os.close(descriptor)
            self._limit()
            os.chdir(self.folder)

            def report(**event: Any) -> None:
                os.write(writing, json.dumps(event).encode() + b"\n")

            for what in inputs:
                self._run_one(what, report, patience)
            code = 0
        finally:
            if code:
                traceback.print_exc()
            os._exit(code)

    def _run_one(self, what: Input, report: Any, patience: int) -> None:
        used = int(time.process_time())
        resource.setrlimit(
            resource.RLIMIT_CPU, (used + _CPU * patience, resource.RLIM_INFINITY)
        )
        trees.remove(self.store)
        resource.setrlimit(
            resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        )
        trees.write(what.tree, self.store)
        resource.setrlimit(resource.RLIMIT_FSIZE, (_FILE_BYTES, resource.RLIM_INFINITY))
        Driver(self.store, random.Random(what.choices), what.expected, report).run(what.kind)
        if (found := self._changed()) is not None:
            report(finding=f"outside the store: {found}", trace="")
        report(end=1)

    def _limit(self) -> None:
        if not self.is_sanitized:  # its shadow memory alone takes terabytes of addresses
            faulthandler.enable()
            faulthandler.register(signal.SIGXCPU, chain=True)
            pages = int(Path("/proc/self/statm").read_text().split()[0])
            room = pages * resource.getpagesize() + _MEMORY
            resource.setrlimit(resource.RLIMIT_AS, (room, room))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    # Outside the store

    def _arm(self) -> list[tuple[int, ...]]:
        """Prepare the canary files so that reading or writing one is detected."""
        for name in _CANARIES:
            if not (self.canary / name).is_file():
                (self.canary / name).write_bytes(b"not to be touched" * 40)
        for path in (*self._outside(), self.canary):
            os.utime(
                path, ns=(10**18, 2 * 10**18)
            )  # accessed before modified: any read updates the time
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
            looks.append(
                (
                    s.st_ino,
                    s.st_mode,
                    s.st_nlink,
                    s.st_size,
                    s.st_mtime_ns,
                    s.st_ctime_ns,
                    s.st_atime_ns,
                )
            )
        return looks

    def _changed(self) -> str | None:
        found = self._look()
        if found != self._signature:
            before, self._signature = self._signature, self._arm()
            return _difference(before, found)
        if set(os.listdir(self.folder)) - {"store", "canary", "stderr"}:
            for name in set(os.listdir(self.folder)) - {"store", "canary", "stderr"}:
                trees.remove(self.folder / name)
            return "a new file"
        return None


def _difference(before: list[tuple[int, ...]], after: list[tuple[int, ...]]) -> str:
    for name, one, other in zip(("folder", *_CANARIES), before, after, strict=True):
        if one != other:
            return f"{name} was {'read' if one[:6] == other[:6] else 'changed'}"
    return "nothing"


def made(seed: Seed, tree: Tree, choices: str) -> Input:
    return Input(seed.kind, tree, untouched(seed, tree), choices)


def _collect(reading: int, pid: int, seconds: float) -> tuple[list[Outcome], str, bool]:
    """Collect the child's events until it exits or waits longer than the time limit.

    A child that is runnable may have to wait for a processor; its CPU time is limited anyway.
    """
    outcomes, last, rest = [Outcome()], "nothing", b""
    poll = select.poll()
    poll.register(reading, select.POLLIN | select.POLLHUP)
    deadline = time.monotonic() + seconds
    try:
        while True:
            if not poll.poll(max(0, 1000 * (deadline - time.monotonic()))):
                if not _is_runnable(pid):
                    return outcomes, last, False
                deadline = time.monotonic() + seconds
                continue
            data = os.read(reading, 1 << 16)
            if not data:
                return outcomes, last, True
            *lines, rest = (rest + data).split(b"\n")
            for event in map(json.loads, lines):
                last = event.get("op", last)
                if "end" in event:
                    outcomes.append(Outcome())
                    deadline = time.monotonic() + seconds
                else:
                    _record(outcomes[-1], event)
    finally:
        os.close(reading)


def _is_runnable(pid: int) -> bool:
    """Return whether a thread of a process runs, or waits for a processor or a disk."""
    states = [
        stat.read_text().rpartition(") ")[2][0]
        for stat in Path(f"/proc/{pid}/task").glob("*/stat")
    ]
    return not {"R", "D"}.isdisjoint(states)


def _record(outcome: Outcome, event: dict[str, str]) -> None:
    if "op" in event:
        outcome.ops[event["op"]] += 1
    elif "message" in event:
        outcome.messages.append(event["message"])
    else:
        outcome.findings.append((event["finding"], event["trace"]))
