"""Pickles of shared arrays whose memory is elsewhere, and pickles that were forged."""

from __future__ import annotations

import errno
import fcntl
import os
import pickle
import subprocess
import sys

import numpy as np
import pytest
from support.each import for_each

from numpack import MovedError, NoMemoryError, SharedArray, SharedMemoryError
from numpack.shared_memory import memory
from numpack.shared_memory.array import _map_again

HOLDS = """
import pickle, sys
from numpack import SharedArray
array = SharedArray(1000)
array[:] = 7
sys.stdout.buffer.write(pickle.dumps(array).hex().encode() + b"\\n")
sys.stdout.buffer.flush()
for line in sys.stdin:
    del array
    print("released", flush=True)
"""


class Holder:
    """A process that has a shared array, and its pickle."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.pickled = bytes.fromhex(self.process.stdout.readline().decode())

    def release(self) -> None:
        self.process.stdin.write(b"release\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == b"released\n"

    def end(self) -> None:
        self.process.kill()
        self.process.wait()
        self.process.stdin.close()
        self.process.stdout.close()


@pytest.fixture
def holder():
    holder = Holder()
    yield holder
    holder.end()


def reason_of(pickled: bytes) -> str:
    with pytest.raises(MovedError) as caught:
        pickle.loads(pickled)
    assert pickle.loads(pickle.dumps(caught.value)).reason == caught.value.reason
    return caught.value.reason


def parts_of(array: SharedArray) -> list:
    return list(array.__reduce_ex__(5)[1])


def test_memory_outlives_the_process_that_created_it(holder):
    array = pickle.loads(holder.pickled)
    holder.end()
    assert array.sum() == 7000
    assert pickle.loads(pickle.dumps(array))[5] == 7
    assert pickle.loads(holder.pickled)[5] == 7  # it is mapped here


def test_process_that_has_ended_is_named(holder):
    holder.end()
    assert reason_of(holder.pickled) == "process ended"


def test_memory_that_was_released_is_named(holder):
    holder.release()
    assert reason_of(holder.pickled) == "released"


def test_other_boots_and_namespaces_are_named(holder, monkeypatch):
    monkeypatch.setattr(memory, "pid_namespace", lambda: 1)
    assert reason_of(holder.pickled) == "another namespace"
    monkeypatch.setattr(memory, "boot_id", lambda: "another")
    assert reason_of(holder.pickled) == "another boot"


def test_missing_permission_is_named(holder, monkeypatch):
    def denied(*args: object) -> int:
        raise PermissionError(errno.EACCES, "denied")

    monkeypatch.setattr(memory, "_open", denied)
    assert reason_of(holder.pickled) == "permission"


def test_other_user_is_refused(holder, run_python):
    """A process of another user may not look at this one's descriptors."""
    if os.geteuid() != 0:  # only root can become another user
        return
    out = run_python(
        """
import os, pickle, sys
from numpack import MovedError, SharedArray
pickle.dumps(SharedArray(3))  # imports all that the other user may not read
os.setgroups([]); os.setgid(65534); os.setuid(65534)
try:
    pickle.loads(bytes.fromhex(sys.argv[1]))
except MovedError as error:
    print(error.reason)
""",
        holder.pickled.hex(),
    )
    assert out.strip() == "permission"


def test_without_proc_nothing_is_pickled(monkeypatch):
    array = SharedArray(3)
    monkeypatch.setattr(memory, "boot_id", lambda: "")
    with pytest.raises(SharedMemoryError, match="not mounted"):
        pickle.dumps(array)


def test_kernel_without_memfd_is_named(monkeypatch):
    def missing(*args: object) -> int:
        raise OSError(errno.ENOSYS, "missing")

    monkeypatch.setattr(os, "memfd_create", missing)
    with pytest.raises(SharedMemoryError, match="needs Linux"):
        SharedArray(3)


