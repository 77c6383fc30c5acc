"""Views of stored arrays and of shared memory that are pickled by reference."""

from __future__ import annotations

import copy
import copyreg
import gc
import os
import pickle
import subprocess
import sys
import threading
from multiprocessing.reduction import ForkingPickler

import numpy as np
import pytest
from support.each import for_each
from support.memory import address, is_private_copy_on_write, shares_pages

import numpack.io
from numpack import MovedError, NumPack, SharedArray
from numpack.io import pickle_by_reference, use_pickle_by_reference

ROWS = np.arange(60_000.0).reshape(600, 100)
VIEWS = {
    "rows": lambda x: x[10:500],
    "column": lambda x: x[5:90, 7],
    "row": lambda x: x[3],
    "every second": lambda x: x[::2, 1::3],
    "reversed": lambda x: x[::-1, ::-2],
    "transposed": lambda x: x.T,
    "all": np.asarray,
    "other dtype": lambda x: x[2:].view("i4"),
    "0-d": lambda x: x[4, 5, ...],
}


@pytest.fixture
def lazy(store):
    store.save({"x": ROWS, "y": np.arange(9)})
    return store.load("x", lazy=True)


@pytest.fixture(autouse=True)
def _own_tables():
    yield
    numpack.io.references._TABLES.reset()


def by_reference(array: np.ndarray, protocol: int | None = None) -> bytes:
    with pickle_by_reference():
        return pickle.dumps(array, protocol)


def overwrite(view: np.ndarray) -> None:
    """Write to a read-only view, as a framework may."""
    from numpack._core.owner import writable_alias

    writable_alias(view)[...] = -1


@for_each("name", VIEWS)
def test_views_are_mapped_again(lazy, name):
    view = VIEWS[name](lazy)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        pickled = by_reference(view, protocol)
        assert len(pickled) <= 1024
        again = pickle.loads(pickled)
        assert type(again) is np.ndarray
        assert (again.dtype, again.shape, again.strides) == (
            view.dtype,
            view.shape,
            view.strides,
        )
        assert np.array_equal(again, view)
        assert not again.flags.writeable
        assert shares_pages(address(again), address(view))
        assert is_private_copy_on_write(address(again))


def test_rows_after_deleted_ones_are_mapped_again(store, lazy):
    store.drop("x", [0, 1, 2])
    view = store.load("x", lazy=True)[5:100]
    again = pickle.loads(by_reference(view))
    assert np.array_equal(again, ROWS[8:103])
    assert shares_pages(address(again), address(view))
    span = store.load("x", lazy=True).rows(0, 50)[:]
    assert np.array_equal(pickle.loads(by_reference(span)), ROWS[3:53])


def test_another_process_maps_the_view(lazy):
    script = "import pickle, sys; a = pickle.load(sys.stdin.buffer); print(a.sum(), a.shape)"
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=by_reference(lazy[10:20, 3]),
        capture_output=True,
        check=True,
    )
    assert done.stdout.decode().split(" ", 1)[0] == str(ROWS[10:20, 3].sum())


def test_view_alone_keeps_its_file_findable(store):
    store.save({"x": ROWS})
    view = store.load("x", lazy=True)[10:20]
    pickled = by_reference(view)
    store.drop("x")
    gc.collect()
    assert np.array_equal(pickle.loads(pickled), ROWS[10:20])
    again = by_reference(view)
    assert len(again) <= 1024
    assert np.array_equal(pickle.loads(again), ROWS[10:20])
    del view
    gc.collect()
    with pytest.raises(MovedError):
        pickle.loads(again)


def test_view_that_was_unpickled_is_pickled_again(lazy):
    again = pickle.loads(by_reference(lazy[10:20]))
    pickled = by_reference(again[2:, ::2])
    assert len(pickled) <= 1024
    assert np.array_equal(pickle.loads(pickled), ROWS[12:20, ::2])


def test_replaced_rows_are_visible(store, lazy):
    view = lazy[10:20]
    pickled = by_reference(view)
    store.replace({"x": np.zeros((1, 100))}, [12])
    for each in (view, pickle.loads(pickled), pickle.loads(by_reference(view))):
        assert each[2].sum() == 0
        assert np.array_equal(each[:2], ROWS[10:12])


def test_bytes_that_a_framework_wrote_are_pickled(lazy):
    view, other = lazy[10:20], lazy[400:500]
    overwrite(view)
    pickled = by_reference(view)
    assert len(pickled) > view.nbytes
    assert (pickle.loads(pickled) == -1).all()
    assert len(by_reference(other)) <= 1024
    assert np.array_equal(pickle.loads(by_reference(other)), ROWS[400:500])
    assert len(by_reference(lazy[10:20])) <= 1024  # other pages


