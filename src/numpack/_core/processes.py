"""Names of this machine, its processes and their descriptors, as other processes see them."""

from __future__ import annotations

import functools
import os

_BOOT_ID = "/proc/sys/kernel/random/boot_id"
_NAMESPACE = "/proc/self/ns/pid"


@functools.cache
def boot_id() -> str:
    """Return the kernel's boot id, within which process ids and descriptors are valid.

    It is empty where the system has none.
    """
    try:
        with open(_BOOT_ID, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""


def pid_namespace() -> int:
    """Return the number of this process's pid namespace, within which a pid is unique.

    It is 0 where the system has none.
    """
    try:
        return os.stat(_NAMESPACE).st_ino
    except OSError:
        return 0
