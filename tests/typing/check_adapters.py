"""Every module of an adapter implements the protocols of `numpack.adapters._protocol`.

Checked by mypy, never run. `test_layers.py` finds adapters that are left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpack.adapters import (
    array_interface,
    arro3,
    arrow,
    buffer,
    cuda_array_interface,
    cupy,
    datasets,
    dlpack,
    duckdb,
    jax,
    nanoarrow,
    numpy,
    onnxruntime,
    pandas,
    polars,
    safetensors,
    scipy,
    sequence,
    tensorflow,
    torch,
    xarray,
)

if TYPE_CHECKING:
    import jax as jax_package
    import polars as pl
    import torch as torch_package
    import xarray as xr

    from numpack._core.memory import Array
    from numpack._core.policy import Plan
    from numpack.adapters._options import ArrowOptions
    from numpack.adapters._protocol import (
        Adapter,
        ColumnSource,
        DirectSource,
        DirectTarget,
        Source,
        ZonedSource,
        ZonedTarget,
    )

ADAPTERS: tuple[Adapter, ...] = (
    array_interface,
    arro3,
    arrow,
    buffer,
    cuda_array_interface,
    cupy,
    dlpack,
    duckdb,
    jax,
    nanoarrow,
    numpy,
    onnxruntime,
    pandas,
    polars,
    safetensors,
    scipy,
    tensorflow,
    torch,
    xarray,
)
SOURCES: tuple[Source, ...] = (datasets, sequence)

DIRECT_SOURCES: tuple[DirectSource, ...] = (
    arro3,
    arrow,
    cuda_array_interface,
    cupy,
    datasets,
    duckdb,
    jax,
    nanoarrow,
    pandas,
    polars,
    torch,
    xarray,
)
DIRECT_TARGETS: tuple[DirectTarget, ...] = (
    arro3,
    arrow,
    cupy,
    duckdb,
    jax,
    nanoarrow,
    pandas,
    polars,
    torch,
)
COLUMN_SOURCES: tuple[ColumnSource, ...] = (
    arro3,
    arrow,
    datasets,
    duckdb,
    nanoarrow,
    pandas,
    polars,
    xarray,
)
ZONED_SOURCES: tuple[ZonedSource, ...] = (
    arro3,
    arrow,
    datasets,
    duckdb,
    nanoarrow,
    pandas,
    polars,
    xarray,
)
ZONED_TARGETS: tuple[ZonedTarget, ...] = (
    arro3,
    arrow,
    duckdb,
    nanoarrow,
    pandas,
    polars,
    xarray,
)


# Each function takes the options that its adapter declares.


def takes_no_options(array: Array) -> None:
    for adapter in ADAPTERS:
        adapter.from_numpy(array)


def from_buffer(obj: object, options: buffer.FromOptions) -> Plan[Array]:
    return buffer.to_numpy(obj, **options)


def from_dlpack(obj: object, options: dlpack.FromOptions) -> Plan[Array]:
    return dlpack.to_numpy(obj, **options)


def from_safetensors(obj: object, options: safetensors.FromOptions) -> Plan[Array]:
    return safetensors.to_numpy(obj, **options)


def to_arrow(array: Array, options: ArrowOptions) -> tuple[Plan[Any], ...]:
    return (
        arrow.from_numpy(array, **options),
        arro3.from_numpy(array, **options),
        nanoarrow.from_numpy(array, **options),
    )


def to_dlpack(array: Array, options: dlpack.ToOptions) -> Plan[dlpack.DLPackBuffer]:
    return dlpack.from_numpy(array, **options)


def to_duckdb(array: Array, options: duckdb.ToOptions) -> Plan[Any]:
    return duckdb.from_numpy(array, **options)


def to_jax(array: Array, options: jax.ToOptions) -> Plan[jax_package.Array]:
    return jax.from_numpy(array, **options)


def to_pandas(array: Array, options: pandas.ToOptions) -> Plan[Any]:
    return pandas.from_numpy(array, **options)


def to_polars(array: Array, options: polars.ToOptions) -> Plan[pl.Series | pl.DataFrame]:
    return polars.from_numpy(array, **options)


def to_torch(array: Array, options: torch.ToOptions) -> Plan[torch_package.Tensor]:
    return torch.from_numpy(array, **options)


def to_xarray(array: Array, options: xarray.ToOptions) -> Plan[xr.DataArray]:
    return xarray.from_numpy(array, **options)
