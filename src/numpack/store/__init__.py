"""An embedded store of arrays in a folder.

Imports `io`, `_core` and `errors`; reaches frameworks only through `share`.
"""

from .batches.parallel import ParallelWrite
from .lazy.array import LazyArray
from .reading.verify import Damage, VerifyReport
from .store import NumPack

__all__ = ["Damage", "LazyArray", "NumPack", "ParallelWrite", "VerifyReport"]
