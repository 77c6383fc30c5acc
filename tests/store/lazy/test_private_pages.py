"""Writes to memory that a store handed out are private and never read by the store."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

import numpy as np
import pytest
from support.memory import address, is_private_copy_on_write

from numpack import NumPack, share
from numpack.io import from_dlpack

SHAPES = [(8, 4), (64, 1024), (20, 20_000)]


def overwrite(view: np.ndarray) -> None:
    """Write to an array without NumPy's knowledge, as a framework may."""
    contiguous = view if view.flags.c_contiguous else view[:1]
    ctypes.memset(address(contiguous), 0xFF, contiguous.nbytes)


EXPORTS = {
    "asarray": np.asarray,
    "row": lambda lazy: lazy[0],
    "rows": lambda lazy: lazy[1:3],
    "iteration": lambda lazy: next(iter(lazy)),
    "reshape": lambda lazy: lazy.reshape(-1),
    "T": lambda lazy: lazy.T.T,
    "DLPack": np.from_dlpack,
    "share": lambda lazy: share(lazy, "numpy"),
    "buffer": lambda lazy: np.asarray(memoryview(np.asarray(lazy))),
    "column": lambda lazy: lazy[:, :2].T,
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("how", EXPORTS)
def test_write_past_numpy_does_not_change_later_reads(store, how, shape):
    store.save({"x": np.full(shape, 7, "f4")})
    lazy = store.load("x", lazy=True)
    held = []
    for _ in range(3):
        view = EXPORTS[how](lazy)
        assert (view == 7).all()
        overwrite(view)
        held.append(view)
        for other in (lazy, store.load("x", lazy=True)):
            for again, export in EXPORTS.items():
                assert (export(other) == 7).all(), again
        assert (lazy + 0 == 7).all()
    assert (store.load("x") == 7).all()
    assert (store.getitem("x", [0, 2]) == 7).all()
    assert all((rows == 7).all() for rows in store.stream_load("x", 3))
    assert store.verify()
    store.clone("x", "y")
    store.drop("x", [3])
    assert (store.load("x") == 7).all()
    store.update("x")
    assert (store.load("x") == 7).all()
    assert (store.load("y") == 7).all()


def test_large_array_is_mapped_again_after_a_write(store):
    # So many pages that they are not queried one by one.
    store.save({"x": np.full((17, 1 << 20), 7, "f4")})
    lazy = store.load("x", lazy=True)
    for _ in range(2):
        overwrite(np.asarray(lazy)[:1])
        assert (np.asarray(lazy)[0] == 7).all()
        assert (lazy[0] == 7).all()


def test_replace_is_visible_in_exports_after_a_write(store):
    for shape in SHAPES:
        store.save({"x": np.full(shape, 7, "f4")})
        lazy = store.load("x", lazy=True)
        overwrite(lazy[0])
        with NumPack("s.npk") as other:
            other.replace({"x": np.full(shape, 9, "f4")}, slice(None))
        assert (np.asarray(lazy) == 9).all()
        assert (lazy[1] == 9).all()  # a row in the page that was written to
        assert (store.getitem("x", [0, 1]) == 9).all()


def test_exports_share_the_pages_of_the_file(store):
    store.save({"x": np.arange(4096.0).reshape(64, 64)})
    lazy = store.load("x", lazy=True)
    array = np.asarray(lazy)
    assert is_private_copy_on_write(address(array))
    assert address(np.asarray(lazy)) == address(array)
    assert address(lazy[3]) == address(array[3])
    overwrite(lazy[3])
    assert address(np.asarray(lazy)) != address(array)


@pytest.mark.parametrize("others", [0, 40])  # so many files that descriptors are evicted
def test_unlinked_file_is_exported_or_copied_after_a_write(store, others):
    rows = np.arange(12.0).reshape(6, 2)
    store.save({f"n{number}": rows for number in range(others)} | {"x": rows})
    lazy = store.load("x", lazy=True)
    held = [store.load(f"n{number}", lazy=True) for number in range(others)]
    store.drop("x")
    assert np.array_equal(np.array(lazy, copy=False), rows)  # without a copy
    overwrite(np.asarray(lazy))
    view = np.asarray(lazy)
    assert np.array_equal(view, rows)
    assert not view.flags.writeable
    assert np.array_equal(lazy[1], rows[1])
    assert np.array_equal(from_dlpack(lazy), rows)
    assert len(held) == others


def test_lazy_arrays_hold_no_descriptors(store):
    store.save({f"x{number}": np.full((4, 2), number) for number in range(100)})
    before = len(os.listdir("/dev/fd"))
    lazies = {name: store.load(name, lazy=True) for name in store}
    assert len(os.listdir("/dev/fd")) - before <= 16
    arrays = {name: np.asarray(lazy) for name, lazy in lazies.items()}
    assert len(os.listdir("/dev/fd")) - before <= 16
    for file in Path("s.npk/data").iterdir():
        file.unlink()
    for number in range(100):
        assert (lazies[f"x{number}"] == number).all()
        assert (arrays[f"x{number}"] == number).all()
        assert (np.asarray(lazies[f"x{number}"]) == number).all()


def test_cache_keeps_the_documented_number_of_mappings(store):
    store.save({f"x{number:03}": np.zeros((4, 2)) for number in range(100)})
    names = list(store)
    for name in names[:64]:
        store.load(name, lazy=True)
    made = store.get_io_stats()["mappings"]
    for name in names[:64]:
        store.load(name, lazy=True)
    assert store.get_io_stats()["mappings"] == made
    for name in names[64:]:
        store.load(name, lazy=True)
    for name in names[36:]:
        store.load(name, lazy=True)
    assert store.get_io_stats()["mappings"] == made + 36


FORKED = """
import ctypes, mmap, os, resource, sys
import numpy as np
from numpack import NumPack

def faults():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_minflt + usage.ru_majflt

with NumPack("s.npk") as store:
    store.save({"x": np.zeros(1 << 17), "y": np.zeros(1 << 17)})
    lazy, other = store.load("x", lazy=True), store.load("y", lazy=True)
    view = np.asarray(lazy)
    view.sum()
    spare = mmap.mmap(-1, 1 << 30)
    spare.madvise(mmap.MADV_NOHUGEPAGE)
    touched = 0
    for missing in range(20):  # reading the number causes faults itself
        np.asarray(lazy)  # finds out that nothing was written, at this number of faults
        before = faults()
        pid = os.fork()
        if not pid:
            ctypes.c_double.from_address(view.ctypes.data).value = 7.0
            for _ in range(100):  # so that the pages of the interpreter are this process's
                np.asarray(other)[0] == 0
            while faults() < before - missing and touched < len(spare):
                spare[touched] = 1
                touched += mmap.PAGESIZE
            os._exit(int(np.asarray(lazy)[0]))
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0, missing
"""


def test_a_child_that_had_as_many_faults_as_its_parent_is_checked(run_python):
    """The count of page faults begins at 0 in a child, and can reach that of the parent."""
    run_python(FORKED)
