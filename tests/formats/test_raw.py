"""Files of values alone, against `numpy.fromfile` and `tofile`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.formats.arrays import assert_same
from support.formats.conformance import FormatConformance

from numpack import NumPack, convert
from numpack.errors import InvalidValueError


class TestRaw(FormatConformance):
    suffix = ".bin"
    label = "values alone"
    one_array = True

    def reading(self, arrays):
        [array] = arrays.values()
        self.like = array
        dtype = array.dtype
        if dtype.names is None:
            dtype = (
                dtype.name if dtype.kind in "biufcV" and dtype.name != "void24" else dtype.str
            )
        return {"dtype": dtype, "shape": array.shape}

    def write(self, path, arrays):
        [self.like] = arrays.values()
        self.like.tofile(path)

    def read(self, path):
        if not hasattr(self, "like"):
            self.like = np.empty(5, "f4")
        found = np.frombuffer(Path(path).read_bytes(), self.like.dtype)
        return {Path(path).stem: found.reshape(self.like.shape)}

    def test_the_library_reads_what_is_written_or_it_is_refused_before(self):
        from support.formats.arrays import all_values, values

        for name, shape in all_values():
            array = values(name, shape)
            convert({"x": array}, "x.bin")
            assert Path("x.bin").read_bytes() == array.tobytes()

    def test_files_of_another_format_are_refused(self):
        """Any file is one of values."""

    def test_damaged_files_are_refused_or_read_with_the_right_shapes(self):
        """Only the size can be wrong."""
        self.write("x.bin", self.several())
        raw = Path("x.bin").read_bytes()
        for length in (0, 1, len(raw) - 1):
            Path("x.bin").write_bytes(raw[:length])
            with pytest.raises(InvalidValueError, match=r"x\.bin has .* bytes of values"):
                convert("x.bin", "s.npk", **self.reading(self.several()))


def stored(name):
    with NumPack("s.npk", mode="r") as store:
        return store[name]


def test_token_files():
    tokens = np.random.default_rng(0).integers(0, 50257, 10_000).astype("u2")
    tokens.tofile("train.bin")
    convert("train.bin", "s.npk", dtype=np.uint16)
    assert_same(stored("train"), tokens)
    convert("s.npk", "val.bin", arrays="train")
    assert_same(np.fromfile("val.bin", "u2"), tokens)


def test_offset_shape_and_byte_order():
    array = np.arange(12, dtype=">i4").reshape(3, 4)
    Path("x.bin").write_bytes(bytes(1024) + array.tobytes())
    convert("x.bin", "s.npk", dtype=">i4", offset=1024, shape=(-1, 4), name="tokens")
    assert_same(stored("tokens"), array.astype("<i4"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "does not tell the dtype.*dtype='uint16'"),
        ({"dtype": "u8"}, "has 12 bytes of values, which are not those of uint64"),
        ({"dtype": "u4", "shape": (4,)}, "has 12 bytes"),
        ({"dtype": "u4", "shape": (-1, -1)}, "one of which may be -1"),
        ({"dtype": "u4", "shape": (-2,)}, "one of which may be -1"),
        ({"dtype": "u4", "offset": 16}, "has 0 bytes"),
        ({"dtype": "u4", "offset": -4}, "offset must be"),
        ({"dtype": "u4", "shape": (0, -1)}, "has 12 bytes"),
        ({"dtype": object}, "no dtype of values in a file"),
        ({"dtype": "S"}, "no dtype of values in a file"),
    ],
)
def test_what_does_not_fit_is_refused(options, message):
    Path("x.bin").write_bytes(bytes(12))
    with pytest.raises(InvalidValueError, match=message):
        convert("x.bin", "s.npk", **options)
