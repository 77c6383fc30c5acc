"""Lists of arrays are stacked; other objects that are not arrays are refused with a fix."""

from __future__ import annotations

import numpy as np
import pytest

import numpack
from numpack import CopyWarning, UnsupportedError, ZeroCopyError, explain, share

VALUES = np.arange(6.0).reshape(2, 3)


def test_list_of_arrays_is_stacked():
    for x in ([VALUES, VALUES + 1], (VALUES[::-1], VALUES), [np.zeros(()), np.ones(())]):
        want = np.stack(x)
        route = explain(x, "numpy")
        assert (route.source, route.nbytes) == ("sequence", want.nbytes)
        with pytest.raises(ZeroCopyError, match="has memory of its own"):
            share(x, "numpy", copy=False)
        with pytest.warns(CopyWarning):
            got = share(x, "numpy")
        np.testing.assert_array_equal(got, want)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(share(x, "numpy", copy=True), want)


def test_masks_in_a_list_are_kept():
    hidden = np.ma.array([1, 2], mask=[True, False])
    stacked = share([hidden, np.array([3, 4])], "numpy", copy=True)
    assert stacked.tolist() == [[None, 2], [3, 4]]


def test_list_of_different_arrays_is_refused():
    for x in ([np.zeros(2), np.zeros(3)], [np.zeros(2), np.zeros(2, "f4")]):
        assert not explain(x, "numpy").supported
        with pytest.raises(UnsupportedError, match="one by one"):
            share(x, "numpy", copy=True)


def test_asarray_is_suggested_only_where_it_helps():
    for x in ([1, 2], (1.5,), [[1], [2]], 3, 2.5, True, 1j, np.float32(1), range(3), ["a"]):
        with pytest.raises(numpack.WrongTypeError, match=r"pass np\.asarray\(x\)"):
            share(x, "numpy")
        assert np.asarray(x).dtype != object
    for x in (object(), None, [], [[1], [1, 2]], [None, object()], [{"a": 1}], {1}, iter([])):
        with pytest.raises(numpack.WrongTypeError) as caught:
            share(x, "numpy")
        assert ("np.asarray" in str(caught.value)) == (isinstance(x, list) and not x)