def test_arrays_of_other_memory_are_pickled_by_value(lazy):
    others = [ROWS[:3], ROWS[:3].T, ROWS[::7], np.asfortranarray(ROWS[:3]), np.array(3.5)]
    others += [np.array(["a", None], object), ROWS[:0], lazy[3:3], lazy[[1, 2]], lazy + 1]
    others += [
        np.zeros(2, [("a", "i4"), ("b", "S2")]),
        np.array(["x", "yz"]),
        np.zeros(3, "S0"),
    ]
    for array in others:
        for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
            again = pickle.loads(by_reference(array, protocol))
            plain = pickle.loads(pickle.dumps(array, protocol))
            assert (again.dtype, again.shape) == (array.dtype, array.shape)
            assert again.tolist() == array.tolist()
            assert again.flags.writeable == plain.flags.writeable
            assert again.flags.f_contiguous == plain.flags.f_contiguous


def test_buffers_out_of_band_are_not_copied():
    buffers = []
    with pickle_by_reference():
        pickled = pickle.dumps(ROWS, 5, buffer_callback=buffers.append)
    assert len(pickled) < 1024
    again = pickle.loads(pickled, buffers=buffers)
    assert np.shares_memory(again, ROWS)
    assert again.flags.writeable


def test_shared_memory_is_pickled_by_reference():
    array = SharedArray((50, 40))
    plain = np.asarray(array)
    again = pickle.loads(by_reference(plain[3:, ::-2]))
    assert type(again) is np.ndarray
    again[0, 0] = 5
    assert array[3, 39] == 5
    frozen = plain[:]
    frozen.flags.writeable = False
    assert not pickle.loads(by_reference(frozen)).flags.writeable
    assert type(pickle.loads(by_reference(array))) is SharedArray


def test_copies_are_copied(lazy):
    array = np.asarray(SharedArray(3))
    with pickle_by_reference():
        for copied in (copy.copy(array), copy.deepcopy(array), copy.copy(lazy[1:])):
            assert copied.flags.owndata
            assert copied.flags.writeable


def test_leaving_restores_the_tables(lazy):
    def own(array: np.ndarray) -> tuple:
        return np.zeros, (3,)

    before = dict(copyreg.dispatch_table)
    view = lazy[:]
    with pickle_by_reference():
        with pickle_by_reference():
            assert len(pickle.dumps(view)) <= 1024
        assert len(pickle.dumps(view)) <= 1024
    assert copyreg.dispatch_table == before
    assert len(pickle.dumps(view)) > view.nbytes
    copyreg.dispatch_table[np.ndarray] = own
    try:
        with pickle_by_reference():
            assert len(pickle.dumps(view)) <= 1024
            assert pickle.loads(pickle.dumps(np.arange(9))).tolist() == [0, 0, 0]
        assert copyreg.dispatch_table[np.ndarray] is own
    finally:
        del copyreg.dispatch_table[np.ndarray]
    with pickle_by_reference():
        copyreg.dispatch_table[np.ndarray] = own
    assert copyreg.dispatch_table.pop(np.ndarray) is own


def test_setting_is_that_of_the_context(lazy):
    view, lengths = lazy[:], []

    def note() -> None:
        lengths.append(len(pickle.dumps(view)))

    with pickle_by_reference():
        thread = threading.Thread(target=note)
        thread.start()
        thread.join()
        note()
    assert lengths[0] > view.nbytes
    assert lengths[1] <= 1024


def test_setting_of_the_process_holds_in_all_threads_and_pools(lazy):
    import multiprocessing

    use_pickle_by_reference()
    use_pickle_by_reference()
    lengths = []
    view = lazy[:]
    thread = threading.Thread(target=lambda: lengths.append(len(pickle.dumps(view))))
    thread.start()
    thread.join()
    assert lengths[0] <= 1024
    assert len(bytes(ForkingPickler.dumps(view))) <= 1024
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        assert pool.apply(is_mapped, (view[:, :2],))


def is_mapped(array: np.ndarray) -> bool:
    """Return whether an array is over a file of a store, in another process."""
    return is_private_copy_on_write(address(array)) and np.array_equal(array, ROWS[:, :2])


def test_views_of_a_store_that_was_moved_or_removed_are_refused(tmp_path):
    with NumPack("moved.npk") as npk:
        npk.save({"x": ROWS})
        view = npk.load("x", lazy=True)[1:]
    pickled = by_reference(view)
    del view
    gc.collect()
    os.rename("moved.npk", "elsewhere.npk")
    with pytest.raises(MovedError) as caught:
        pickle.loads(pickled)
    assert caught.value.reason == "missing"


@for_each("layout", [(), ("f8",), ("f8", (601, 100), None, 0), ("O", (1,), None, 0)])
def test_forged_layouts_are_refused(lazy, layout):
    with pickle_by_reference():
        function, arguments = copyreg.dispatch_table[np.ndarray](lazy[1:])
    with pytest.raises(MovedError):
        function(*arguments[:2], layout)


def test_nothing_leaks(lazy):
    def counts() -> tuple[int, int]:
        gc.collect()
        with open("/proc/self/maps") as maps:
            return len(os.listdir("/proc/self/fd")), len(maps.readlines())

    pickled = by_reference(lazy[1:])
    for _ in range(20):
        pickle.loads(pickled)
    before = counts()
    for _ in range(300):
        pickle.loads(by_reference(pickle.loads(pickled)))
    assert all(abs(a - b) < 30 for a, b in zip(counts(), before, strict=True))
