"""Zero-copy exchange of arrays between frameworks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ..adapters import by_name
from .known import FrameworkInfo, frameworks
from .routes import explain, share
from .zero_copy import (
    DLPackBuffer,
    ZeroCopyArray,
    arrow_to_numpy_zero_copy,
    from_dlpack,
    numpy_to_arrow_zero_copy,
    numpy_to_torch_zero_copy,
    safetensors_to_numpy_zero_copy,
    table_to_numpy_zero_copy,
    to_dlpack,
    torch_to_numpy_zero_copy,
    wrap_for_zero_copy,
)

if TYPE_CHECKING:
    from ..adapters.safetensors import SafetensorsFile as SafetensorsFile

__all__ = [
    "DLPackBuffer",
    "FrameworkInfo",
    "ZeroCopyArray",
    "arrow_to_numpy_zero_copy",
    "explain",
    "frameworks",
    "from_dlpack",
    "numpy_to_arrow_zero_copy",
    "numpy_to_torch_zero_copy",
    "safetensors_to_numpy_zero_copy",
    "share",
    "table_to_numpy_zero_copy",
    "to_dlpack",
    "torch_to_numpy_zero_copy",
    "wrap_for_zero_copy",
]


def __getattr__(name: str) -> Any:
    """Find `SafetensorsFile`, which needs the safetensors package, when it is asked for."""
    if name == "SafetensorsFile":
        return by_name("safetensors").module().SafetensorsFile
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
