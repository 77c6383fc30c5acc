"""Arrays in memory that other processes map: `SharedArray` and `share_memory`.

Modules here use `io` and the layers below it, never the store.
"""

from __future__ import annotations

from .array import SharedArray
from .copying import share_memory

__all__ = ["SharedArray", "share_memory"]
