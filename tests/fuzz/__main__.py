"""The command: ``python -m fuzz``."""

from __future__ import annotations

import argparse
import resource
import sys
from pathlib import Path

from .runner import Fuzzer
from .seeds import OLD, STORE, TENSORS


def main() -> int:
    parser = argparse.ArgumentParser("fuzz", description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="of what is tried (0)")
    parser.add_argument("--seconds", type=float, default=60, help="how long (60)")
    parser.add_argument("--inputs", type=int, help="how many at the most")
    parser.add_argument("--kind", choices=[STORE, OLD, TENSORS], action="append", default=[])
    parser.add_argument("--saved", type=Path, default=Path("build/fuzz"), help="for findings")
    parser.add_argument("--replay", type=Path, help="a finding that was saved")
    parser.add_argument("--messages", action="store_true", help="list the errors that came")
    options = parser.parse_args()
    with Fuzzer(options.seed, options.saved, tuple(options.kind)) as fuzzer:
        if options.replay:
            report = fuzzer.replay(options.replay)
        else:
            report = fuzzer.run(options.seconds, options.inputs)
    print(report)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    print(f"{used.ru_utime + used.ru_stime:.0f} s of CPU in the children")
    if options.messages:
        for message, count in report.messages.most_common():
            print(f"{count:8,} {message}")
    return bool(report.findings)


sys.exit(main())
