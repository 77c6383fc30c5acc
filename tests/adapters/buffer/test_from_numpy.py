"""NumPy to the buffer protocol of Python."""

from __future__ import annotations

import re
import sys

import numpy as np
import pytest
from adapters.conformance import COPY, REFUSE, SHARE, FromNumpy
from support.arrays import LOWPREC, TIMES, elements, make
from support.each import for_each

import numpack
from numpack import (
    UnsupportedError,
    share,
)

WITHOUT_FORMAT = {*LOWPREC, *TIMES, "object", "string"}


def test_format_and_strides_are_kept():
    view = share(np.arange(6, dtype=">i4").reshape(2, 3).T[::-1], "buffer")
    assert view.format == ">i"
    assert view.strides == (-4, 12)


@for_each("name", sorted(WITHOUT_FORMAT - {"object"}))
def test_fix_for_a_dtype_without_a_format_works(name, tmp_path):
    a = make(name, "c", tmp_path)
    with pytest.raises(UnsupportedError) as caught:
        share(a, "buffer")
    way = re.search(r"(?:np\.array\()?array\.\w+\([^)]*\)\)?", caught.value.fix).group()
    assert share(eval(way, {"np": np, "array": a}), "buffer", copy=False).shape == a.shape


def test_array_of_a_store_is_exported_read_only(tmp_path):
    with numpack.NumPack(tmp_path / "s.npk") as store:
        store.save({"x": np.arange(4.0)})
        view = share(store.load("x", lazy=True), "buffer")
    assert view.readonly
    assert view.tolist() == [0, 1, 2, 3]
    with pytest.raises(TypeError):
        view[0] = 1


def test_memoryview_keeps_its_array_alive():
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    view = share(a, "buffer")
    assert sys.getrefcount(a) > before
    del view
    assert sys.getrefcount(a) == before


class TestFromNumpy(FromNumpy):
    target = "buffer"
    back_is_read_only = False

    def expected(self, name, layout, array):
        if name in WITHOUT_FORMAT or layout == "masked":
            return REFUSE
        if layout == "swapped" and name in ("longdouble", "clongdouble"):
            return COPY
        return SHARE

    def has_values(self, result, array):
        found = share(result, "numpy", copy=False)
        same = found.dtype.newbyteorder("=") == array.dtype.newbyteorder("=")
        return same and elements(found) == elements(array)

    def check_result(self, result, array):
        assert array.size == 0 or result.readonly is not array.flags.writeable

    def check_own(self, own, array):
        assert not own.readonly
