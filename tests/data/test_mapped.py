"""References to arrays over `numpy.memmap`."""

from __future__ import annotations

import os
import pickle

import numpy as np
import pytest
from support.each import for_each

import numpack
from numpack.data.mapped import part_of
from numpack.data.source import Source

ROWS = np.arange(60_000.0).reshape(20_000, 3)


@pytest.fixture
def memmap():
    np.save("x.npy", ROWS)
    return np.load("x.npy", mmap_mode="r")


def roundtrip(array):
    pickled = pickle.dumps(Source({"x": array}, "x"))
    return pickle.loads(pickled).snapshot()["x"], len(pickled)


@for_each("rows", [slice(None), slice(7, 9_000), slice(19_999, None)])
def test_memmap_is_pickled_by_reference(memmap, rows):
    found, size = roundtrip(memmap[rows])
    assert size < 500 + len(os.getcwd())
    assert np.array_equal(found, ROWS[rows])
    assert not found.flags.writeable


def test_page_aligned_offsets():
    ROWS.tofile("raw")
    memmap = np.memmap("raw", ROWS.dtype, "r+", 24 * 1000, (500, 3))
    found, size = roundtrip(memmap)
    assert size < 500 + len(os.getcwd())
    memmap[0] = -1
    assert np.array_equal(found, memmap)  # the same pages


def test_others_are_pickled_by_value(memmap):
    private = np.memmap("private", np.uint8, "w+", shape=8)
    private[:] = 7
    del private
    private = np.memmap("private", np.uint8, "c", shape=8)
    private[0] = 1
    unlinked = np.memmap("unlinked", np.uint8, "w+", shape=8)
    os.unlink("unlinked")
    for array in (ROWS, memmap[:, ::2], memmap[:0], private, unlinked):
        assert part_of(np.asarray(array)) is None
        found, _ = roundtrip(array)
        assert np.array_equal(found, array)


@for_each("reason", ["missing", "another copy", "shorter"])
def test_moved_file_is_refused(memmap, reason):
    part = part_of(memmap)
    if reason == "shorter":
        part = part._replace(shape=(30_000, 3))
    elif reason == "another copy":
        np.save("other.npy", ROWS + 1)
        os.replace("other.npy", "x.npy")
    else:
        os.unlink("x.npy")
    with pytest.raises(numpack.MovedError) as caught:
        part.open()
    assert caught.value.reason == ("another copy" if reason == "shorter" else reason)
    np.save("x.npy", ROWS)
