"""Disk space and descriptors are released at once, and freed when they run out."""

from __future__ import annotations

import os
import time

import numpy as np
import pytest

from numpack import NumPack

ROWS = np.ones((1 << 18, 1), "f4")  # 1 MiB


def held_bytes() -> int:
    """Return the size of the store's unlinked files that are open or mapped."""
    total = 0
    for descriptor in os.listdir("/proc/self/fd"):
        try:
            path = os.readlink(f"/proc/self/fd/{descriptor}")
            if path.endswith("(deleted)") and "s.npk" in path:
                total += os.stat(f"/proc/self/fd/{descriptor}").st_size
        except OSError:
            continue
    return total + mapped_bytes()


def mapped_bytes() -> int:
    with open("/proc/self/maps") as table:
        lines = [line for line in table if "s.npk" in line and "(deleted)" in line]
    bounds = [line.split()[0].split("-") for line in lines]
    return sum(int(end, 16) - int(start, 16) for start, end in bounds)


def with_writable(store: NumPack) -> None:
    with store.writable_batch_mode() as batch:
        batch.load("x")[0] = 1


USES = {
    "append": lambda s: s.append({"x": ROWS[:1]}),
    "append of blocks": lambda s: s.append({"x": ROWS}),
    "replace": lambda s: s.replace({"x": ROWS[:1]}, [0]),
    "drop of rows": lambda s: s.drop("x", [0]),
    "getitem": lambda s: s.getitem("x", [0]),
    "lazy": lambda s: np.asarray(s.load("x", lazy=True)).sum(),
    "stream": lambda s: list(s.stream_load("x", 1 << 17)),
    "writable batch": with_writable,
    "verify": lambda s: s.verify(),
}
REMOVALS = {
    "drop": lambda s: s.drop("x"),
    "save": lambda s: s.save({"x": ROWS[:1]}),
    "update": lambda s: (s.drop("x", [1]), s.update("x")),
    "reset": lambda s: s.reset(),
}


@pytest.mark.parametrize("removal", REMOVALS)
def test_unlinked_files_are_closed(removal):
    with NumPack("s.npk") as store, NumPack("s.npk") as other:
        for use in USES.values():
            store.save({"x": ROWS})
            use(store)
            REMOVALS[removal](store)
            assert held_bytes() == 0
            store.save({"x": ROWS})
            use(store)
            REMOVALS[removal](other)
            store.has_array("x")  # the next call of a handle that had files open
            other.has_array("x")
            assert held_bytes() == 0


def test_large_unlinked_file_is_closed_soon():
    with NumPack("s.npk") as store:
        for _ in range(3):
            store.save({"x": np.ones((3 << 20, 1), "f4")})
            store.append({"x": ROWS[:1]})
        store.drop("x")
        for _ in range(200):
            if not held_bytes():
                break
            time.sleep(0.01)
        assert held_bytes() == 0


FEW_DESCRIPTORS = """
import os, resource, numpy as np
from numpack import NumPack
for number in range(12):
    with NumPack(f"{number}.npk") as store:
        store.save({f"x{i}": np.full((4, 2), i, "f4") for i in range(20)})
limit = len(os.listdir("/proc/self/fd")) + 12 * 5 + 24
resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
stores = [NumPack(f"{number}.npk") for number in range(12)]
for store in stores:
    store.open()
lazies = [store.load(name, lazy=True) for store in stores for name in store]
for store in stores:
    for i in range(20):
        name = f"x{i}"
        assert (store.getitem(name, [0, 1]) == i).all()
        store.append({name: np.full((1, 2), i, "f4")})
        store.replace({name: np.full((1, 2), i, "f4")}, [0])
        store.drop(name, [1])
assert all((np.asarray(lazy) == i % 20).all() for i, lazy in enumerate(lazies))
for store in stores:
    names = list(store)
    store.append({name: np.full((1, 2), 9, "f4") for name in names})
    store.replace({name: np.full((1, 2), 9, "f4") for name in names}, [0])
    store.save({"new": np.ones(3)})
    store.clone("x3", "y")
    assert store.verify()
    assert store.load("x3")[:, 0].tolist() == [9, 3, 3, 3, 9]
    store.close()
print("done")
"""


def test_cached_files_are_closed_at_the_descriptor_limit(run_python):
    assert run_python(FEW_DESCRIPTORS) == "done\n"


MAPPING_FAILS = """
import numpy as np
from numpack import NumPack
from numpack.store.fs import resources
with NumPack("s.npk") as store:
    store.save({"x": np.ones((4, 2))})
    lazy = store.load("x", lazy=True)
    real, calls = resources.release_cached, []
    def mapped():
        calls.append(1)
        if len(calls) == 1:
            raise OSError(12, "Cannot allocate memory")
        return 5
    assert resources.map_with_retry(mapped) == 5
    made = store.get_io_stats()["mappings"]
    store.load("x", lazy=True)
    assert store.get_io_stats()["mappings"] == made + 1  # those kept had been let go
    assert (lazy == 1).all()
print("done")
"""


def test_cached_mappings_are_released_if_mapping_fails(run_python):
    assert run_python(MAPPING_FAILS) == "done\n"


INTERRUPTED = """
import os, signal, numpy as np
from numpack import NumPack
class Stop(Exception):
    pass
def stop(*_):
    raise Stop
signal.signal(signal.SIGALRM, stop)
rng = np.random.default_rng(1)
with NumPack("s.npk") as store:
    store.save({f"x{i}": np.ones((40, 2)) for i in range(80)})
    store.drop("x3", [1])
    names = list(store)
    store.load("x0", lazy=True)
    before = None
    for number in range(800):
        try:
            signal.setitimer(signal.ITIMER_REAL, 1e-6 + rng.random() * 4e-4)
            while True:
                for name in names:
                    np.asarray(store.load(name, lazy=True))
        except Stop:
            pass
        if number == 20:
            before = len(os.listdir("/proc/self/fd"))
    assert len(os.listdir("/proc/self/fd")) <= before + 16, os.listdir("/proc/self/fd")
print("done")
"""


def test_exception_from_a_signal_handler_leaks_no_descriptor(run_python):
    assert run_python(INTERRUPTED) == "done\n"
