"""The public functions that convert arrays between frameworks.

Modules here use `adapters` and the layers below it, never the store.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ..adapters import by_name
from .arrow_tables import (
    arrow_to_numpy_zero_copy,
    numpy_to_arrow_zero_copy,
    table_to_numpy_zero_copy,
)
from .known import FrameworkInfo, frameworks
from .routes import explain, share
from .tensor_files import safetensors_to_numpy_zero_copy
from .wrapper import ZeroCopyArray
from .zero_copy import (
    DLPackBuffer,
    from_dlpack,
    numpy_to_torch_zero_copy,
    to_dlpack,
    torch_to_numpy_zero_copy,
    wrap_for_zero_copy,
)

if TYPE_CHECKING:
    from ..adapters._options import Layout as Layout
    from ..adapters._options import Nulls as Nulls
    from ..adapters._options import Order as Order
    from ..adapters._options import Target as Target
    from ..adapters.safetensors import SafetensorsFile as SafetensorsFile
    from .references import pickle_by_reference, use_pickle_by_reference

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
    "pickle_by_reference",
    "safetensors_to_numpy_zero_copy",
    "share",
    "table_to_numpy_zero_copy",
    "to_dlpack",
    "torch_to_numpy_zero_copy",
    "use_pickle_by_reference",
    "wrap_for_zero_copy",
]


def __getattr__(name: str) -> Any:
    """Import at first use what needs a package or takes long, and the types of options."""
    if name == "SafetensorsFile":
        adapter: Any = by_name("safetensors").module()
        return adapter.SafetensorsFile
    if name in ("pickle_by_reference", "use_pickle_by_reference"):
        from . import references  # noqa: PLC0415 -- imports multiprocessing

        return getattr(references, name)
    if name in ("Layout", "Nulls", "Order", "Target"):
        from ..adapters import _options  # noqa: PLC0415 -- for type hints alone

        return getattr(_options, name)
    if name.startswith(("from_", "to_")):  # NumPack 0.7 has them here
        named = importlib.import_module("numpack.formats.named")
        if name in named.__all__:
            return getattr(named, name)
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)
