"""Whether memory may be written to, asked of the kernel through one descriptor."""

from __future__ import annotations

import mmap

import numpy as np
from support.each import for_each

from numpack._core.owner import ArrayOwner, base_view
from numpack._core.writability import is_heap, memory_root


def test_root_is_the_owner_of_the_memory():
    array = np.arange(6.0)
    assert memory_root(array[1:][::2]) is array
    view = base_view(array[1:])
    assert isinstance(view.base, ArrayOwner)
    assert memory_root(view[1:]) is array
    data = bytearray(16)
    assert memory_root(np.frombuffer(memoryview(data), "u1")) is data


def test_heap():
    pages = mmap.mmap(-1, 4096)
    assert is_heap(np.arange(3))
    assert is_heap(b"abc")
    assert is_heap(bytearray(3))
    assert not is_heap(pages)
    assert not is_heap(None)


DESCRIPTORS = """
import os, numpy as np
from numpack._core.pages import mappings_between

array = np.zeros(1 << 20, "u1")

if mappings_between(0, 1) is None:  # before Linux 6.11
    raise SystemExit

def check():
    start = array.ctypes.data
    [found] = mappings_between(start, start + 1)
    assert found[0] <= start < found[1] and found[2], found

check()
known = set(os.listdir("/proc/self/fd"))
for _ in range(100):
    check()
assert set(os.listdir("/proc/self/fd")) == known
maps = [int(fd) for fd in known if os.path.exists(f"/proc/self/fd/{fd}")
        and os.readlink(f"/proc/self/fd/{fd}").endswith("/maps")]
{change}
check()
"""
CHANGES = {
    "closed by others": "os.closerange(3, 256)",
    "another file's": "[os.dup2(os.open('/dev/null', os.O_RDONLY), fd) for fd in maps]",
    "forked": """
pid = os.fork()
array = np.ones(1 << 22, "u1")  # the parent and the child map other memory from here on
check()
if pid == 0:
    os._exit(0)
assert os.waitpid(pid, 0)[1] == 0
""",
}


@for_each("name", CHANGES)
def test_query_survives(run_python, name):
    run_python(DESCRIPTORS.replace("{change}", CHANGES[name]))
