"""Memory that is a file: mapping it, finding it behind an array, mapping it again.

A write to a page that is mapped read-only kills the process, and most frameworks have no
read-only arrays. So read-only mapped memory leaves for them *mapped again, copy-on-write*
(``MAP_PRIVATE``): the same pages of the page cache, no byte copied, and a write stays
private to whoever made it.

The package's own mappings know their file. For all others it is the kernel that is asked
what is mapped how (``/proc/self/maps``, see proc(5)), because an array does not tell: one
that NumPy marks read-only may lie in ordinary memory, and one that Arrow or another library
made may lie in a map that Python never saw.
"""

from __future__ import annotations

import itertools
import mmap
import os
import sys
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.array_utils import byte_bounds

from ..errors import ZeroCopyError
from .owner import ArrayOwner
from .pages import PRIVATE, READABLE, FileMapping, mappings_between, origin_of
from .policy import Obstacle

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .memory import Array
    from .pages import Detachable

SHARED, COPY_ON_WRITE = "shared", "mapped copy-on-write"

_MAPS = "/proc/self/maps"
_PAGEMAP = "/proc/self/pagemap"
_DESCRIPTORS = "/proc/self/fd"

# Pages of the file until written. Without a reservation, or the size of the file would
# count against the memory of the machine (see proc(5), vm.overcommit_memory).
_NO_RESERVE = 0x4000 if sys.platform == "linux" else 0  # Python 3.11 has no name for it
_PRIVATE = mmap.MAP_PRIVATE | getattr(mmap, "MAP_NORESERVE", _NO_RESERVE)
_READ_WRITE = mmap.PROT_READ | mmap.PROT_WRITE


def map_file(path: str | os.PathLike[str], nbytes: int) -> Array:
    """Map the first `nbytes` of a file, as a read-only array of uint8.

    NumPy lets nobody write to it. Its pages could be written all the same, privately: a
    framework that ignores what NumPy says does not kill the process, nor reach the file.
    The mapping stays valid when the file is unlinked, and is undone when the last array
    over it is gone.
    """
    return map_open(os.open(path, os.O_RDONLY | os.O_CLOEXEC), os.fspath(path), nbytes)


def map_open(
    file: int | Detachable, path: str, nbytes: int, *, readable: bool = False
) -> Array:
    """Map an open file as `map_file` does.

    Parameters
    ----------
    file : int or object with `detach`
        A descriptor, or what gives one away. It belongs to the mapping from now on.
    path : str
        Where the file was found.
    nbytes : int
    readable : bool, default False
        Map pages that nobody can write to: a write past NumPy kills the process, so that
        users get no views of them but `lendable` ones.

    Raises
    ------
    ValueError
        The file is shorter.
    """
    if nbytes == 0:
        os.close(file if isinstance(file, int) else file.detach())
        empty = np.empty(0, np.uint8)
        empty.flags.writeable = False
        return empty
    mapping = FileMapping(file, nbytes, path, READABLE if readable else PRIVATE)
    array: Array = np.frombuffer(mapping, np.uint8)  # type: ignore[call-overload]  # buffers are typed from 3.12 on
    return array


def pages_of(array: Array) -> FileMapping | None:
    """Return the mapping of this package that an array is a view of, if it is one."""
    root = _root(array)
    return root if isinstance(root, FileMapping) else None


class Origin(NamedTuple):
    """The bytes of a file behind an array.

    Attributes
    ----------
    path : str
        The file's name, which may no longer lead to it.
    identity : tuple of int
        Device and inode; as the kernel's table of mappings gives them if `listed`.
    offset : int
        Byte of the file at the array's lowest address.
    listed : bool
        Whether `identity` comes from that table, which on some file systems names
        another device than `os.stat` does.
    """

    path: str
    identity: tuple[int, int]
    offset: int
    listed: bool


class Backing(NamedTuple):
    """What lies behind an array, as far as it matters to who may write to it.

    Attributes
    ----------
    array : ndarray
    safe : bool
        Whether a write to its own memory harms neither the process nor anybody's file.
    origin : Origin or None
        The file to map again where it does.
    """

    array: Array
    safe: bool
    origin: Origin | None = None

    @property
    def action(self) -> str:
        """How the memory leaves for a framework that may write to it."""
        return SHARED if self.safe else COPY_ON_WRITE

    def obstacle(self) -> Obstacle | None:
        """Find whether there is no way to let a framework write to it."""
        if self.safe or (self.origin is not None and _can_open(self.origin)):
            return None
        return Obstacle(
            "its pages are mapped read-only and cannot be mapped again from a file",
            "map the file copy-on-write: np.memmap(file, mode='c')",
        )

    def for_writer(self) -> Array:
        """Give the array's own memory, or the file mapped again, of the same layout.

        Raises
        ------
        ZeroCopyError
            There is an `obstacle`, or the system does not map the file.
        """
        if self.safe:
            return self.array
        again = None if self.origin is None else _map_again(self.array, self.origin)
        if again is None:
            msg = (
                "Zero-copy conversion failed: the file behind a read-only mapping cannot be "
                f"mapped again; a copy takes {self.array.nbytes:,} bytes; pass copy=True"
            )
            raise ZeroCopyError(msg)
        return again


