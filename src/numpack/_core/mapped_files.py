"""Memory-mapped files: mapping a file, finding the file behind an array, mapping it again.

A write to a page that is mapped read-only raises SIGSEGV, and most frameworks have no read-only
arrays. Read-only mapped memory is therefore *mapped again copy-on-write* (``MAP_PRIVATE``) for
them: the same pages of the page cache, without copying, and writes remain private.

This package's mappings record their file. For all others the kernel's list of mappings is read
(``/proc/self/maps``, see proc(5)), because an array does not reveal its origin: read-only
memory may be anonymous, and Arrow or another library may have mapped a file without Python.
"""

from __future__ import annotations

import itertools
import mmap
import os
import sys
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from ..errors import ZeroCopyError
from .file_mapping import PRIVATE, READABLE, FileMapping, origin_of, refer_again
from .pages import mappings_between
from .policy import Obstacle
from .writability import is_heap, memory_root

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .file_mapping import Detachable
    from .memory import Array

SHARED, COPY_ON_WRITE = "shared", "mapped copy-on-write"

_MAPS = "/proc/self/maps"
_PAGEMAP = "/proc/self/pagemap"
_DESCRIPTORS = "/proc/self/fd"

# Copy-on-write. Without MAP_NORESERVE, the size of the file would count against the memory
# commit limit (see proc(5), vm.overcommit_memory).
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0  # Python 3.11 lacks the constant
_PRIVATE = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", _NO_RESERVE)
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE


def map_file(path: str | os.PathLike[str], nbytes: int) -> Array:
    """Map the first `nbytes` bytes of a file as a read-only array of uint8.

    The pages are private and writable: a write by a framework that ignores NumPy's read-only
    flag neither raises SIGSEGV nor reaches the file. The mapping remains valid if the file is
    unlinked, and is removed with the last array that uses it.
    """
    return map_open(os.open(path, os.O_RDONLY | os.O_CLOEXEC), os.fspath(path), nbytes)


def map_open(
    file: int | Detachable, path: str, nbytes: int, *, readable: bool = False
) -> Array:
    """Map an open file as `map_file` does.

    Parameters
    ----------
    file : int or object with `detach`
        A file descriptor, or an object whose `detach` returns one. The mapping takes
        ownership of it.
    path : str
        The path the file was opened by.
    nbytes : int
    readable : bool, default False
        Map pages without write permission. A write that bypasses NumPy's read-only flag
        raises SIGSEGV, so users only get views by `FileMapping.private_view`.

    Raises
    ------
    ValueError
        The file has fewer than `nbytes` bytes.
    """
    if nbytes == 0:
        os.close(file if isinstance(file, int) else file.detach())
        empty = np.empty(0, np.uint8)
        empty.flags.writeable = False
        return empty
    mapping = FileMapping(file, nbytes, path, READABLE if readable else PRIVATE)
    array: Array = np.frombuffer(mapping, np.uint8)  # type: ignore[call-overload]  # buffers are typed from 3.12 on
    return array


def mapping_of(array: Array) -> FileMapping | None:
    """Return this package's mapping that an array is a view of, or ``None``."""
    root = memory_root(array)
    return root if isinstance(root, FileMapping) else None


class Origin(NamedTuple):
    """The part of a file that an array's memory is mapped from.

    Attributes
    ----------
    path : str
        The file's path, which may be outdated.
    identity : tuple of int
        Device and inode.
    offset : int
        Offset in the file, in bytes, of the array's lowest address.
    listed : bool
        Whether `identity` comes from the kernel's list of mappings, whose device numbers
        differ from those of `os.stat` on some file systems.
    """

    path: str
    identity: tuple[int, int]
    offset: int
    listed: bool


class Backing(NamedTuple):
    """The memory behind an array, with regard to a framework that may write to it.

    Attributes
    ----------
    array : ndarray
    safe : bool
        Whether the array's own memory may be passed to the framework: a write to it cannot
        fault, and reaches a file only where NumPy would write to it as well.
    origin : Origin or None
        The file to map again if it is not safe.
    """

    array: Array
    safe: bool
    origin: Origin | None = None

    @property
    def action(self) -> str:
        """How the memory is passed to a framework that may write to it."""
        return SHARED if self.safe else COPY_ON_WRITE

    def obstacle(self) -> Obstacle | None:
        """Return the obstacle to passing the memory to such a framework, or ``None``."""
        if self.safe or (self.origin is not None and _can_open(self.origin)):
            return None
        return Obstacle(
            "its pages are mapped read-only and cannot be mapped again from a file",
            "map the file copy-on-write: np.memmap(file, mode='c')",
        )

    def for_writer(self) -> Array:
        """Return the array, or the file mapped again copy-on-write, in the same layout.

        Raises
        ------
        ZeroCopyError
            There is an `obstacle`, or the file cannot be mapped.
        """
        if self.safe:
            return self.array
        remapped = None if self.origin is None else _map_again(self.array, self.origin)
        if remapped is None:
            msg = (
                "Zero-copy conversion failed: the file behind a read-only mapping cannot be "
                f"mapped again; a copy takes {self.array.nbytes:,} bytes; pass copy=True"
            )
            raise ZeroCopyError(msg)
        return remapped


