"""Conversion of lazy arrays: to NumPy, through DLPack and `share`."""

from __future__ import annotations

import ctypes
import gc
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from support.files import contents
from support.memory import address, file_position, shares_pages

from numpack import (
    CopyWarning,
    LazyArray,
    NumPack,
    ZeroCopyArray,
    ZeroCopyError,
    explain,
    share,
)
from numpack.io import from_dlpack, to_dlpack

ROWS = np.arange(1, 13).reshape(6, 2)


@pytest.fixture
def lazy(store):
    store.save({"x": ROWS})
    return store.load("x", lazy=True)


def mapped(store: NumPack, array: np.ndarray) -> LazyArray:
    """Save an array and return it mapped."""
    store.save({"mapped": array})
    return store.load("mapped", lazy=True)


def test_views_cannot_be_made_writable(lazy):
    for view in (np.asarray(lazy), lazy[1:], lazy.T, lazy.reshape(-1), lazy[0], *lazy):
        assert not view.flags.writeable
        with pytest.raises(ValueError, match="read-only"):
            view[...] = 0
        with pytest.raises(ValueError, match=r"cannot set WRITEABLE|cannot set writeable"):
            view.setflags(write=True)


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_empty_views_are_read_only(store, shape):
    assert not np.asarray(mapped(store, np.zeros(shape))).flags.writeable


def test_item_assignment_is_refused(lazy):
    with pytest.raises(TypeError, match="item assignment"):
        lazy[0] = 1


def test_asarray_returns_the_mapping(lazy):
    array = np.asarray(lazy)
    assert address(np.asarray(lazy)) == address(array)
    assert address(np.asarray(lazy, ROWS.dtype)) == address(array)
    assert address(np.array(lazy, copy=None)) == address(array)
    assert address(np.array(lazy, copy=False)) == address(array)
    inode = next(Path("s.npk/data").iterdir()).stat().st_ino
    assert file_position(address(array)) == (inode, 0)


def test_copy_is_independent(lazy):
    for fresh in (np.array(lazy), np.array(lazy, copy=True), np.array(lazy, ROWS.dtype)):
        assert fresh.flags.writeable
        fresh[...] = 0
    assert np.array_equal(lazy, ROWS)


def test_another_dtype_needs_a_copy(lazy):
    assert np.asarray(lazy, "f4").dtype == np.float32
    assert np.array_equal(np.asarray(lazy, "f4"), ROWS)
    with pytest.raises(ValueError, match="copy"):
        np.array(lazy, "f4", copy=False)


CHANGES = {
    "save": lambda s: s.save({"x": -ROWS}),
    "save twice": lambda s: (s.save({"x": -ROWS}), s.save({"x": ROWS[:1]})),
    "save of another dtype": lambda s: s.save({"x": np.zeros(1000, "u1")}),
    "append": lambda s: s.append({"x": -ROWS}),
    "append of pages": lambda s: s.append({"x": np.zeros((5000, 2), int)}),
    "drop": lambda s: s.drop("x"),
    "drop and save": lambda s: (s.drop("x"), s.save({"x": -ROWS})),
    "drop_if_exists": lambda s: NumPack("s.npk", drop_if_exists=True).open(),
    "close": lambda s: s.close(),
}


def test_dlpack_export_shares_the_pages_of_the_file(lazy):
    assert lazy.__dlpack_device__() == (1, 0)
    exported = np.from_dlpack(lazy)
    assert np.array_equal(exported, ROWS)
    assert shares_pages(address(exported), address(np.asarray(lazy)))


@pytest.mark.parametrize("change", ["nothing", "append", "save", "drop", "close"])
def test_writes_by_a_dlpack_consumer_are_private(store, lazy, change):
    CHANGES.get(change, lambda s: None)(store)
    before = contents()
    exported, second = np.from_dlpack(lazy), np.from_dlpack(lazy)
    ctypes.memset(address(exported), 0xFF, exported.nbytes)
    assert (exported == -1).all()
    assert np.array_equal(lazy, ROWS)
    assert np.array_equal(second, ROWS)
    assert np.array_equal(np.from_dlpack(lazy), ROWS)
    assert contents() == before


def test_dlpack_export_outlives_lazy_array_and_store(store, lazy):
    exported = np.from_dlpack(lazy)
    store.drop("x")
    store.close()
    del lazy, store
    gc.collect()
    assert np.array_equal(exported, ROWS)


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4)])
def test_dlpack_export_of_any_shape(store, shape):
    array = np.ones(shape, "f4")
    exported = np.from_dlpack(mapped(store, array))
    assert exported.shape == shape
    assert np.array_equal(exported, array)


class OldConsumer:
    """Requests a capsule as a consumer that knows only DLPack 0 does."""

    def __init__(self, lazy: LazyArray) -> None:
        self.lazy = lazy

    def __dlpack__(self, **options: object) -> object:
        return self.lazy.__dlpack__()

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.lazy.__dlpack_device__()


