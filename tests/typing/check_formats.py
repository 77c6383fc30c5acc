"""Every module of a format implements the protocols of `numpack.formats._protocol`.

Checked by mypy, never run. `test_convert.py` finds formats that are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from numpack.formats import (
    arrow,
    csv,
    hdf5,
    netcdf,
    npk,
    npy,
    npz,
    parquet,
    raw,
    safetensors,
    torch,
    zarr,
)

if TYPE_CHECKING:
    from numpack.formats._protocol import Format

FORMATS: tuple[Format, ...] = (
    arrow,
    csv,
    hdf5,
    netcdf,
    npk,
    npy,
    npz,
    parquet,
    raw,
    safetensors,
    torch,
    zarr,
)
