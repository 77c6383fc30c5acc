"""Contents in memory, with the interface of files."""

from __future__ import annotations

import os
import sys
import tempfile
from typing import TYPE_CHECKING

from .directory import write_all

if TYPE_CHECKING:
    from collections.abc import Callable


class UnnamedFile:
    """An open file without a name, with the methods of `OpenFile`."""

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor

    def __enter__(self) -> int:
        """Return the descriptor."""
        return self.descriptor

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.close()

    def detach(self) -> int:
        """Return the descriptor, which the caller closes."""
        descriptor, self.descriptor = self.descriptor, -1
        return descriptor

    def close(self) -> None:
        """Close the file."""
        descriptor, self.descriptor = self.descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self, _is_exiting: Callable[[], bool] = sys.is_finalizing) -> None:
        """Close the file; at exit the system does."""
        if _is_exiting():  # modules such as os may be gone
            return
        self.close()


def open_content(content: bytes) -> int:
    """Return the descriptor of a new file without a name that has a content."""
    descriptor = _new()
    try:
        write_all(descriptor, content, 0)
    except BaseException:
        os.close(descriptor)
        raise
    return descriptor


def _new() -> int:
    if hasattr(os, "memfd_create"):
        return os.memfd_create("numpack", os.MFD_CLOEXEC)
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
