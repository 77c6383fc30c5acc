"""Addresses of memory, and the kernel's table of mappings."""

from __future__ import annotations

import bisect
import ctypes
import os
from pathlib import Path
from typing import NamedTuple

import numpy as np


class Region(NamedTuple):
    """A line of /proc/self/maps."""

    start: int
    end: int
    rights: str
    offset: int
    inode: int


def region_at(address: int) -> Region:
    """Return the mapping that contains an address."""
    lines = Path("/proc/self/maps").read_text().splitlines()  # sorted by address
    number = bisect.bisect(lines, address, key=lambda line: int(line.split("-", 1)[0], 16))
    if number:
        bounds, rights, offset, _, inode, *_ = lines[number - 1].split(None, 5)
        start, end = (int(each, 16) for each in bounds.split("-"))
        if start <= address < end:
            return Region(start, end, rights, int(offset, 16), int(inode))
    raise AssertionError(f"nothing is mapped at {address:#x}")


def file_position(address: int) -> tuple[int, int]:
    """Return the inode and the offset of the file behind an address."""
    region = region_at(address)
    return region.inode, region.offset + address - region.start


def is_private_copy_on_write(address: int) -> bool:
    """Check whether writes at an address stay private."""
    return region_at(address).rights == "rw-p"


def shares_pages(address: int, other: int) -> bool:
    """Check whether two addresses are the same byte of memory, or of a file."""
    if address == other:
        return True
    inode, position = file_position(address)
    return inode != 0 and (inode, position) == file_position(other)


def address(array: np.ndarray) -> int:
    """Return the address of an array's first element."""
    return array.__array_interface__["data"][0]


def resident_bytes() -> int:
    """Return the resident size of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class _Heap(ctypes.Structure):
    """The result of glibc's mallinfo2(3)."""

    _fields_ = tuple(
        (name, ctypes.c_size_t)
        for name in (
            *("arena", "ordblks", "smblks", "hblks", "hblkhd"),
            *("usmblks", "fsmblks", "uordblks", "fordblks", "keepcost"),
        )
    )


def allocated_bytes() -> int:
    """Return the number of bytes that malloc has allocated and not freed."""
    heap = ctypes.CDLL(None).mallinfo2
    heap.restype = _Heap
    taken = heap()
    return taken.uordblks + taken.hblkhd
