"""Memory that is a file: mapping it, finding it behind an array, mapping it again.

A write to a page that is mapped read-only kills the process, and most frameworks have no
read-only arrays. So read-only mapped memory leaves for them *mapped again, copy-on-write*
(``MAP_PRIVATE``): the same pages of the page cache, no byte copied, and a write stays
private to whoever made it.

Which pages are mapped read-only is asked of the kernel (``/proc/self/maps``, see proc(5)),
because an array does not tell: one that NumPy marks read-only may lie in ordinary memory,
and one that Arrow or another library made may lie in a map that Python never saw.
"""

from __future__ import annotations

import mmap
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.array_utils import byte_bounds

from ._policy import Obstacle
from .errors import ZeroCopyError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ._memory import Array

_MAPS = Path("/proc/self/maps")
_DESCRIPTORS = Path("/proc/self/fd")


class FileMapping(mmap.mmap):
    """A read-only mapping that knows its file, so that it can be mapped again.

    Attributes
    ----------
    path : str
        Where the file was when it was mapped.
    device, inode : int
        Which file it is, whatever happens to its name.
    address : int
        Where its first byte lies in memory.
    """

    path: str
    device: int
    inode: int
    address: int


def map_file(path: str | os.PathLike[str], nbytes: int) -> Array:
    """Map the first `nbytes` of a file read-only, as an array of uint8.

    The mapping stays valid when the file is unlinked, and is undone when the last array
    over it is gone.
    """
    if nbytes == 0:
        empty = np.empty(0, np.uint8)
        empty.flags.writeable = False
        return empty
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        mapping = FileMapping(descriptor, nbytes, access=mmap.ACCESS_READ)
        status = os.fstat(descriptor)
    finally:
        os.close(descriptor)
    array: Array = np.frombuffer(mapping, np.uint8)
    mapping.path, mapping.address = os.fspath(path), array.ctypes.data
    mapping.device, mapping.inode = status.st_dev, status.st_ino
    return array


@dataclass(frozen=True, slots=True)
class Origin:
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


COPY_ON_WRITE = "mapped copy-on-write"


def write_obstacle(array: Array) -> Obstacle | None:
    """Find whether a write could kill the process and mapping again cannot prevent it."""
    if writing_is_safe(array) or _can_map_again(array):
        return None
    return Obstacle(
        "its pages are mapped read-only and the file behind them is not to be found",
        "map the file copy-on-write: np.memmap(file, mode='c')",
    )


def for_writer(array: Array) -> Array:
    """Give memory that can be written without harm: the array's own, or mapped again.

    Call it for an array without a `write_obstacle`.
    """
    if writing_is_safe(array):
        return array
    again = map_again(array)
    if again is None:
        msg = "the file behind a read-only mapping has disappeared; pass copy=True"
        raise ZeroCopyError(msg)
    return again


def writing_is_safe(array: Array) -> bool:
    """Tell whether a write to the array's memory cannot fault, whatever NumPy allows."""
    root = _root(array)
    if array.flags.writeable or array.nbytes == 0 or _is_heap(root):
        return True
    if isinstance(root, FileMapping):
        return False
    lowest, beyond = byte_bounds(array)
    regions = [r for r in _regions() if r.start < beyond and lowest < r.end]
    if regions:
        return all(region.writable for region in regions)
    return not isinstance(root, mmap.mmap)


def origin(array: Array) -> Origin | None:
    """Find the file behind an array, or ``None`` if no single one is."""
    lowest, beyond = byte_bounds(array)
    root = _root(array)
    if isinstance(root, FileMapping):
        return Origin(root.path, (root.device, root.inode), lowest - root.address, listed=False)
    for region in _regions():
        if region.start <= lowest and beyond <= region.end and region.inode:
            offset = region.offset + lowest - region.start
            return Origin(region.path, (region.device, region.inode), offset, listed=True)
    return None


def map_again(array: Array) -> Array | None:
    """Map the file behind an array once more, copy-on-write.

    Returns
    -------
    ndarray or None
        Writable, of the same shape, strides and dtype, over pages of its own mapping;
        ``None`` if the file is not to be found any more.
    """
    source = origin(array)
    if source is None:
        return None
    lowest, beyond = byte_bounds(array)
    begin = source.offset - source.offset % mmap.ALLOCATIONGRANULARITY
    length = source.offset - begin + beyond - lowest
    for descriptor in _open_again(source):
        try:
            mapping = mmap.mmap(descriptor, length, access=mmap.ACCESS_COPY, offset=begin)
        except (OSError, ValueError):  # it has become shorter
            return None
        finally:
            os.close(descriptor)
        first = source.offset - begin + array.ctypes.data - lowest
        return np.ndarray(
            array.shape,
            array.dtype,
            buffer=np.frombuffer(mapping, np.uint8),
            offset=first,
            strides=array.strides,
        )
    return None


def _can_map_again(array: Array) -> bool:
    """Tell whether `map_again` would find the file, without mapping it."""
    source = origin(array)
    if source is None:
        return False
    for descriptor in _open_again(source):
        os.close(descriptor)
        return True
    return False


def _open_again(source: Origin) -> Iterator[int]:
    """Open the very file of `source`: by its name, else by a descriptor still open to it.

    Python's `mmap` keeps a descriptor of its own, so that a file which was renamed or
    unlinked since is found as well.
    """
    for name in (source.path, *_open_descriptors()):
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except OSError:
            continue
        if _identity(descriptor, listed=source.listed) == source.identity:
            yield descriptor
            return
        os.close(descriptor)


def _open_descriptors() -> Iterator[str]:
    try:
        links = list(_DESCRIPTORS.iterdir())
    except OSError:
        return
    for link in links:
        try:
            regular = link.is_file()
        except OSError:
            continue
        if regular:
            yield str(link)


def _identity(descriptor: int, *, listed: bool) -> tuple[int, int] | None:
    if not listed:
        status = os.fstat(descriptor)
        return status.st_dev, status.st_ino
    try:
        page = mmap.mmap(descriptor, 1, access=mmap.ACCESS_READ)
    except (OSError, ValueError):
        return None
    address = np.frombuffer(page, np.uint8).ctypes.data
    return next(((r.device, r.inode) for r in _regions() if r.start <= address < r.end), None)


@dataclass(frozen=True, slots=True)
class _Region:
    start: int
    end: int
    writable: bool
    offset: int
    device: int
    inode: int
    path: str


def _regions() -> Iterator[_Region]:
    """Read the kernel's table of this process's mappings; empty where there is none."""
    try:
        table = _MAPS.read_bytes()
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
        elif isinstance(owner, memoryview):
            owner = owner.obj
        else:
            return owner


def _is_heap(root: Any) -> bool:
    """Tell whether memory surely is ordinary: NumPy's own, or that of a bytes object."""
    return isinstance(root, bytes | bytearray) or (
        isinstance(root, np.ndarray) and root.flags.owndata
    )
