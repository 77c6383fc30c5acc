"""Run inputs for some time, keep those with new messages, and save findings."""

from __future__ import annotations

import hashlib
import random
import re
import shutil
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

from . import trees
from .child import Input, Place, made
from .other_mutations import old_folder, tensors
from .package_mutations import package
from .seeds import OLD, PACKAGE, STORE, Seed, build
from .store_mutations import bytes_only, mutated

_POOL = 300  # most inputs that are kept because their message was new
_BATCH = 20  # inputs per child: forking costs as much as running one
_MUTATE = {STORE: mutated, OLD: old_folder, PACKAGE: package}


@dataclass
class Report:
    """Counts of inputs, calls and messages, and the findings."""

    inputs: Counter[str] = field(default_factory=Counter)  # by the name of the seed
    ops: Counter[str] = field(default_factory=Counter)
    messages: Counter[str] = field(default_factory=Counter)
    findings: dict[str, tuple[Path | None, str]] = field(default_factory=dict)
    seconds: float = 0.0
    unchecked: int = 0  # inputs without an intact array

    def add(self, other: Report) -> None:
        """Add the report of another process."""
        for ours, theirs in zip(self._counters(), other._counters(), strict=True):
            ours.update(theirs)
        self.findings = {**other.findings, **self.findings}
        self.seconds = max(self.seconds, other.seconds)
        self.unchecked += other.unchecked

    def _counters(self) -> tuple[Counter[str], ...]:
        return self.inputs, self.ops, self.messages

    def __str__(self) -> str:
        count = self.inputs.total()
        lines = [
            f"{count:,} inputs in {self.seconds:.1f} s",
            f"{count / (self.seconds or 1):.1f} inputs a second",
            f"{self.ops.total():,} calls of {len(self.ops)} kinds",
            f"{len(self.messages)} different messages of the package's errors",
            f"{count - self.unchecked:,} inputs with arrays whose values were compared",
            "by seed: " + ", ".join(f"{name} {n:,}" for name, n in self.inputs.items()),
            f"{len(self.findings)} findings",
        ]
        for what, (path, details) in self.findings.items():
            lines += [f"\n== {what}\n   replay: {path}", details.rstrip()]
        return "\n".join(lines)


class Fuzzer:
    """Runs inputs one after another; the same seed gives the same inputs.

    Parameters
    ----------
    seed : int
    saved : Path, optional
        Folder for findings.
    kinds : tuple of str, optional
        Kinds of inputs; all by default.
    """

    def __init__(
        self, seed: int, saved: Path | None = None, kinds: tuple[str, ...] = ()
    ) -> None:
        self._seed, self._saved = seed, saved
        memory = Path("/dev/shm")
        is_roomy = memory.is_dir() and shutil.disk_usage(memory).free > 1 << 30
        self._folder = Path(tempfile.mkdtemp(prefix="fuzz-", dir=memory if is_roomy else None))
        (self._folder / "place").mkdir()
        self._place = Place(self._folder / "place")
        seeds = build(self._folder)
        self._seeds = [each for each in seeds if not kinds or each.kind in kinds]
        self._weights = [0.2 if each.name == "large" else 1.0 for each in self._seeds]
        self._pool: list[Seed] = []
        self.report = Report()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        shutil.rmtree(self._folder)

    def run(self, seconds: float = 3600, inputs: int | None = None) -> Report:
        """Run inputs for some time, or up to a number of them."""
        began, number = time.monotonic(), 0
        for seed in self._seeds:  # valid ones first
            self._try([(seed, made(seed, seed.tree, f"{self._seed}/{seed.name}"))])
        while time.monotonic() - began < seconds and (inputs is None or number < inputs):
            batch = [self._made(number + each) for each in range(_BATCH)]
            self._try(batch)
            number += len(batch)
        self.report.seconds += time.monotonic() - began
        return self.report

    def replay(self, path: Path) -> Report:
        """Run a saved input again, after those that preceded it in its child."""
        kinds = {each.kind: each for each in self._seeds}
        saved = trees.load(path)["inputs"]
        self._try([(kinds[each["kind"]], Input(**each)) for each in saved])
        return self.report

    def _made(self, number: int) -> tuple[Seed, Input]:
        rng = random.Random(f"{self._seed}/{number}")
        if self._pool and rng.random() < 0.35:
            seed = rng.choice(self._pool)
        else:
            seed = rng.choices(self._seeds, self._weights)[0]
        try:
            tree = _MUTATE.get(seed.kind, tensors)(rng, seed.tree)
        except (TypeError, ValueError, LookupError, AttributeError, RecursionError):
            tree = bytes_only(rng, seed.tree)  # an earlier mutation changed the form
        return seed, made(seed, tree, f"{self._seed}/{number}/choices")

    def _try(self, batch: list[tuple[Seed, Input]]) -> None:
        inputs = [what for _, what in batch]
        outcomes = self._place.run(inputs, self.report.findings)
        for number, ((seed, what), outcome) in enumerate(zip(batch, outcomes, strict=True)):
            report = self.report
            is_new = not report.messages.keys() >= set(outcome.messages)
            if is_new and seed.name != "large" and len(self._pool) < _POOL:
                self._pool.append(Seed(seed.name, seed.kind, what.tree, what.expected))
            report.inputs[seed.name] += 1
            report.ops.update(outcome.ops)
            report.messages.update(outcome.messages)
            report.unchecked += not what.expected
            for finding, details in outcome.findings:
                if finding not in report.findings:
                    is_alone = not finding.endswith("(after others)")
                    path = self._save(inputs[number if is_alone else 0 : number + 1], finding)
                    report.findings[finding] = path, details
                    sys.stdout.write(f"found: {finding}\n")
                    sys.stdout.flush()

    def _save(self, inputs: list[Input], finding: str) -> Path | None:
        if self._saved is None:
            return None
        self._saved.mkdir(parents=True, exist_ok=True)
        words = re.sub(r"\W+", "-", finding)[:60]
        path = (
            self._saved / f"{words}-{hashlib.sha256(finding.encode()).hexdigest()[:8]}.pickle"
        )
        trees.save(path, {"inputs": [vars(each) for each in inputs]})
        return path
