"""Anonymous memory that other processes find through a descriptor of this one.

The memory is a file without a name (``memfd_create``), whose size is sealed. Every mapping
keeps a descriptor of it. Another process opens ``/proc/<pid>/fd/<descriptor>``, and uses what
it finds only if that is the same file, sealed: a file that could shrink would raise SIGBUS.

Source: Linux, memfd_create(2), fcntl(2) "File Sealing", proc(5).
"""

from __future__ import annotations

import errno
import fcntl
import mmap
import os
import stat
import sys
import weakref
from typing import TYPE_CHECKING, NamedTuple, NoReturn

from .._core.file_mapping import OWNED, FileMapping, close_descriptors
from .._core.processes import boot_id, pid_namespace
from ..errors import MovedError, NoMemoryError, SharedMemoryError

if TYPE_CHECKING:
    from collections.abc import Callable

_ADD_SEALS, _GET_SEALS = 1033, 1034  # F_ADD_SEALS and F_GET_SEALS of Linux
_SEALED = 1 | 2 | 4  # F_SEAL_SEAL, F_SEAL_SHRINK, F_SEAL_GROW
_CREATE = 1 | 2  # MFD_CLOEXEC, MFD_ALLOW_SEALING
_NOT_EXECUTABLE = 8  # MFD_NOEXEC_SEAL, since Linux 6.3
_FULL = (errno.ENOMEM, errno.ENOSPC)
_DESCRIPTORS_USED_UP = (errno.EMFILE, errno.ENFILE)

# The mappings of this process, by the name of the file: each is mapped once.
_MAPPINGS: weakref.WeakValueDictionary[str, FileMapping] = weakref.WeakValueDictionary()


class Location(NamedTuple):
    """Where another process finds the memory."""

    boot: str
    namespace: int
    pid: int
    descriptor: int
    name: str
    device: int
    inode: int
    length: int

    def checked(self) -> Location:
        """Return the location if its values are of the right types.

        Raises
        ------
        TypeError, ValueError
        """
        boot, *numbers, name, device, inode, length = self
        numbers += [device, inode, length]
        if type(boot) is not str or type(name) is not str:
            raise TypeError
        if any(type(number) is not int for number in numbers):
            raise TypeError
        if self.pid < 1 or self.descriptor < 0 or length < 1:
            raise ValueError
        return self


