"""`ZeroCopyArray`: an array in a layout that any framework can share."""

from __future__ import annotations

import operator
from typing import TYPE_CHECKING, Any

import numpy as np

from .._core.memory import aligned_copy, hides_values
from .._core.policy import carry_out, describe, refuse
from .._dlpack.decorators import fast_class
from .._dlpack.exchange_api import publish
from .._dlpack.exporting import Exporter
from .._dlpack.fast_path import try_export, try_import
from .._dlpack.fast_table import register_import
from ..adapters import by_name
from ..adapters._foreign_errors import translate_errors
from ..adapters.dlpack import DLPackBuffer, import_producer
from ..adapters.numpy import from_numpy as plan_numpy
from ..adapters.numpy import plan_layout, require_array
from .routes import share

if TYPE_CHECKING:
    from collections.abc import Callable

    import cupy
    import jax
    import pandas as pd
    import polars as pl
    import pyarrow as pa
    import tensorflow as tf
    import torch

    from .._core.memory import Array
    from ..adapters._options import Layout, Nulls, Order, Target


def _convert_from(x: Any, framework: str, copy: bool | None, **options: Any) -> Array:
    """Convert an array of a framework to NumPy."""
    return carry_out(by_name(framework).module().to_numpy(x, **options), copy)


def _convert_to(array: Array, framework: str, copy: bool | None, **options: Any) -> Any:
    """Convert a NumPy array to a framework."""
    return carry_out(by_name(framework).module().from_numpy(array, **options), copy)


_from_torch, _from_arrow = (
    translate_errors("from torch")(_convert_from),
    translate_errors("from Arrow")(_convert_from),
)
_to_torch: Callable[..., torch.Tensor] = translate_errors("to torch")(_convert_to)
_to_arrow: Callable[..., pa.Array] = translate_errors("to Arrow")(_convert_to)
_from_producer = translate_errors("from DLPack")(import_producer)


