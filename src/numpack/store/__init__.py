"""An embedded store of arrays in a folder."""

from .lazy import LazyArray
from .numpack import NumPack
from .verify import Damage, Report

__all__ = ["Damage", "LazyArray", "NumPack", "Report"]
