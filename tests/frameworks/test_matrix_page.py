"""The page of what is shared: what the pinned versions do, of arrays that lie as it says."""

from __future__ import annotations

from pathlib import Path

from numpack.doctor.matrix import DTYPES, LAYOUTS, lain

PAGE = Path(__file__).parents[2] / "docs" / "matrix.md"


def test_it_is_up_to_date(run_python):
    """If this fails, look at what changed, then run ``make matrix``."""
    made = run_python("from numpack.doctor.matrix import page; print(page(), end='')")
    assert made == PAGE.read_text()
    assert "!!" not in made  # where explain and memory differ


def test_every_dtype_and_layout_is_made(tmp_path):
    """A layout is what its meaning says, wherever NumPy has such an array."""
    for name in DTYPES:
        arrays = {layout.name: lain(name, layout.name, tmp_path) for layout in LAYOUTS}
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
