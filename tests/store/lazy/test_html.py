"""What notebooks show of lazy arrays and stores: valid HTML, little of the file read."""

import xml.etree.ElementTree as ET
from importlib.util import find_spec

import numpy as np
import pytest
from support.each import for_each

from numpack import NumPack
from numpack.store.lazy.html import array_html

DTYPES = ["?", "i1", "u8", "f2", "f8", "c16", "M8[s]", "m8[D]", "S3", "U2", "V5", "i4,f8"]
LOWPREC = ["bfloat16", "float8_e4m3fn", "int4"]
DTYPES += LOWPREC if find_spec("ml_dtypes") else []


def parsed(html: str) -> ET.Element:
    """Parse a representation, which has to be well-formed."""
    return ET.fromstring(f"<div>{html}</div>")


def text_of(html: str) -> str:
    return "".join(parsed(html).itertext())


@pytest.fixture
def stored():
    with NumPack("s.npk") as npk:

        def store(array):
            npk.save({"x": array})
            return npk.load("x", lazy=True)

        yield store


def test_a_large_array_shows_its_corners(stored):
    x = stored(np.arange(20_000.0).reshape(1000, 20))
    shown = text_of(x._repr_html_())
    for part in ("float64", "(1000, 20)", "160,000 bytes", "0.0000e+00", "1.9999e+04", "..."):
        assert part in shown, part
    assert shown.count("\n") < 10


def test_a_small_array_shows_all_values(stored):
    assert "[[1 2]\n [3 4]]" in text_of(stored(np.array([[1, 2], [3, 4]]))._repr_html_())
    assert "7" in text_of(stored(np.array(7))._repr_html_())


def test_dropped_rows_are_not_shown():
    with NumPack("d.npk") as npk:
        npk.save({"x": np.arange(5)})
        npk.drop("x", [1, 2])
        assert "[0 3 4]" in text_of(npk.load("x", lazy=True)._repr_html_())


@for_each("shape", [(), (0,), (3, 0), (2,), (50, 9), (4, 3, 2)])
@for_each("dtype", DTYPES)
def test_every_dtype_has_a_representation(stored, dtype, shape):
    if dtype in LOWPREC:
        import ml_dtypes

        dtype = getattr(ml_dtypes, dtype)
    assert str(shape) in text_of(stored(np.zeros(shape, dtype))._repr_html_())


def test_the_histogram_counts_finite_values(stored):
    values = np.r_[np.zeros(30), np.ones(10), [np.nan, np.inf]]
    root = parsed(stored(values)._repr_html_())
    bars = [float(bar.get("height")) for bar in root.iter("rect")]
    assert (bars[0], bars[-1], sum(bars)) == (40.0, 13.3, 53.3)
    assert root.find(".//svg").get("aria-label") == "histogram from 0 to 1"
    assert "42 of" not in text_of(stored(values)._repr_html_())


def test_arrays_without_a_range_have_no_histogram(stored):
    for values in ([np.nan], [np.inf], [-1.7e308, 1.7e308], [1 + 2j], ["a"]):
        assert "<svg" not in stored(np.array(values))._repr_html_(), values


def test_equal_values_have_a_histogram(stored):
    assert "<svg" in stored(np.full(3, 5))._repr_html_()


def test_a_part_of_a_large_array_is_read(stored, monkeypatch):
    x, read = stored(np.zeros((200_000, 16), "f4")), []
    take = type(x).take
    monkeypatch.setattr(
        type(x), "take", lambda self, rows: read.append(len(rows)) or take(x, rows)
    )
    shown = text_of(array_html(x))
    assert sum(read) <= 1010
    assert "10,000 of the values" in shown or "8,000 of the values" in shown, shown


def test_names_and_values_are_escaped():
    with NumPack("e.npk") as npk:
        npk.save({"<script>alert(1)</script>": np.array(["<b>", "&"])})
        assert "<script>" not in npk._repr_html_()
        assert "<script>alert(1)</script>" in text_of(npk._repr_html_())
        (name,) = npk
        html = npk.load(name, lazy=True)._repr_html_()
        assert "<b>" not in html
        assert "['<b>' '&']" in text_of(html)


def test_a_store_lists_its_arrays():
    with NumPack("l.npk") as npk:
        npk.save({f"a{number}": np.zeros((2, number + 1), "i2") for number in range(120)})
        shown = text_of(npk._repr_html_())
        assert "l.npk: 120 arrays" in shown
        assert "a99" in shown
        assert "a100" not in shown
        assert "… and 20 more" in shown
    assert npk._repr_html_() is None  # closed: notebooks show repr