def backing_of(array: Array) -> Backing:
    """Find what lies behind an array. Cheap unless it is read-only and of unknown origin."""
    if array.flags.writeable or array.nbytes == 0:
        return Backing(array, safe=True)
    root = _root(array)
    if _is_heap(root):
        return Backing(array, safe=True)
    lowest, beyond = byte_bounds(array)
    ours = origin_of(lowest)
    if ours is not None:
        start, path, identity = ours
        origin = Origin(path, identity, lowest - start, listed=False)
        return Backing(array, safe=False, origin=origin)
    regions = _regions_between(lowest, beyond)
    if not regions:  # no such table on this system
        return Backing(array, safe=not isinstance(root, mmap.mmap))
    if all(region.writable for region in regions):
        return Backing(array, safe=True)
    return Backing(array, safe=False, origin=_origin(regions, lowest, beyond))


def is_same_byte(one: int, other: int) -> bool:
    """Tell whether two addresses are one byte: of memory, or of a file mapped twice."""
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
    """Tell whether no page of a private mapping was written, and so differs from its file.

    Source: Linux, admin-guide/mm/pagemap: bit 63 a page is present, 62 swapped, 61 of a file.
    """
    first, last = lowest // mmap.PAGESIZE, (beyond - 1) // mmap.PAGESIZE
    try:
        with open(_PAGEMAP, "rb", buffering=0) as table:
            table.seek(8 * first)
            entries = np.frombuffer(table.read(8 * (last - first + 1)), np.uint64)
    except OSError:
        return False
    used = (entries >> np.uint64(62)) != 0
    of_file = ((entries >> np.uint64(61)) & np.uint64(1)) != 0
    return len(entries) == last - first + 1 and bool(np.all(of_file[used]))


def _origin(regions: list[_Region], lowest: int, beyond: int) -> Origin | None:
    if len(regions) != 1 or not regions[0].inode:
        return None
    region = regions[0]
    if not region.shared and not _is_clean(lowest, beyond):
        return None
    offset = region.offset + lowest - region.start
    return Origin(region.path, (region.device, region.inode), offset, listed=True)


def _map_again(array: Array, origin: Origin) -> Array | None:
    """Map the file behind an array once more, copy-on-write; ``None`` if it cannot be."""
    lowest, beyond = byte_bounds(array)
    begin = origin.offset - origin.offset % mmap.ALLOCATIONGRANULARITY
    length = origin.offset - begin + beyond - lowest
    descriptor = _open_again(origin)
    if descriptor is None:
        return None
    try:
        mapping = mmap.mmap(descriptor, length, flags=_PRIVATE, prot=_READ_WRITE, offset=begin)
    except (OSError, ValueError):  # no memory is to be had, or the file has become shorter
        return None
    finally:
        os.close(descriptor)
    return np.ndarray(
        array.shape,
        array.dtype,
        buffer=np.frombuffer(mapping, np.uint8),
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
    """Open the very file of `origin`: by its name, else by a descriptor still open to it.

    Python's mappings keep a descriptor, and so do the last of this package's, so that most
    files which were renamed or unlinked since are found as well.
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
    """List the mappings that hold bytes of a range; empty where the system does not tell."""
    found = mappings_between(lowest, beyond)
    if found is not None:
        return [_Region(*each) for each in found]
    return [region for region in _regions() if region.start < beyond and lowest < region.end]


def _regions() -> Iterator[_Region]:
    """Read the kernel's table of this process's mappings; empty where there is none."""
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


def _root(array: Array) -> Any:
    """Follow the chain of bases to what owns the memory."""
    owner: Any = array
    while True:
        if isinstance(owner, np.ndarray) and owner.base is not None:
            owner = owner.base
        elif isinstance(owner, ArrayOwner):
            owner = owner.array
        elif isinstance(owner, memoryview):
            owner = owner.obj
        else:
            return owner


def _is_heap(root: Any) -> bool:
    """Tell whether memory surely is ordinary: NumPy's own, or that of a bytes object."""
    return isinstance(root, bytes | bytearray) or (
        isinstance(root, np.ndarray) and root.flags.owndata
    )