def backing_of(array: Array) -> Backing:
    """Return the memory behind an array; cheap unless it is read-only and of unknown origin."""
    if array.flags.writeable or array.nbytes == 0:
        return Backing(array, safe=True)
    root = memory_root(array)
    if is_heap(root):
        return Backing(array, safe=True)
    lowest, beyond = byte_bounds(array)
    own_mapping = origin_of(lowest)
    if own_mapping is not None:
        start, path, identity = own_mapping
        origin = Origin(path, identity, lowest - start, listed=False)
        return Backing(array, safe=False, origin=origin)
    regions = _regions_between(lowest, beyond)
    if not regions:  # this system does not list mappings
        return Backing(array, safe=not isinstance(root, mmap.mmap))
    if all(region.writable for region in regions):
        return Backing(array, safe=True)
    return Backing(array, safe=False, origin=_origin(regions, lowest, beyond))


def is_same_memory(one: int, other: int) -> bool:
    """Check whether two addresses are equal or map the same byte of a file."""
    if one == other:
        return True
    regions = _regions_between(one, one + 1), _regions_between(other, other + 1)
    if not all(regions) or not regions[0][0].inode:
        return False
    first, second = (region[0] for region in regions)
    return (first.device, first.inode, first.offset + one - first.start) == (
        second.device,
        second.inode,
        second.offset + other - second.start,
    )


def _is_clean(lowest: int, beyond: int) -> bool:
    """Check that no page of a private mapping was written, so that it equals its file.

    Source: Linux, admin-guide/mm/pagemap: bit 63 page present, 62 swapped, 61 file-mapped.
    """
    first, last = lowest // mmap.PAGESIZE, (beyond - 1) // mmap.PAGESIZE
    try:
        with open(_PAGEMAP, "rb", buffering=0) as table:
            table.seek(8 * first)
            entries = np.frombuffer(table.read(8 * (last - first + 1)), np.uint64)
    except OSError:
        return False
    populated = (entries >> np.uint64(62)) != 0
    file_mapped = ((entries >> np.uint64(61)) & np.uint64(1)) != 0
    return len(entries) == last - first + 1 and bool(np.all(file_mapped[populated]))


def _origin(regions: list[_Region], lowest: int, beyond: int) -> Origin | None:
    if len(regions) != 1 or not regions[0].inode:
        return None
    region = regions[0]
    if not region.shared and not _is_clean(lowest, beyond):
        return None
    offset = region.offset + lowest - region.start
    return Origin(region.path, (region.device, region.inode), offset, listed=True)


def _map_again(array: Array, origin: Origin) -> Array | None:
    """Map the file behind an array again, copy-on-write; return ``None`` on failure."""
    lowest, beyond = byte_bounds(array)
    begin = origin.offset - origin.offset % mmap.ALLOCATIONGRANULARITY
    length = origin.offset - begin + beyond - lowest
    descriptor = _open_again(origin)
    if descriptor is None:
        return None
    try:
        mapping = mmap.mmap(descriptor, length, flags=_PRIVATE, prot=_READ_WRITE, offset=begin)
    except (OSError, ValueError):  # out of memory, or the file was truncated
        return None
    finally:
        os.close(descriptor)
    memory = np.frombuffer(mapping, np.uint8)
    refer_again(memory.ctypes.data, length, begin, lowest, mapping)
    return np.ndarray(
        array.shape,
        array.dtype,
        buffer=memory,
        offset=origin.offset - begin + array.ctypes.data - lowest,
        strides=array.strides,
    )


def _can_open(origin: Origin) -> bool:
    descriptor = _open_again(origin)
    if descriptor is None:
        return False
    os.close(descriptor)
    return True


def _open_again(origin: Origin) -> int | None:
    """Open the file of `origin` by its path, or through a descriptor that is open on it.

    Python's `mmap` objects and this package's most recent mappings keep a descriptor, so most
    files that were renamed or unlinked meanwhile are found too.
    """
    for name in itertools.chain([origin.path], _open_descriptors()):
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue
        if _identity(descriptor, listed=origin.listed) == origin.identity:
            return descriptor
        os.close(descriptor)
    return None


def _open_descriptors() -> Iterator[str]:
    try:
        links = os.listdir(_DESCRIPTORS)
    except OSError:
        return
    for link in links:
        path = f"{_DESCRIPTORS}/{link}"
        if os.path.isfile(path):
            yield path


def _identity(descriptor: int, *, listed: bool) -> tuple[int, int] | None:
    if not listed:
        status = os.fstat(descriptor)
        return status.st_dev, status.st_ino
    try:
        page = mmap.mmap(descriptor, 1, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    address = np.frombuffer(page, np.uint8).ctypes.data
    regions = _regions_between(address, address + 1)
    return (regions[0].device, regions[0].inode) if regions else None


class _Region(NamedTuple):
    start: int
    end: int
    writable: bool
    shared: bool
    offset: int
    device: int
    inode: int
    path: str


def _regions_between(lowest: int, beyond: int) -> list[_Region]:
    """Return the mappings that overlap a range; empty if the system does not list them."""
    found = mappings_between(lowest, beyond)
    if found is not None:
        return [_Region(*each) for each in found]
    return [region for region in _regions() if region.start < beyond and lowest < region.end]


def _regions() -> Iterator[_Region]:
    """Iterate over this process's mappings; empty if the system does not list them."""
    try:
        with open(_MAPS, "rb") as listing:
            table = listing.read()
    except OSError:
        return
    for line in table.splitlines():
        bounds, rights, offset, device, inode, *path = line.split(None, 5)
        start, end = bounds.split(b"-")
        major, minor = device.split(b":")
        yield _Region(
            int(start, 16),
            int(end, 16),
            rights[1:2] == b"w",
            rights[3:4] == b"s",
            int(offset, 16),
            os.makedev(int(major, 16), int(minor, 16)),
            int(inode),
            os.fsdecode(path[0].replace(b"\\012", b"\n")) if path else "",
        )
