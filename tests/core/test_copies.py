"""Copies have the dtype of their source, and memory of their own."""

from __future__ import annotations

import numpy as np
import pytest
from support.exchange.pointers import rows_behind_pointers

import numpack
from numpack import explain, share


def test_copy_keeps_the_dtype():
    swapped = np.array([1, 2], ">i2")
    struct = np.zeros(2, [("a", ">i4"), ("b", "<f8")])
    for array in (swapped, struct):
        for given in (array, memoryview(array)):
            own = share(given, "numpy", copy=True)
            assert own.dtype == share(given, "numpy").dtype == array.dtype
            assert own.tolist() == array.tolist()
            assert own.ctypes.data % 64 == 0
            assert not np.shares_memory(own, array)


def test_buffer_with_suboffsets_is_copied():
    view, _memory = rows_behind_pointers(b"i")
    assert view.suboffsets == (0, -1)
    assert explain(view, "numpy").nbytes == 24
    with pytest.warns(numpack.CopyWarning, match="through pointers"):
        array = share(view, "numpy")
    assert array.tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(numpack.ZeroCopyError):
        share(view, "numpy", copy=False)
