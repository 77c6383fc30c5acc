"""Validation of lock timeouts, and errors of locks that name the process holding them."""

from __future__ import annotations

import os
import threading
from numbers import Real
from pathlib import Path
from typing import NamedTuple

from ..._core.policy import wrong_type
from ...errors import InvalidValueError, LockError, LockTimeoutError, StoreError

_LONGEST = 200  # characters of a command line


class LockHolder(NamedTuple):
    """A process that holds a lock.

    Attributes
    ----------
    pid : int
    command : str
        Its command line, if that can be read.
    writes : bool
        Whether it excludes all others, as writers do, or writers alone.
    """

    pid: int
    command: str
    writes: bool

    def __str__(self) -> str:
        """Return the number of the process and its command line."""
        if self.pid == os.getpid():
            return f"this process ({self.pid}), by another handle or thread"
        return f"process {self.pid} ({self.command})" if self.command else f"process {self.pid}"


def checked_timeout(seconds: object) -> float | None:
    """Validate the seconds to wait for a lock; None or infinity waits forever."""
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, Real):
        wrong_type("NumPack", "lock_timeout in seconds, or None", seconds, "pass a number")
    if not float(seconds) >= 0:
        msg = f"lock_timeout must not be negative, and is {seconds}; None waits forever"
        raise InvalidValueError(msg)
    limited = float(seconds)
    return None if limited == float("inf") else min(limited, threading.TIMEOUT_MAX)


def no_locks_error(path: str, error: int) -> LockError:
    """Return the error for a store that cannot be locked."""
    return LockError(
        error,
        f"the store {path} cannot be locked and therefore not be written: its file system does "
        f"not support flock ({os.strerror(error)}); mount it with locks (Lustre: -o flock; "
        "NFS: with its lock service), or keep the store on a local disk; mode='r' reads it",
    )


def lock_timeout_error(path: str, seconds: float, device: int, inode: int) -> LockTimeoutError:
    """Return the error for a lock that could not be acquired in time."""
    return LockTimeoutError(
        f"the store {path} was still locked after {seconds:g} s: it is held by "
        f"{_holders(device, inode)}; wait longer (lock_timeout), or stop that process"
    )


def held_by_thread_error(path: str, seconds: float) -> LockTimeoutError:
    """Return the error for a handle that another thread is using for too long."""
    return LockTimeoutError(
        f"the store {path} was still locked after {seconds:g} s: it is held by another thread "
        f"of this process ({os.getpid()}), by the same handle; wait longer (lock_timeout)"
    )


def reentrant_error(path: str) -> StoreError:
    """Return the error for a thread that would wait for a lock which it holds itself."""
    return StoreError(
        f"this thread is writing to the store {path} already, or reading from it with writers "
        "excluded: a signal handler, a callback or an array's own method cannot write to it "
        "meanwhile; do so after the call"
    )


def _holders(device: int, inode: int) -> str:
    """Describe the processes that hold the lock of a file."""
    found = lock_holders(device, inode)
    if not found:
        return (
            "a process that this system does not list (for example, in another container or "
            "on another machine)"
        )
    return " and ".join(map(str, found))


def lock_holders(device: int, inode: int) -> tuple[LockHolder, ...] | None:
    """Find the processes that hold the lock of a file, by their ids.

    Returns
    -------
    tuple of LockHolder or None
        ``None`` if the system has no `/proc/locks`, which has one line per lock.

    Notes
    -----
    Some file systems show another device number there than in `stat`; then the inode alone
    has to match.
    """
    try:
        lines = Path("/proc/locks").read_text("ascii", "replace").splitlines()
    except OSError:
        return None
    exact: dict[int, bool] = {}
    others: dict[int, bool] = {}
    for fields in map(str.split, lines):
        if "FLOCK" not in fields or "->" in fields:  # "->" marks a waiting process
            continue
        major, minor, number = fields[5].split(":")
        pid = int(fields[4])
        if int(number) == inode and pid > 0:
            same = os.makedev(int(major, 16), int(minor, 16)) == device
            found = exact if same else others
            found[pid] = found.get(pid, False) or fields[3] == "WRITE"
    chosen = exact or others
    return tuple(LockHolder(pid, _command(pid), chosen[pid]) for pid in sorted(chosen))


def _command(pid: int) -> str:
    """Return the command line of a process, shortened; empty if it cannot be read."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return ""
    words = command.replace(b"\0", b" ").decode("utf-8", "replace").strip()
    return "".join(c if c.isprintable() else " " for c in words)[:_LONGEST]
