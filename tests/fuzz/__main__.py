"""Fuzz stores, folders of NumPack 0.x and safetensors files: ``python -m fuzz``."""

from __future__ import annotations

import argparse
import os
import resource
import sys
import tempfile
from pathlib import Path

from . import trees
from .runner import Fuzzer, Report
from .seeds import OLD, PACKAGE, STORE, TENSORS


def main() -> int:
    parser = argparse.ArgumentParser("fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="seed of the inputs (0)")
    parser.add_argument("--seconds", type=float, default=60, help="running time (60)")
    parser.add_argument("--inputs", type=int, help="maximum number of inputs")
    parser.add_argument(
        "--kind", choices=[STORE, OLD, TENSORS, PACKAGE], action="append", default=[]
    )
    parser.add_argument(
        "--saved", type=Path, default=Path("build/fuzz"), help="folder of findings"
    )
    parser.add_argument("--replay", type=Path, help="replay a saved finding")
    parser.add_argument("--jobs", type=int, default=1, help="number of processes (1)")
    parser.add_argument("--messages", action="store_true", help="list the error messages")
    options = parser.parse_args()
    if options.replay:
        with Fuzzer(options.seed) as fuzzer:
            report = fuzzer.replay(options.replay)
    else:
        report = _in_parallel(options)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    lines = [str(report), f"{used.ru_utime + used.ru_stime:.0f} s of CPU in the children"]
    if options.messages:
        lines += [f"{count:8,} {message}" for message, count in report.messages.most_common()]
    sys.stdout.write("\n".join(lines) + "\n")
    return bool(report.findings)


def _in_parallel(options: argparse.Namespace) -> Report:
    """Run one fuzzer per job, each with its own seed."""
    with tempfile.TemporaryDirectory() as folder:
        children = []
        for job in range(1, options.jobs):
            pid = os.fork()
            if not pid:
                trees.save(Path(folder, str(job)), _one(options, job))
                os._exit(0)
            children.append((pid, Path(folder, str(job))))
        report = _one(options, 0)
        for pid, path in children:
            os.waitpid(pid, 0)
            report.add(trees.load(path))
    return report


def _one(options: argparse.Namespace, job: int) -> Report:
    seed = options.seed * 1000 + job
    with Fuzzer(seed, options.saved, tuple(options.kind)) as fuzzer:
        return fuzzer.run(options.seconds, options.inputs)


sys.exit(main())
