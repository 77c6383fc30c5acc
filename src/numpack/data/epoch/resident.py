"""The part of files that counts as memory of this process.

Pages of mapped files that were read once count as resident until the kernel takes them away,
which it does only when memory is short. Where the resident size is watched from outside, as by
schedulers of clusters, a process that reads a large file then seems to need all memory.
"""

from __future__ import annotations

import functools
import os
from pathlib import Path

_CGROUP_LIMITS = (
    Path("/sys/fs/cgroup/memory.max"),
    Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
)
_STATM = "/proc/self/statm"
_PAGE = os.sysconf("SC_PAGE_SIZE")


def exceeds_limit() -> bool:
    """Return whether mapped files take more than half of the memory of this process."""
    try:
        with open(_STATM, "rb") as statm:  # noqa: PTH123 -- twice as fast
            shared = int(statm.read().split()[2])
    except OSError:  # not on Linux
        return False
    return shared * _PAGE > limit()


@functools.cache
def limit() -> int:
    """Return half of the memory of the machine, or of the control group."""
    limits = [os.sysconf("SC_PHYS_PAGES") * _PAGE]
    for path in _CGROUP_LIMITS:
        try:
            limits.append(int(path.read_text(encoding="ascii")))
        except (OSError, ValueError):  # there is none, or it is "max"
            continue
    return min(limits) // 2
