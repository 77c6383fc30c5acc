"""Load files into the page cache and evict them, on Linux."""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

_LIBC = ctypes.CDLL(None, use_errno=True)
_STILL_COLD = 0.02  # of 1 GB: safetensors reads megabytes ahead when it opens a file


def resident(path: Path) -> float:
    """Return the fraction of a file that is in the page cache (mincore(2))."""
    nbytes = path.stat().st_size
    if not nbytes:
        return 1.0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ) as mapped:
        view = np.frombuffer(mapped, np.uint8)
        pages = np.empty(-(-nbytes // mmap.PAGESIZE), np.uint8)
        asked = ctypes.c_void_p(view.ctypes.data), ctypes.c_size_t(nbytes)
        failed = _LIBC.mincore(*asked, ctypes.c_void_p(pages.ctypes.data))
        del view
    if failed:
        raise OSError(ctypes.get_errno(), f"mincore of {path}")
    return float((pages & 1).mean())


def read_again(paths: Iterable[Path]) -> None:
    """Read files into the page cache, from which the system may evict them at any time."""
    buffer = bytearray(2**22)
    for path in paths:
        if resident(path) < 1:
            with path.open("rb", buffering=0) as file:
                while file.readinto(buffer):
                    pass


def flush(paths: Iterable[Path]) -> None:
    """Flush files to the device, so that this is not measured later."""
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.fsync(descriptor)
        os.close(descriptor)


def evict(paths: Iterable[Path]) -> None:
    """Evict files from the page cache; none may be mapped."""
    paths = list(paths)
    flush(paths)
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
        os.close(descriptor)


def assert_cold(paths: Iterable[Path]) -> None:
    """Raise if the larger files are in the page cache."""
    for path in paths:
        if path.stat().st_size > 2**19 and resident(path) > _STILL_COLD:
            raise RuntimeError(f"{path}: {resident(path):.0%} of it is in the page cache")
