"""File formats that arrays are read from and written to, one module each.

Imports `data`, `store` and the layers below them. The library of a format is imported on first
use. A format is a module of the interface in `_protocol`, and one entry in `FORMATS`.
"""

from ._convert import convert
from ._protocol import ArrayInfo, Format, Part, Source, Target
from ._registry import FORMATS, FormatEntry, by_name, of_path
from .packages import get_package_info, pack, package_info, unpack

__all__ = [
    "FORMATS",
    "ArrayInfo",
    "Format",
    "FormatEntry",
    "Part",
    "Source",
    "Target",
    "by_name",
    "convert",
    "get_package_info",
    "of_path",
    "pack",
    "package_info",
    "unpack",
]
