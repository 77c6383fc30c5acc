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


class ResidentLimit:
    """Tells when mapped files take more than half of the memory of this process.

    What other mappings take cannot be reduced, so that it tells so again only when the size
    has grown by an eighth of the limit.
    """

    def __init__(self) -> None:
        self._accepted = 0  # bytes

    def is_exceeded(self) -> bool:
        """Return whether pages should be unmapped."""
        resident = resident_files()
        return resident > limit() and resident > self._accepted

    def accept(self) -> None:
        """Accept what is resident after pages have been unmapped."""
        self._accepted = resident_files() + limit() // 8


def resident_files() -> int:
    """Return how many bytes of mapped files are resident; 0 where it is unknown."""
    try:
        with open(_STATM, "rb") as statm:  # noqa: PTH123 -- twice as fast
            return int(statm.read().split()[2]) * _PAGE
    except OSError:  # not on Linux
        return 0


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
