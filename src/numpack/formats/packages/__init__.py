"""Packages: making one file of a store, and a store of it again.

`numpack.store.packages` reads them in place.
"""

from .info import package_info
from .packing import pack
from .unpacking import unpack

get_package_info = package_info  # as NumPack 0.7 calls it

__all__ = ["get_package_info", "pack", "package_info", "unpack"]
