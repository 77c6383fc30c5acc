"""The system calls of the store: whole reads and writes at an offset."""

from __future__ import annotations

import os
from typing import Any


def write_all(descriptor: int, data: Any, offset: int) -> int:
    """Write a buffer at `offset`, in one call unless the system cuts it; give its length."""
    rest = memoryview(data)
    length = len(rest)
    while rest:
        count = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[count:], offset + count
    return length


def read_between(descriptor: int, start: int, end: int) -> bytes:
    """Read the bytes from `start` up to `end`, or to the end of the file."""
    parts = []
    while start < end:
        part = os.pread(descriptor, end - start, start)
        if not part:
            break
        parts.append(part)
        start += len(part)
    return b"".join(parts)
