"""Zero-copy exchange of arrays between frameworks."""

from .known import FrameworkInfo, frameworks
from .routes import explain, share
from .zero_copy import (
    DLPackBuffer,
    ZeroCopyArray,
    arrow_to_numpy_zero_copy,
    from_dlpack,
    numpy_to_arrow_zero_copy,
    numpy_to_torch_zero_copy,
    table_to_numpy_zero_copy,
    to_dlpack,
    torch_to_numpy_zero_copy,
    wrap_for_zero_copy,
)

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
    "share",
    "table_to_numpy_zero_copy",
    "to_dlpack",
    "torch_to_numpy_zero_copy",
    "wrap_for_zero_copy",
]
