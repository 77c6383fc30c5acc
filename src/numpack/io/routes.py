"""`share` and `explain`: from any framework to any other, planned by a `Pipeline`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from .._core.policy import Route, Step, check_copy
from .._dlpack.decorators import fast_share
from ..adapters import by_name
from ..adapters._foreign_errors import OWN, translate
from ..errors import UnsupportedError, ZeroCopyError
from .pipeline import Pipeline, refuse_single_use

if TYPE_CHECKING:
    from typing import Literal, NoReturn, Unpack

    import arro3.core
    import cupy
    import duckdb
    import jax
    import nanoarrow
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    import tensorflow as tf
    import torch
    import xarray as xr
    from onnxruntime import OrtValue

    from .._core.memory import Array
    from ..adapters.dlpack import DLPackBuffer
    from ._options import (
        ToAny,
        ToArrow,
        ToDLPack,
        ToDuckDB,
        ToJax,
        ToPandas,
        ToPolars,
        ToTorch,
        ToXarray,
    )


@overload
def share(
    x: object, target: Literal["numpy"], *, copy: bool | None = None, **options: Unpack[ToAny]
) -> Array: ...
@overload
def share(
    x: object, target: Literal["torch"], *, copy: bool | None = None, **options: Unpack[ToTorch]
) -> torch.Tensor: ...
@overload
def share(
    x: object, target: Literal["jax"], *, copy: bool | None = None, **options: Unpack[ToJax]
) -> jax.Array: ...
@overload
def share(
    x: object,
    target: Literal["tensorflow"],
    *,
    copy: bool | None = None,
    **options: Unpack[ToAny],
) -> tf.Tensor: ...
@overload
def share(
    x: object, target: Literal["cupy"], *, copy: bool | None = None, **options: Unpack[ToAny]
) -> cupy.ndarray: ...
@overload
def share(
    x: object,
    target: Literal["onnxruntime"],
    *,
    copy: bool | None = None,
    **options: Unpack[ToAny],
) -> OrtValue: ...
@overload
def share(
    x: object,
    target: Literal["xarray"],
    *,
    copy: bool | None = None,
    **options: Unpack[ToXarray],
) -> xr.DataArray: ...
@overload
def share(
    x: object,
    target: Literal["pandas"],
    *,
    copy: bool | None = None,
    **options: Unpack[ToPandas],
) -> pd.Series[Any] | pd.DataFrame: ...
@overload
def share(
    x: object,
    target: Literal["polars"],
    *,
    copy: bool | None = None,
    **options: Unpack[ToPolars],
) -> pl.Series | pl.DataFrame: ...
@overload
def share(
    x: object,
    target: Literal["duckdb"],
    *,
    copy: bool | None = None,
    **options: Unpack[ToDuckDB],
) -> duckdb.DuckDBPyRelation: ...
@overload
def share(
    x: object,
    target: Literal["nanoarrow"],
    *,
    copy: bool | None = None,
    **options: Unpack[ToArrow],
) -> nanoarrow.Array: ...
@overload
def share(
    x: object, target: Literal["arro3"], *, copy: bool | None = None, **options: Unpack[ToArrow]
) -> arro3.core.Array | arro3.core.ChunkedArray | arro3.core.RecordBatch | arro3.core.Table: ...
@overload
def share(
    x: object, target: Literal["arrow"], *, copy: bool | None = None, **options: Unpack[ToArrow]
) -> pa.Array | pa.ChunkedArray | pa.RecordBatch | pa.Table: ...
@overload
def share(
    x: object,
    target: Literal["dlpack"],
    *,
    copy: bool | None = None,
    **options: Unpack[ToDLPack],
) -> DLPackBuffer: ...
@overload
def share(
    x: object,
    target: Literal["array_interface"],
    *,
    copy: bool | None = None,
    **options: Unpack[ToAny],
) -> Array: ...
@overload
def share(
    x: object, target: Literal["buffer"], *, copy: bool | None = None, **options: Unpack[ToAny]
) -> memoryview: ...
@overload
def share(
    x: object,
    target: Literal["safetensors", "scipy", "cuda_array_interface"],
    *,
    copy: bool | None = None,
    **options: Unpack[ToAny],
) -> NoReturn: ...
@fast_share
def share(x: object, target: str, *, copy: bool | None = None, **options: Any) -> Any:
    """Convert an array of any framework to any other.

    Parameters
    ----------
    x : array
        An array of a framework that `frameworks` lists: a `numpy.ndarray`, `torch.Tensor`,
        `polars.Series`, … or a `LazyArray`; any object with ``__dlpack__``,
        ``__arrow_c_array__``, ``__arrow_c_stream__``, ``__array_interface__``,
        ``__cuda_array_interface__`` or the buffer protocol; a raw DLPack capsule.
    target : str
        The framework to convert to, by its name in `frameworks`: ``"numpy"``, ``"torch"``,
        ``"jax"``, ``"arrow"``, ``"polars"``, …
    copy : bool or None, default None
        ``None``: share memory, or copy once with `CopyWarning` where it cannot be shared.
        ``False``: share, or raise `ZeroCopyError`. ``True``: independent, writable memory.
    **options
        Options of the two frameworks, such as ``device`` to torch, ``layout`` and ``type``
        to Arrow, ``dtype`` to JAX, ``nulls`` and ``column`` from columns and tables.

    Returns
    -------
    array
        An array of the framework `target`; it keeps the memory of `x` alive.

    Raises
    ------
    ZeroCopyError
        Memory cannot be shared and ``copy=False``.
    UnsupportedError
        The target cannot hold the values.
    WrongTypeError
        `x` is not an array, or there is no such option.
    InvalidValueError
        There is no such framework, or an option has an invalid value.
    MissingDependencyError
        The package of the target is not installed.

    Examples
    --------
    >>> import numpy as np, numpack
    >>> a = np.arange(4, dtype="f4")
    >>> t = numpack.share(a, "torch")
    >>> t[0] = 7
    >>> a
    array([7., 1., 2., 3.], dtype=float32)
    """
    check_copy(copy)
    try:
        return Pipeline(x, by_name(target)).plan(options).carry_out(copy)
    except OWN:
        raise
    except BaseException as error:  # noqa: BLE001 -- Rust panics are not `Exception`
        translate(error, f"to {target}", x)


@overload
def explain(
    x: object,
    target: Literal[
        "numpy",
        "tensorflow",
        "cupy",
        "onnxruntime",
        "array_interface",
        "buffer",
        "safetensors",
        "scipy",
        "cuda_array_interface",
    ],
    **options: Unpack[ToAny],
) -> Route: ...
@overload
def explain(x: object, target: Literal["torch"], **options: Unpack[ToTorch]) -> Route: ...
@overload
def explain(x: object, target: Literal["jax"], **options: Unpack[ToJax]) -> Route: ...
@overload
def explain(x: object, target: Literal["xarray"], **options: Unpack[ToXarray]) -> Route: ...
@overload
def explain(x: object, target: Literal["pandas"], **options: Unpack[ToPandas]) -> Route: ...
@overload
def explain(x: object, target: Literal["polars"], **options: Unpack[ToPolars]) -> Route: ...
@overload
def explain(x: object, target: Literal["duckdb"], **options: Unpack[ToDuckDB]) -> Route: ...
@overload
def explain(
    x: object, target: Literal["nanoarrow", "arro3", "arrow"], **options: Unpack[ToArrow]
) -> Route: ...
@overload
def explain(x: object, target: Literal["dlpack"], **options: Unpack[ToDLPack]) -> Route: ...
def explain(x: object, target: str, **options: Any) -> Route:
    """Explain whether `share` would copy, and why, without moving data.

    The `Route` describes the plans that `share` carries out.

    Parameters
    ----------
    x : array
        As for `share`. A raw capsule is not consumed.
    target : str
        As for `share`.
    **options
        As for `share`.

    Returns
    -------
    Route
        With ``shares_memory``, ``supported``, ``reason``, ``fix``, ``nbytes`` and ``steps``.

    Raises
    ------
    WrongTypeError, InvalidValueError, MissingDependencyError
        As `share`. A conversion that raises `UnsupportedError` is a route that is not
        ``supported``.

    Notes
    -----
    Where the plan depends on the values they are converted: objects, casts to Arrow, Arrow
    columns that become another dtype on their way to a third framework, times that the first
    step copies, and conversions with ``dtype`` or ``type``.

    Examples
    --------
    >>> import numpy as np, numpack
    >>> numpack.explain(np.zeros((2, 3)), "torch")
    numpy -> torch: shares memory
      to torch: shared
    >>> route = numpack.explain(np.zeros(1000, bool), "arrow")
    >>> route.verdict, route.reason
    ('copies 1,000 bytes', 'Arrow packs booleans as bits')
    >>> route.fix
    'pass type=pa.bool8() to share the bytes'
    """
    framework = by_name(target)
    source, direction = "object", f"to {target}"
    steps: list[Step] = []
    try:
        pipeline = Pipeline(x, framework)
        source, x = pipeline.source.name, pipeline.x
        refuse_single_use(x)
        direction = f"from {pipeline.source.declaration().label}"
        for step in pipeline.plan(options).steps():
            steps.append(step)
            direction = f"to {framework.declaration().label}"
    except UnsupportedError as error:
        step = Step(error.direction or direction, "refused", reason=error.reason, fix=error.fix)
        steps.append(step)
    except ZeroCopyError as error:  # raised by a producer: no step here forbids a copy
        steps.append(Step(direction, "refused", reason=str(error), fix="pass a copy of it"))
    except OWN:
        raise
    except BaseException as error:  # noqa: BLE001 -- Rust panics are not `Exception`
        steps.append(_refusal(error, direction, x))
    return Route.of(source, framework.name, tuple(steps))


def _refusal(error: BaseException, direction: str, given: object) -> Step:
    """Describe the refusal that `share` raises for an exception of another library."""
    try:
        translate(error, direction, given)
    except UnsupportedError as own:
        return Step(direction, "refused", reason=own.reason, fix=own.fix)
