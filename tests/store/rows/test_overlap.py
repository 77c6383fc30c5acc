"""Writing rows that overlap the file written to, and arrays that change during the write."""

from __future__ import annotations

import threading

import numpy as np
import pytest

from numpack import NumPack, share
from numpack.store.kernels.checksums import BLOCK

SHAPES = [(6, 2), (3000, 256), (6, 300_000)]  # part of a block, several blocks, and long rows


def memmap(store: NumPack, name: str) -> np.ndarray:
    entry = store.get_metadata()["arrays"][name]
    path = f"s.npk/{entry['data_file']}"
    return np.memmap(path, entry["dtype"], "r", shape=tuple(entry["shape"]))


VIEWS = {
    "lazy": lambda s: np.asarray(s.load("x", lazy=True)),
    "lazy slice": lambda s: s.load("x", lazy=True)[:],
    "shared": lambda s: share(s.load("x", lazy=True), "dlpack").array,
    "memmap": lambda s: memmap(s, "x"),
    "DLPack": lambda s: np.from_dlpack(s.load("x", lazy=True)),
    "reopened": lambda s: NumPack("s.npk"),
}
MOVES = {
    "down": (lambda x: x[:-1], slice(1, None)),
    "up": (lambda x: x[1:], slice(None, -1)),
    "reversed": (lambda x: x[::-1], slice(None)),
    "strided": (lambda x: x[:6:2], slice(0, 3)),
    "by number": (lambda x: x[:3], [3, 1, 2]),
    "duplicate rows": (lambda x: x[:3], [1, 2, 1]),
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("kind", VIEWS)
def test_replace_by_rows_of_the_same_array(store, kind, shape):
    array = np.arange(np.prod(shape), dtype="f4").reshape(shape)
    for pick, rows in MOVES.values():
        store.save({"x": array})
        view = VIEWS[kind](store)
        if isinstance(view, NumPack):
            view.open()
            view = view.load("x", lazy=True)
        expected = array.copy()
        expected[rows] = pick(array).copy()
        store.replace({"x": pick(view)}, rows)
        assert np.array_equal(store.load("x"), expected)
        assert store.verify()


def test_swap_two_arrays_in_one_commit(store):
    for shape in SHAPES:
        store.save({"a": np.zeros(shape, "f4"), "b": np.ones(shape, "f4")})
        given = {"a": store.load("b", lazy=True), "b": store.load("a", lazy=True)}
        store.replace(given, slice(None))
        assert (store.load("a") == 1).all()
        assert (store.load("b") == 0).all()
        assert store.verify()


def test_replace_by_rows_of_the_same_file_with_dropped_rows(store):
    array = np.arange(4000 * 100, dtype="i8").reshape(4000, 100)
    store.save({"x": array})
    store.drop("x", [0, 7, 100])
    left = np.delete(array, [0, 7, 100], axis=0)
    store.replace({"x": memmap_rows(store, "x")}, slice(1, None))
    assert np.array_equal(store.load("x")[1:], array[: len(left) - 1])
    assert store.verify()


def memmap_rows(store: NumPack, name: str) -> np.ndarray:
    """Return the first rows of the data file, one fewer than there are live rows."""
    entry = store.get_metadata()["arrays"][name]
    path = f"s.npk/{entry['data_file']}"
    count, width = entry["shape"]
    return np.memmap(path, entry["dtype"], "r", shape=(count - 1, width))


def test_append_and_save_rows_of_the_same_file(store):
    array = np.arange(300_000, dtype="f4").reshape(-1, 3)
    store.save({"x": array})
    for _ in range(3):
        store.append({"x": memmap(store, "x")[::-1]})
        array = np.concatenate([array, array[::-1]])
        store.save({"x": store.load("x", lazy=True)[::-1]})
        array = array[::-1]
        assert np.array_equal(store.load("x"), array)
        assert store.verify()


def test_replace_converts_byte_order_and_layout(store):
    array = np.arange(2 * BLOCK, dtype="i4").reshape(-1, 64)
    for given in (array.astype(">i4"), np.asfortranarray(array), array[:, ::-1]):
        store.save({"x": np.zeros_like(array)})
        store.replace({"x": given[5:]}, slice(5, None))
        assert np.array_equal(store.load("x")[5:], given[5:])
        mask = np.arange(len(array)) % 3 == 0
        store.replace({"x": given[mask]}, mask)
        assert np.array_equal(store.load("x")[mask], given[mask])
        assert store.verify()


@pytest.fixture
def changing_arrays():
    """Return arrays that a thread changes as long as the test runs."""
    large, small, stop = np.zeros((64, 1 << 16), "u1"), np.zeros((4000, 10), "u1"), []

    def keep_changing() -> None:
        number = 0
        while not stop:
            number += 1
            large[:] = number & 255
            small[:] = number & 255

    thread = threading.Thread(target=keep_changing)
    thread.start()
    yield large, small
    stop.append(True)
    thread.join()


def test_checksums_are_of_the_bytes_written_while_arrays_change(store, changing_arrays):
    large, small = changing_arrays
    for _ in range(6):
        store.save({"large": large, "small": small, "rows": np.zeros_like(large)})
        store.append({"large": large, "small": small})
        for _ in range(5):
            store.append({"small": small})
            store.append({"large": large[:, :]})
        store.replace({"rows": large}, slice(None))
        store.replace({"rows": large[:7]}, [1, 60, 3, 8, 33, 2, 9])
        report = store.verify()
        assert report, str(report)


def test_checksums_are_right_while_indexes_change(store):
    rows, stop = np.zeros(1000, np.int64), []

    def keep_changing() -> None:
        while not stop:
            rows[:] = np.random.default_rng().permutation(4000)[:1000]

    thread = threading.Thread(target=keep_changing)
    thread.start()
    try:
        store.save({"x": np.zeros((4000, 512), "u1")})
        for number in range(30):
            store.replace({"x": np.full((1000, 512), number, "u1")}, rows)
        report = store.verify()
        assert report, str(report)
    finally:
        stop.append(True)
        thread.join()
