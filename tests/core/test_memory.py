"""Peak memory of calls: the size of the result and a small constant."""

from __future__ import annotations

import numpy as np
import pytest

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


KEYS = [
    (slice(None), 0),
    (slice(None), None, 2),
    (..., 1),
    (..., slice(1, 3)),
    (slice(2, 40, 3), slice(None, None, -1)),
    (slice(None), [0, 2]),
    (slice(5, 50), np.array([[0, 2], [1, 1]])),
    (slice(None), np.array([True, False, True, True])),
    (slice(None, None, -1), ..., 0),
    ([1, 5, -1], 2),
    ([1, 5, -1], slice(1, 3)),
    ([1, 5, -1], [0, 1, 2]),
    (np.arange(90) % 7 == 1, 1),
    (slice(3, 3), 1),
    (3, 1),
    (np.int8(3), slice(None)),
    slice(None, None, -1),
    slice(80, 10),
    (),
    None,
    (slice(None), slice(None), None),
]


@pytest.mark.parametrize("shape", [(100, 4), (100, 4, 3)])
def test_indexing_with_dropped_rows_agrees_with_numpy(shape):
    array = np.arange(np.prod(shape), dtype="i4").reshape(shape)
    dropped_rows = [0, 3, 4, 50, 51, 52, 98, 99, 7, 11]
    with NumPack("s.npk") as store:
        store.save({"x": array})
        store.drop("x", dropped_rows)
        lazy, left = store.load("x", lazy=True), np.delete(array, dropped_rows, axis=0)
        for key in KEYS:
            found, expected = lazy[key], left[key]
            assert found.shape == expected.shape, key
            assert found.dtype == expected.dtype
            assert np.array_equal(found, expected), key
        for key in [(slice(None), 4), (slice(None), 0, 0, 0, 0), ([90], 0), (..., 0, ...)]:
            with pytest.raises(IndexError):
                lazy[key]


def test_drop_rows_of_any_width():
    rng = np.random.default_rng(5)
    with NumPack("s.npk") as store:
        for width in (1, 3, 8, 1000, 100_000):
            count = 3_000_000 // width
            array = rng.integers(0, 256, (count, width), "u1")
            store.save({"x": array})
            for dropped in (1, 5, count // 2):
                dropped_rows = np.unique(rng.integers(0, len(array), dropped))
                store.drop("x", dropped_rows)
                array = np.delete(array, dropped_rows, axis=0)
                assert np.array_equal(store.load("x"), array)
                assert np.array_equal(store.getitem("x", slice(3, -2)), array[3:-2])
                mask = rng.random(len(array)) < 0.3
                assert np.array_equal(store.getitem("x", mask), array[mask])
                assert np.array_equal(np.concatenate(list(store.stream_load("x", 7777))), array)
                store.clone("x", "y")
                assert np.array_equal(store.load("y"), array)
                store.drop("y")
            store.update("x")
            assert np.array_equal(store.load("x"), array)
            assert store.verify()