@pytest.mark.parametrize("shape", [(), (0, 3), (2, 3, 4)])
def test_legacy_dlpack_export_of_any_shape(store, shape):
    array = np.ones(shape, "f4")
    exported = np.from_dlpack(OldConsumer(mapped(store, array)))
    assert exported.shape == shape
    assert np.array_equal(exported, array)


DROPPED = {
    "none": [],
    "first": [0],
    "last": [-1],
    "both ends": [0, 1, -1],
    "middle": [2],
    "several": [1, 3, 4],
    "first and middle": [0, 2],
    "all": slice(None),
}
SHARED = ("none", "first", "last", "both ends", "all")


def with_dropped_rows(
    store: NumPack, array: np.ndarray, hole: str
) -> tuple[LazyArray, np.ndarray]:
    """Return an array with dropped rows, as the store maps it and as NumPy computes it."""
    store.save({"holed": array})
    store.drop("holed", DROPPED[hole])
    return store.load("holed", lazy=True), np.delete(array, DROPPED[hole], 0)


@for_each("hole", DROPPED)
def test_asarray_shares_memory_if_live_rows_are_contiguous(store, hole):
    lazy, left = with_dropped_rows(store, ROWS, hole)
    if hole in SHARED:
        assert lazy.obstacle() is None
        assert np.array(lazy, copy=False).shape == left.shape
        assert np.array_equal(np.array(lazy, copy=False), left)
    else:
        assert "rows were deleted" in lazy.obstacle().reason
        with pytest.raises(ZeroCopyError, match=r"rows were deleted.*npk.update\(name\)"):
            np.array(lazy, copy=False)
        with pytest.raises(BufferError):
            lazy.__array__(copy=False)
    for dtype in (None, ROWS.dtype, "f4"):
        assert np.array_equal(np.asarray(lazy, dtype), left)
        for fresh in (np.array(lazy, dtype), np.array(lazy, dtype, copy=True)):
            assert fresh.dtype == (dtype or ROWS.dtype)
            assert fresh.flags.writeable
            fresh[...] = 0
    assert np.array_equal(lazy, left)


@for_each("target", ["numpy", "dlpack"])
@for_each("hole", DROPPED)
def test_copy_in_share_warns_and_is_explained(store, hole, target):
    lazy, left = with_dropped_rows(store, ROWS, hole)
    route = explain(lazy, target)
    assert route.supported
    assert route.shares_memory == (hole in SHARED)
    if hole in SHARED:
        found = [share(lazy, target), share(lazy, target, copy=False)]
    else:
        assert route.nbytes == left.nbytes
        assert "rows were deleted" in route.reason
        assert "npk.update(name)" in route.fix
        with pytest.raises(ZeroCopyError, match="rows were deleted"):
            share(lazy, target, copy=False)
        with pytest.warns(CopyWarning, match="rows were deleted") as caught:
            found = [share(lazy, target)]
        assert len(caught) == 1
    found.append(share(lazy, target, copy=True))
    for each in found:
        array = np.from_dlpack(each) if target == "dlpack" else each
        assert np.array_equal(array, left)


@pytest.mark.parametrize("function", [to_dlpack, ZeroCopyArray])
def test_copy_in_other_exports_warns(store, function):
    lazy, left = with_dropped_rows(store, ROWS, "several")
    with pytest.warns(CopyWarning, match="rows were deleted"):
        assert np.array_equal(np.from_dlpack(function(lazy)), left)


def test_copy_in_dlpack_export_warns_or_is_flagged(store):
    lazy, left = with_dropped_rows(store, ROWS, "several")
    with pytest.raises(BufferError, match="rows were deleted"):
        lazy.__dlpack__(max_version=(1, 0), copy=False)
    with pytest.warns(CopyWarning, match="rows were deleted"):
        assert np.array_equal(np.from_dlpack(lazy), left)
    capsule = lazy.__dlpack__(max_version=(1, 0), copy=True)
    with pytest.warns(CopyWarning, match="its producer made a copy"):
        assert np.array_equal(from_dlpack(capsule), left)


def test_saving_a_lazy_array_with_dropped_rows_does_not_warn(store):
    lazy, left = with_dropped_rows(store, ROWS, "several")
    store.save({"x": lazy})
    store.append({"x": lazy})
    store.replace({"x": lazy}, [0, 1, 2])
    assert np.array_equal(store.load("x"), np.concatenate([left, left]))


@for_each("dtype", ["u1", "i8", "S3", "M8[s]", "c16", "?"])
def test_bytes_of_a_lazy_array(store, dtype):
    rows = np.arange(6).reshape(3, 2).astype("i8").astype(dtype)
    store.save({"x": rows})
    assert bytes(store.load("x", lazy=True)) == rows.tobytes()
    store.drop("x", 1)
    assert bytes(store.load("x", lazy=True)) == rows[[0, 2]].tobytes()
    assert bytes(store.load("x", lazy=True).rows(1)) == rows[2:].tobytes()
