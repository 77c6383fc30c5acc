"""The arrays of docs/matrix.md; ``make matrix-check`` compares the page itself."""

from __future__ import annotations

from matrix import DTYPES, LAYOUTS, make


def test_arrays_have_the_layout_of_their_column(tmp_path):
    """Each array has the layout of its column, for the dtypes that allow it."""
    for name in DTYPES:
        arrays = {layout.name: make(name, layout.name, tmp_path) for layout in LAYOUTS}
        plain = arrays["C"]
        assert plain.dtype.hasobject or plain.ctypes.data % 64 == 0
        assert arrays["F"].flags.f_contiguous
        assert not arrays["step"].flags.c_contiguous
        assert arrays["neg"].strides[0] < 0
        assert arrays["bcast"].strides[0] == 0
        assert arrays["empty"].size == arrays["0-D"].ndim == 0
        assert not arrays["ro"].flags.writeable
        assert arrays["mask"].mask.view("?").any()
        if not plain.dtype.hasobject:
            assert arrays["off"].flags.aligned
            assert arrays["off"].ctypes.data % 64
            assert arrays["odd"].flags.aligned == (plain.dtype.alignment == 1)
            assert arrays["map"].mode == "r"
        if arrays["swap"] is not None:
            assert not arrays["swap"].dtype.isnative