def test_kernel_before_sealed_permissions_creates_memory(monkeypatch):
    create = os.memfd_create

    def older(name: str, flags: int) -> int:
        if flags & 8:
            raise OSError(errno.EINVAL, "unknown flag")
        return create(name, flags)

    monkeypatch.setattr(os, "memfd_create", older)
    assert pickle.loads(pickle.dumps(SharedArray(3))).tolist() == [0, 0, 0]


def test_memory_is_allocated_at_once_where_nothing_is_overcommitted(monkeypatch):
    def full(*args: object) -> None:
        raise OSError(errno.ENOSPC, "full")

    SharedArray(5)
    monkeypatch.setattr(os, "posix_fallocate", full)
    SharedArray(5)
    monkeypatch.setattr(memory, "_never_overcommits", lambda: True)
    with pytest.raises(NoMemoryError, match="4,096 bytes"):
        SharedArray(5)


def test_size_is_sealed():
    array = SharedArray(3)
    descriptor = parts_of(array)[3]
    for size in (0, 1 << 20):
        with pytest.raises(PermissionError):
            os.ftruncate(descriptor, size)
    with pytest.raises(PermissionError):
        fcntl.fcntl(descriptor, memory._ADD_SEALS, 8)


def forged_file(kind: str) -> int:
    """Return a descriptor of something that no pickle may map."""
    if kind == "fifo":
        os.mkfifo("fifo")
        return os.open("fifo", os.O_RDWR)
    if kind == "device":
        return os.open("/dev/zero", os.O_RDONLY)
    if kind == "folder":
        return os.open(".", os.O_RDONLY)
    if kind == "file":
        descriptor = os.open("file", os.O_RDWR | os.O_CREAT)
    else:
        descriptor = os.memfd_create(kind, 2)
    os.ftruncate(descriptor, 4096)
    return descriptor


@for_each("kind", ["fifo", "device", "folder", "file", "unsealed"])
def test_nothing_but_sealed_memory_is_mapped(kind):
    descriptor = forged_file(kind)
    status = os.fstat(descriptor)
    parts = parts_of(SharedArray(3))
    parts[3:8] = descriptor, kind, status.st_dev, status.st_ino, status.st_size
    before = len(os.listdir("/proc/self/fd"))
    try:
        with pytest.raises(MovedError):
            _map_again(*parts)
        assert len(os.listdir("/proc/self/fd")) == before
    finally:
        os.close(descriptor)


@for_each(
    ("position", "value"),
    [
        *((2, each) for each in ("self", -1, 0, True, 1 << 70)),  # the pid
        *((3, each) for each in (-1, "0", 1.0, 1 << 70)),  # the descriptor
        *((7, each) for each in (1, 1 << 40, -4096)),  # the length
        (0, b"boot"),
        (4, "numpack-other"),
        (6, 12345),
        *((8, each) for each in ("O", "nonsense", 7, "V4097", {})),  # the dtype
        *((9, each) for each in ((513,), (-1,), [3], ("3",), (1 << 40, 1 << 40), (3.0,), 3)),
        *((10, each) for each in ((1 << 40,), (-8,), (8, 8), ("8",), (1 << 80,), 8)),
        *((11, each) for each in (-1, 4096, 4090, 1 << 70, None)),  # the offset
    ],
)
def test_forged_pickles_are_refused(position, value):
    array = SharedArray((3,))
    parts = parts_of(array)
    parts[position] = value
    del array  # otherwise it is found by its name
    with pytest.raises(MovedError):
        _map_again(*parts)


def test_truncated_pickle_is_refused():
    parts = parts_of(SharedArray(3))
    for length in range(len(parts)):
        with pytest.raises(MovedError):
            _map_again(*parts[:length])


def test_memory_of_the_same_number_is_not_another():
    """A name that another file of this process has now does not match."""
    array, other = SharedArray(3), SharedArray(3)
    parts = parts_of(array)
    parts[4] = parts_of(other)[4]
    with pytest.raises(MovedError):
        _map_again(*parts)
    assert np.all(array == 0)