def create(nbytes: int, *, reserve: bool) -> FileMapping:
    """Map new memory of zeros.

    Parameters
    ----------
    nbytes : int
        Positive.
    reserve : bool
        Whether to allocate all pages now. Otherwise each is allocated when it is first used,
        unless the system never overcommits memory: it would raise SIGBUS then.

    Raises
    ------
    NoMemoryError
        The system does not have so much memory.
    SharedMemoryError
        The system has no such memory, or refuses another descriptor.
    """
    length = -(-nbytes // mmap.PAGESIZE) * mmap.PAGESIZE
    name = f"numpack-{os.urandom(8).hex()}"
    _require_memory(length)
    try:
        descriptor = _with_descriptors(lambda: _create_file(name))
    except OSError as error:
        _raise_refused(length, error)
    try:
        os.ftruncate(descriptor, length)
        fcntl.fcntl(descriptor, _ADD_SEALS, _SEALED)
        if reserve or _never_overcommits():
            os.posix_fallocate(descriptor, 0, length)
    except OSError as error:
        os.close(descriptor)
        _raise_refused(length, error)
    return _map(descriptor, length, name)


def location_of(mapping: FileMapping) -> Location | None:
    """Return the location of memory that `create` or `open_memory` has mapped."""
    owned = mapping.owned_file
    if owned is None:
        return None
    descriptor, identity, length, name = owned
    if not boot_id() or not pid_namespace():
        msg = (
            "shared memory cannot be pickled, because /proc is not mounted; mount it, or "
            "pickle a copy: numpy.array(x)"
        )
        raise SharedMemoryError(msg)
    where = boot_id(), pid_namespace(), os.getpid()
    return Location(*where, descriptor, name, *identity, length)


def open_memory(location: Location) -> FileMapping:
    """Map the memory at a location; once in a process, however often it is opened.

    Raises
    ------
    MovedError
        The memory cannot be found; its ``reason`` says why.
    """
    if location.boot != boot_id() or not location.boot:
        why = "the machine was started again, or this is another one"
        raise _moved_error(location, "another boot", why)
    mapping = _MAPPINGS.get(location.name)
    if mapping is not None and _describes(location, mapping):
        return mapping
    if location.namespace != pid_namespace():
        why = "this process is in another pid namespace (a container), where it has no such pid"
        raise _moved_error(location, "another namespace", why)
    try:
        descriptor = _with_descriptors(lambda: _open(location))
    except PermissionError:
        why = "this process may not access its descriptors; run both as the same user"
        raise _moved_error(location, "permission", why) from None
    except (FileNotFoundError, ProcessLookupError):
        raise _lost_error(location) from None
    except OSError as error:
        _raise_refused(location.length, error)
    return _map(descriptor, location.length, location.name)


def _describes(location: Location, mapping: FileMapping) -> bool:
    owned = mapping.owned_file
    return owned is not None and owned[1:3] == (
        (location.device, location.inode),
        location.length,
    )


def _map(descriptor: int, length: int, name: str) -> FileMapping:
    try:
        mapping = FileMapping(descriptor, length, name, OWNED)
    except OSError as error:
        _raise_refused(length, error)
    return _MAPPINGS.setdefault(name, mapping)


def _create_file(name: str) -> int:
    """Create a file in memory, without permission to execute it where the kernel has that."""
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
    try:
        return os.memfd_create(name, _CREATE | _NOT_EXECUTABLE)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return os.memfd_create(name, _CREATE)


def _open(location: Location) -> int:
    """Open the file at a location; nothing else is ever opened.

    The file is looked at through a descriptor that only refers to it (``O_PATH``): opening a
    device may have effects, and opening a FIFO may wait.

    Raises
    ------
    FileNotFoundError
        It is not there.
    """
    number = f"{int(location.pid)}/fd/{int(location.descriptor)}"
    reference = os.open(f"/proc/{number}", os.O_PATH | os.O_CLOEXEC)
    try:
        status = os.fstat(reference)
        identity = status.st_dev, status.st_ino, status.st_size
        is_same = stat.S_ISREG(status.st_mode) and identity == location[-3:]
        link = f"/proc/self/fd/{reference}"
        if not is_same or os.readlink(link) != f"/memfd:{location.name} (deleted)":
            raise FileNotFoundError
        descriptor = os.open(link, os.O_RDWR | os.O_CLOEXEC)
    finally:
        os.close(reference)
    if fcntl.fcntl(descriptor, _GET_SEALS) & _SEALED == _SEALED:
        return descriptor
    os.close(descriptor)
    raise FileNotFoundError


def _with_descriptors(function: Callable[[], int]) -> int:
    """Call a function that opens a file; retry it once with cached descriptors closed."""
    try:
        return function()
    except OSError as error:
        if error.errno not in _DESCRIPTORS_USED_UP:
            raise
    close_descriptors()
    return function()


def _require_memory(length: int) -> None:
    """Refuse what the machine cannot hold, as the kernel refuses a private mapping."""
    try:
        mmap.mmap(-1, length, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS).close()
    except (OSError, OverflowError):
        _raise_refused(length, OSError(errno.ENOMEM, ""))


def _never_overcommits() -> bool:
    try:
        with open("/proc/sys/vm/overcommit_memory", encoding="ascii") as setting:
            return setting.read().strip() == "2"
    except OSError:
        return False


def _raise_refused(length: int, error: OSError) -> NoReturn:
    """Raise the error for memory that the system refuses."""
    size = f"shared memory of {length:,} bytes"
    if error.errno in _FULL:
        msg = f"{size} cannot be allocated: the machine does not have that much free memory"
        raise NoMemoryError(msg) from error
    if error.errno in _DESCRIPTORS_USED_UP:
        fix = "each takes one; raise the limit (ulimit -n), or keep several arrays in one"
        msg = f"{size} cannot be mapped: no more files can be open in this process; {fix}"
    elif error.errno == errno.ENOSYS:
        msg = f"{size} cannot be created: the system has no memfd_create; it needs Linux"
    else:
        msg = f"{size} cannot be mapped: {error.strerror or error}"
    raise SharedMemoryError(msg) from error


def _lost_error(location: Location) -> MovedError:
    """Return the error for memory that the process has no longer, or if it has ended."""
    if not os.path.exists(f"/proc/{int(location.pid)}"):
        why = "that process has ended; unpickle it while one that has it still runs"
        return _moved_error(location, "process ended", why)
    why = "that process has released it; keep the array until the other process has it"
    return _moved_error(location, "released", why)


def _moved_error(location: Location, reason: str, why: str) -> MovedError:
    msg = (
        f"a shared array of process {location.pid}, which was pickled by reference, cannot be "
        f"mapped: {why}"
    )
    return MovedError(msg, reason)
