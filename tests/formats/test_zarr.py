"""Zarr, against the zarr package and xarray."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr
from support.each import assert_each
from support.formats.arrays import LOWPREC
from support.formats.conformance import FormatConformance

from numpack import convert
from numpack.errors import InvalidValueError, NumpackError


@pytest.mark.filterwarnings("ignore:The data type")  # of zarr, while the tests write
class TestZarr(FormatConformance):
    suffix = ".zarr"
    label = "Zarr"
    holds_attributes = True
    refused_dtypes = frozenset({*LOWPREC, "struct"})
    version = 3

    def write(self, path, arrays):
        group = zarr.open_group(path, mode="w", zarr_format=self.version)
        for name, array in arrays.items():
            made = group.create_array(
                name,
                shape=array.shape,
                dtype=array.dtype,
                config={"write_empty_chunks": True},
            )
            made[...] = array

    def read(self, path):
        group = zarr.open_group(path, mode="r")
        return {name: np.asarray(array[...], array.dtype) for name, array in group.arrays()}

    def test_damaged_files_are_refused_or_read_with_the_right_shapes(self):
        """Cut off and change chunks and metadata, one file after the other."""
        self.write(self.file, self.several())
        rng = np.random.default_rng(2)

        def check(number, path, damaged):
            raw = path.read_bytes()
            path.write_bytes(damaged)
            try:
                convert(self.file, f"{number}.npk")
            except (NumpackError, OSError):
                assert not Path(f"{number}.npk").exists()
            else:
                assert set(self.stored(f"{number}.npk")) <= set(self.several())
            finally:
                path.write_bytes(raw)

        cells = []
        for path in sorted(path for path in Path(self.file).rglob("*") if path.is_file()):
            raw = path.read_bytes()
            cells += [
                (len(cells) + n, path, raw[:cut]) for n, cut in enumerate((0, len(raw) // 2))
            ]
            for at in rng.integers(0, len(raw), 5):
                flipped = bytearray(raw)
                flipped[at] ^= 1 << rng.integers(8)
                cells.append((len(cells), path, bytes(flipped)))
        assert_each(cells, check)

    def test_files_of_another_format_are_refused(self):
        for content in (b"", b"\x89PNG\r\n\x1a\n" + bytes(100)):
            Path("x.zarr").write_bytes(content)
            with pytest.raises(InvalidValueError, match=r"x\.zarr is neither"):
                convert("x.zarr", "s.npk")
        Path("x.zarr").unlink()
        Path("x.zarr").mkdir()
        Path("x.zarr/notes").write_text("mine")
        with pytest.raises(InvalidValueError, match=r"x\.zarr is not a Zarr hierarchy"):
            convert("x.zarr", "s.npk")
        assert not Path("s.npk").exists()
        with pytest.raises(FileNotFoundError):
            convert("missing.zarr", "s.npk")
        with pytest.raises(InvalidValueError, match="is not of Zarr; choose another name"):
            convert({"x": np.arange(3)}, "x.zarr")
        assert Path("x.zarr/notes").read_text() == "mine"