class ZeroCopyArray(Exporter):
    """An array that converts to any framework without further copies.

    Parameters
    ----------
    array : ndarray
        Of any shape and dtype.
    order : {"C", "K"}, default "C"
        ``"C"``: an array that is not C-contiguous, native and aligned is copied once, at
        construction, into 64-byte-aligned memory. ``"K"``: it is kept as it is.
    copy : bool or None, optional
        The copy policy where `order` requires a copy; True: always copy.

    Attributes
    ----------
    array : ndarray
        The array; it shares memory with the argument unless that had to be copied.
    shape, dtype, ndim, size, nbytes
        Those of `array`.

    Raises
    ------
    ZeroCopyError
        A copy is needed and ``copy=False``.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack import ZeroCopyArray
    >>> wrapped = ZeroCopyArray(np.arange(6, dtype="f4").reshape(2, 3))
    >>> wrapped
    ZeroCopyArray(float32 array of shape (2, 3), 24 bytes)
    >>> wrapped.to_torch().shape
    torch.Size([2, 3])
    """

    __slots__ = ()

    def __init__(self, array: Array, *, order: Order = "C", copy: bool | None = None) -> None:
        array = require_array("ZeroCopyArray", array, copy)
        plan = plan_layout(array, order, "to ZeroCopyArray", exported=False)
        self.array = carry_out(plan, copy)

    @classmethod
    def from_torch(
        cls, tensor: torch.Tensor, *, order: Order = "C", copy: bool | None = None
    ) -> ZeroCopyArray:
        """Wrap the memory of a CPU tensor; see `torch_to_numpy_zero_copy`."""
        array = try_import(tensor, "torch") if copy is None else None
        if array is None:
            array = _from_torch(tensor, "torch", copy)
        return cls._of(array, order, copy)

    @classmethod
    def from_arrow(
        cls,
        array: Any,
        *,
        order: Order = "C",
        nulls: Nulls = "convert",
        copy: bool | None = None,
    ) -> ZeroCopyArray:
        """Wrap the memory of an Arrow array; see `arrow_to_numpy_zero_copy`."""
        values = try_import(array, "arrow") if copy is None and nulls == "convert" else None
        if values is None:
            values = _from_arrow(array, "arrow", copy, nulls=nulls)
        return cls._of(values, order, copy)

    @classmethod
    def from_dlpack(
        cls, obj: Any, *, order: Order = "C", device: Any = None, copy: bool | None = None
    ) -> ZeroCopyArray:
        """Wrap the memory of a capsule or of an object with ``__dlpack__``."""
        array = try_import(obj) if copy is None and device is None else None
        if array is None:
            array = _from_producer(obj, device=device, copy=copy)
        return cls._of(array, order, copy)

    @classmethod
    def _of(cls, array: Array, order: Order, copy: bool | None) -> ZeroCopyArray:
        """Wrap a converted array, which ``copy=True`` has already copied."""
        return cls(array, order=order, copy=None if copy else copy)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the array."""
        return self.array.shape

    @property
    def dtype(self) -> np.dtype[Any]:
        """Dtype of the elements."""
        return self.array.dtype

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return self.array.ndim

    @property
    def size(self) -> int:
        """Number of elements."""
        return self.array.size

    @property
    def nbytes(self) -> int:
        """Bytes of the elements."""
        return self.array.nbytes

    def __len__(self) -> int:
        """Return the length of the first axis."""
        return len(self.array)

    def __repr__(self) -> str:
        """Return a description with dtype, shape and size in bytes."""
        return f"ZeroCopyArray({describe(self.array)}, {self.nbytes:,} bytes)"

    def to_numpy(self, *, copy: bool | None = None) -> Array:
        """Return the array itself, or a copy if ``copy=True``."""
        if copy is None:
            return self.array
        return carry_out(plan_numpy(self.array), copy)

    def to_torch(
        self, *, device: torch.device | str | int | None = None, copy: bool | None = None
    ) -> torch.Tensor:
        """Return a tensor over the same memory; see `numpy_to_torch_zero_copy`."""
        plain = device is None and copy is None
        tensor: torch.Tensor | None = try_export(self.array, "torch") if plain else None
        if tensor is not None:
            return tensor
        return _to_torch(self.array, "torch", copy, device=device)

    def to_arrow(
        self,
        *,
        layout: Layout = "flat",
        type: Any = None,  # noqa: A002 -- pyarrow's name
        copy: bool | None = None,
    ) -> pa.Array:
        """Return an Arrow array over the same memory; see `numpy_to_arrow_zero_copy`."""
        plain = layout == "flat" and type is None and copy is None
        array: pa.Array | None = try_export(self.array, "arrow") if plain else None
        if array is not None:
            return array
        return _to_arrow(self.array, "arrow", copy, layout=layout, type=type)

    def to(self, framework: Target, *, copy: bool | None = None, **options: Any) -> Any:
        """Return an array of any framework that `frameworks` lists; see `share`."""
        return share(self.array, framework, copy=copy, **options)

    def to_jax(
        self, *, dtype: jax.typing.DTypeLike | None = None, copy: bool | None = None
    ) -> jax.Array:
        """Return a JAX array over the same memory; a cast to another `dtype` is a copy."""
        return share(self.array, "jax", copy=copy, dtype=dtype)

    def to_tensorflow(self, *, copy: bool | None = None) -> tf.Tensor:
        """Return a TensorFlow tensor over the same memory."""
        return share(self.array, "tensorflow", copy=copy)

    def to_cupy(self, *, copy: bool | None = None) -> cupy.ndarray:
        """Return a CuPy array on the current device, which is a copy."""
        return share(self.array, "cupy", copy=copy)

    def to_pandas(self, *, copy: bool | None = None) -> pd.Series[Any] | pd.DataFrame:
        """Return a Series, or of a 2-D array a DataFrame, over the same memory."""
        return share(self.array, "pandas", copy=copy)

    def to_polars(self, *, copy: bool | None = None) -> pl.Series:
        """Return a Polars Series over the same memory; further axes become its Array dtype."""
        series: Any = share(
            self.array, "polars", copy=copy
        )  # a frame only if `schema` is given
        return series  # type: ignore[no-any-return]

    def to_dlpack(self, *, copy: bool | None = None) -> DLPackBuffer:
        """Return a buffer over the same memory that any DLPack consumer can import."""
        return DLPackBuffer(self.array, order="K", copy=copy)

    def __array__(self, dtype: np.dtype[Any] | None = None, copy: bool | None = None) -> Array:
        """Return the array; a copy only for another dtype or if ``copy=True``."""
        if hides_values(self.array):
            why = "np.asarray would drop its mask"
            refuse("to NumPy", describe(self.array), why, "use .to_numpy() or .array")
        if dtype is None or dtype == self.array.dtype:
            return aligned_copy(self.array) if copy else self.array
        return np.array(self.array, dtype=dtype, copy=copy)

    def _export(
        self,
        stream: object,
        max_version: tuple[int, int] | None,
        dl_device: tuple[int, int] | None,
        copy: bool | None,
    ) -> object:
        policy = False if copy is False else None
        return self.to_dlpack(copy=policy).__dlpack__(
            stream=stream, max_version=max_version, dl_device=dl_device, copy=copy
        )

    def __arrow_c_array__(self, requested_schema: object = None) -> tuple[object, object]:
        """Export the flat values by the Arrow PyCapsule interface."""
        capsules: tuple[object, object] = self.to_arrow().__arrow_c_array__(requested_schema)
        return capsules


publish(ZeroCopyArray, 1)
fast_class(ZeroCopyArray, exported=False)
register_import("numpy", (ZeroCopyArray,), view=operator.attrgetter("array"))
