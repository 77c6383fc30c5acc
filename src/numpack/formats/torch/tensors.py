"""Tensors of a file, whose values are read from it; and tensors that are written later."""

from __future__ import annotations

import math
import mmap
from collections import OrderedDict
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from ..._core import dtypes
from ...errors import InvalidValueError
from ...io import share
from ...store.format.naming import quoted
from .._protocol import ArrayInfo
from ..common.file_rows import FileRows
from ..common.trees import check_expansion, refuse_read

if TYPE_CHECKING:
    from pathlib import Path

    from ..._core.dtypes import DType
    from ..._core.memory import Array
    from .archive import Records

_LABEL = "torch"
_V3 = getattr(torch._utils, "_rebuild_tensor_v3", None)  # noqa: SLF001 -- named in the files


class TensorRows(NamedTuple):
    """A tensor of a file: where its values are, or the values.

    Attributes
    ----------
    dtype : dtype
    shape, strides : tuple of int
        The strides are in bytes.
    offset : int
        The byte of the file at which the first value begins.
    path : Path
    descriptor : int
        Of the file.
    conjugate, negative : bool
        Whether torch computes the values from those of the file.
    values : ndarray or None
        Of a file of the old format.
    """

    dtype: DType
    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int
    path: Path
    descriptor: int
    conjugate: bool = False
    negative: bool = False
    values: Array | None = None

    @classmethod
    def of(
        cls,
        name: str,
        tensor: torch.Tensor,
        records: Records | None,
        path: Path,
        descriptor: int,
        *,
        sparse: bool,
    ) -> TensorRows:
        """Locate the values of a tensor that was loaded to the device ``meta``.

        Raises
        ------
        UnsupportedError
            NumPy has no such tensors.
        InvalidValueError
            Its values are not in the file.
        """
        dtype = _numpy_dtype(name, tensor)
        shape = tuple(tensor.shape)
        if records is None:
            values = share(tensor, "numpy")
            return cls(dtype, shape, values.strides, 0, path, descriptor, values=values)
        strides = tuple(each * dtype.itemsize for each in tensor.stride())
        found = cls(
            dtype, shape, strides, 0, path, descriptor, tensor.is_conj(), tensor.is_neg()
        )
        if 0 in shape:
            return found
        begin = getattr(tensor.untyped_storage(), "_checkpoint_offset", None)
        record = records.at(begin) if begin is not None else None
        first = int(tensor.storage_offset()) * dtype.itemsize
        if record is None or first + found.span(shape) > record.nbytes:
            msg = (
                f"the values of {quoted(name)} are not where the file says: it is damaged, was "
                "repacked by another program, or its torch is too old; save it again with torch"
            )
            raise InvalidValueError(msg)
        if not sparse:
            check_expansion(name, math.prod(shape) * dtype.itemsize, record.nbytes, _LABEL)
        return found._replace(offset=record.offset + first)

    def info(self) -> ArrayInfo:
        """Return what is known of the tensor."""
        return ArrayInfo(self.dtype, self.shape)

    def span(self, shape: tuple[int, ...]) -> int:
        """Return the number of bytes from the first to the last value of some rows."""
        extents = zip(shape, self.strides, strict=True)
        return sum((extent - 1) * stride for extent, stride in extents) + self.dtype.itemsize

    def rows(self, start: int, stop: int) -> Array:
        """Read rows, or all of a 0-d tensor."""
        if self.values is not None:
            return self.values[start:stop] if self.shape else self.values
        shape = (stop - start, *self.shape[1:]) if self.shape else ()
        if 0 in shape:
            return np.empty(shape, self.dtype)
        at = self.offset + (start * self.strides[0] if self.shape else 0)
        if self.span(shape) == math.prod(shape) * self.dtype.itemsize and self._is_c_ordered():
            file = FileRows(self.path, self.descriptor, at, self.dtype, shape)
            found = file.read(0, stop - start)
        else:
            found = self._read_strided(at, shape)
        if self.conjugate:
            np.conjugate(found, out=found)
        if self.negative:
            np.negative(found, out=found)
        return found

    def _is_c_ordered(self) -> bool:
        expected = self.dtype.itemsize
        for extent, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if extent != 1 and stride != expected:
                return False
            expected *= extent
        return True

    def _read_strided(self, at: int, shape: tuple[int, ...]) -> Array:
        """Copy values out of a map of the bytes between the first and the last of them."""
        begin = at - at % mmap.ALLOCATIONGRANULARITY
        nbytes = at - begin + self.span(shape)
        with mmap.mmap(
            self.descriptor, nbytes, access=mmap.ACCESS_READ, offset=begin
        ) as mapped:
            view = np.ndarray(shape, self.dtype, mapped, at - begin, self.strides)
            found = view.copy()
            del view
        return found


def _numpy_dtype(name: str, tensor: torch.Tensor) -> DType:
    """Return the dtype of a tensor that NumPy can hold."""
    info = dtypes.of_torch(str(tensor.dtype).removeprefix("torch."))
    kind = "nested" if tensor.is_nested else str(tensor.layout).removeprefix("torch.")
    if kind != "strided" or tensor.is_quantized or info is None:
        what = kind if kind != "strided" else str(tensor.dtype)
        fix = "convert it with torch, such as by to_dense(), or leave it out with arrays="
        raise refuse_read(name, _LABEL, f"NumPy has no {what} tensors", fix)
    return info.dtype


def placeholder(dtype: torch.dtype, shape: tuple[int | None, ...]) -> Placeholder:
    """Return an object that is pickled as a tensor whose values are not known yet."""
    return Placeholder(torch.empty(shape, dtype=dtype, device="meta"))  # type: ignore[arg-type]


class Placeholder:
    """A tensor without memory, pickled as one on the CPU."""

    def __init__(self, tensor: torch.Tensor) -> None:
        self._tensor = tensor

    def __reduce_ex__(self, protocol: object) -> tuple[Any, ...]:
        """Return what ``torch.Tensor`` returns on the CPU, with a storage without memory."""
        tensor, dtype = self._tensor, self._tensor.dtype
        storage = tensor.untyped_storage()
        hooks: OrderedDict[str, Any] = OrderedDict()
        place = 0, tuple(tensor.shape), tensor.stride(), False, hooks
        if _V3 is not None and dtype in torch.storage._new_dtypes():  # noqa: SLF001
            storage._fake_device = torch.device("cpu")  # noqa: SLF001 -- as skip_data does
            return _V3, (storage, *place, dtype)
        typed = torch.storage.TypedStorage(wrap_storage=storage, dtype=dtype, _internal=True)
        typed._fake_device = torch.device("cpu")  # noqa: SLF001
        return torch._utils._rebuild_tensor_v2, (typed, *place)  # noqa: SLF001
