"""Descriptions of DLPack tensors, for the policy and for messages."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

from . import dtypes

if TYPE_CHECKING:
    from .dtypes import DTypeInfo

HOST_DEVICES = frozenset({1, 3, 11, 13})  # kDLCPU, kDLCUDAHost, kDLROCMHost, kDLCUDAManaged


class Description(NamedTuple):
    """The content of a DLPack capsule, read without consuming it.

    Attributes
    ----------
    shape : tuple of int
    strides : tuple of int or None
        In elements; ``None`` for C order.
    code, bits, lanes : int
        The fields of ``DLDataType``.
    device : tuple of int
        The device type and device ID of ``DLDevice``.
    readonly, copied, padded : bool
        The flags of a versioned capsule; false in a legacy one.
    """

    shape: tuple[int, ...]
    strides: tuple[int, ...] | None
    code: int
    bits: int
    lanes: int
    device: tuple[int, int]
    readonly: bool
    copied: bool
    padded: bool

    @property
    def dtype_info(self) -> DTypeInfo | None:
        """The entry of the dtype table, or ``None`` if no NumPy dtype has this layout."""
        if self.lanes != 1 or (self.bits < 8 and not self.padded):
            return None
        return dtypes.of_dlpack(self.code, self.bits)

    @property
    def nbytes(self) -> int:
        """Size of the elements in bytes, without gaps."""
        return math.prod(self.shape) * self.lanes * max(self.bits, 8) // 8

    @property
    def on_host(self) -> bool:
        """Whether the CPU can read the memory."""
        return self.device[0] in HOST_DEVICES

    def __str__(self) -> str:
        """Return the dtype and shape for messages."""
        info = dtypes.of_dlpack(self.code, self.bits)
        name = info.numpy if info else f"DLPack type (code {self.code}, {self.bits} bits)"
        if self.lanes != 1:
            name += f" of {self.lanes} lanes"
        return f"{name} tensor of shape {self.shape}"
