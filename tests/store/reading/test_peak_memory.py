"""Peak memory of calls: the size of the result and a small constant."""

from __future__ import annotations

import numpy as np

from numpack import NumPack

ROWS = 4_000_000  # one byte each
MIB = 1 << 20
MEASURE = """
import sys, tracemalloc
import numpy as np
from numpack import NumPack
npk = NumPack("s.npk"); npk.open()
npk.getitem("holes", [0]); npk.getitem("wide", [0])
mask = np.ones(len(npk.load("holes", lazy=True)), bool); mask[::3] = False
ones = np.ones(npk.get_shape("whole"), "u1"); kept = np.ones(npk.get_shape("holes"), "u1")
few = np.arange(0, 4_000_000, 1000, dtype="i4")
lazy, wide = npk.load("holes", lazy=True), npk.load("wide", lazy=True)
for act in sys.argv[1:]:
    tracemalloc.start()
    result = eval(act)
    print(tracemalloc.get_traced_memory()[1])
    tracemalloc.stop()
    del result
"""


# The calls, and the number of bytes of their results.
CALLS = {
    "npk.load('holes')": ROWS,
    "np.asarray(lazy)": ROWS,
    "lazy[...][:10]": ROWS,
    "lazy[5:10]": 5,
    "lazy[5:2_000_000]": 2_000_000,
    "lazy[::2]": ROWS // 2,
    "lazy[mask]": ROWS * 2 // 3,
    "lazy[few]": 4000,
    "npk.getitem('holes', mask)": ROWS * 2 // 3,
    "npk.getitem('holes', slice(None))": ROWS,
    "npk.getitem('holes', slice(None, None, -1))": ROWS,
    "npk.getitem('whole', mask[:1].repeat(4_000_000))": ROWS,
    "sum(1 for _ in npk.stream_load('holes', 65536))": 65536,
    "npk.drop('holes', [5])": 0,
    "npk.replace({'whole': ones}, slice(None))": 0,
    "npk.replace({'holes': kept[:-1]}, slice(None))": 0,
    "npk.clone('holes', 'c')": 8 * MIB,
    "npk.clone('whole', 'd')": 8 * MIB,
    "npk.update('c')": 8 * MIB,
    "npk.update('holes')": 8 * MIB,
    "wide[:, 0]": 499,
    "wide[..., 0]": 499,
    "wide[10:400, 7]": 390,
    "wide[10:400, [7, 8]]": 780,
    "wide[::2, 5:9]": 1000,
    "wide[[1, 2, 300], 9]": 3,
    "wide[5:10]": 5 * 40_000,
    "[row[0] for row in wide][:1]": 40_000,
    "lazy.sum(), lazy.prod(), lazy.min(), lazy.max(), lazy.any(), lazy.all()": 0,
    "lazy.argmin(), lazy.argmax(0), np.sum(lazy), np.max(lazy), np.add.reduce(lazy)": 0,
    "wide.max(axis=0)": 40_000,
    "wide.argmax(axis=0)": 6 * 8 * 40_000,
    "wide.any(axis=1), wide.argmin(1)": 9 * 499,
    "lazy.mean(), lazy.std()": 10 * ROWS,
    "lazy.tobytes()": 2 * ROWS,
    "lazy.item(5), lazy.strides, lazy.flags, lazy.base": 0,
}


def test_peak_memory_is_the_size_of_the_result(run_python):
    with NumPack("s.npk") as store:
        wide = np.zeros((500, 40_000), "u1")
        store.save({"whole": np.zeros(ROWS, "u1"), "holes": np.zeros(ROWS, "u1"), "wide": wide})
        store.drop("holes", [ROWS // 2])
        store.drop("wide", [250])
    peaks = map(int, run_python(MEASURE, *CALLS).split())
    for (call, result), peak in zip(CALLS.items(), peaks, strict=True):
        assert peak <= result + 2.5 * MIB, f"{call} took {peak:,} bytes for {result:,}"


LIMITED = """
import resource
import numpy as np
from numpack import NumPack
npk = NumPack("s.npk"); npk.open()
used = int(open("/proc/self/statm").read().split()[0]) * 4096
resource.setrlimit(resource.RLIMIT_AS, (used + (48 << 20),) * 2)
npk.clone("x", "y")
npk.drop("x", [5, 50_000])
npk.update("x")
npk.drop("long", [1])
npk.update("long")
print(npk.get_shape("x"), npk.get_shape("y"), npk.get_shape("long"), bool(npk.verify()))
"""


def test_clone_and_update_arrays_larger_than_memory(run_python):
    array = np.arange(40 << 18, dtype="f4").reshape(-1, 64)  # 40 MiB
    with NumPack("s.npk") as store:
        store.save({"x": np.concatenate([array] * 2)})
        store.save({"long": np.arange(3 * 6 << 20, dtype="i4").reshape(3, -1)})  # 24 MiB a row
    found = run_python(LIMITED)
    assert found == f"({2 * len(array) - 2}, 64) ({2 * len(array)}, 64) (2, {6 << 20}) True\n"
    with NumPack("s.npk") as store:
        assert np.array_equal(store.load("y")[: len(array)], array)
        assert np.array_equal(store.load("x"), np.delete(store.load("y"), [5, 50_000], axis=0))
        assert store.load("long")[:, 0].tolist() == [0, 2 * 6 << 20]


SAVES = """
import tracemalloc
import numpy as np
from numpack import NumPack
base = np.arange(12 << 20, dtype="i4")
npk = NumPack("s.npk"); npk.open()
for given in (base[::2], base.reshape(2, -1)[:, ::2], base.reshape(2, -1).view(">i4"),
              base.reshape(-1, 2).T, base.reshape(1, 4, -1)[:, ::-1]):
    tracemalloc.start()
    npk.save({"x": given})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 18 << 20, peak  # two parts of 8 MiB, of 24 or 48
    assert np.array_equal(npk.load("x"), given)
print("done")
"""


def test_save_converts_long_rows_in_parts(run_python):
    assert run_python(SAVES) == "done\n"
