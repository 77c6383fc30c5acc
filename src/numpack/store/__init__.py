"""An embedded store of arrays in a folder."""

from .lazy.array import LazyArray
from .store import NumPack
from .verify import Damage, Report

__all__ = ["Damage", "LazyArray", "NumPack", "Report"]
