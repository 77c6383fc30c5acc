"""The registry of file formats: one module each, imported on first use."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, NamedTuple

from .._core.requirements import require
from ..errors import InvalidValueError
from ..store.format.numpack0.files import METADATA

if TYPE_CHECKING:
    from pathlib import Path

    from ._protocol import Format


class FormatEntry(NamedTuple):
    """One entry of the registry.

    Attributes
    ----------
    name : str
        The name that ``format=`` takes, which is also that of the module.
    suffixes : tuple of str
        Ends of file names, in lower case.
    packages : tuple of str
        Required packages, some with a minimum version (``"pyarrow>=18"``).
    install : str
        The argument of ``pip install`` for an error message.
    """

    name: str
    suffixes: tuple[str, ...]
    packages: tuple[str, ...] = ()
    install: str = ""

    def module(self) -> Format:
        """Return the module of the format; its first call imports it and the packages."""
        for requirement in self.packages:
            require(self.name, requirement, self.install)
        found: Format = importlib.import_module(f"{__package__}.{self.name}")
        return found


FORMATS: tuple[FormatEntry, ...] = (
    FormatEntry("npk", (".npk", ".npkz")),
    FormatEntry("npy", (".npy",)),
    FormatEntry("npz", (".npz",)),
    FormatEntry("raw", (".bin",)),
    FormatEntry(
        "safetensors", (".safetensors",), ("safetensors>=0.6",), "numpack[safetensors]"
    ),
    FormatEntry("parquet", (".parquet", ".pq"), ("pyarrow>=18",), "numpack[arrow]"),
    FormatEntry("arrow", (".arrow", ".feather"), ("pyarrow>=18",), "numpack[arrow]"),
    FormatEntry("csv", (".csv", ".tsv", ".txt"), ("pyarrow>=18",), "numpack[arrow]"),
    FormatEntry("hdf5", (".h5", ".hdf5"), ("h5py>=3.10",), "numpack[hdf5]"),
    FormatEntry("zarr", (".zarr",), ("zarr>=3",), "numpack[zarr]"),
    FormatEntry("torch", (".pt", ".pth"), ("torch>=2.3",), "numpack[torch]"),
    FormatEntry("netcdf", (".nc",), ("h5netcdf>=1.3",), "numpack[netcdf]"),
)

_BY_NAME = {entry.name: entry for entry in FORMATS}
_STORE_FILES = ("numpack.json", METADATA)


def by_name(name: str) -> FormatEntry:
    """Return the format of a name.

    Raises
    ------
    InvalidValueError
        No format has that name.
    """
    found = _BY_NAME.get(name) if isinstance(name, str) else None
    if found is None:
        msg = f"no format is called {name!r}; known are: {', '.join(_BY_NAME)}"
        raise InvalidValueError(msg)
    return found


def of_path(path: Path) -> FormatEntry:
    """Return the format of a file by the end of its name; a folder may be a store.

    Raises
    ------
    InvalidValueError
        No format has the suffix.
    """
    name = path.name.lower()
    for entry in FORMATS:
        if name.endswith(entry.suffixes):
            return entry
    if any((path / each).is_file() for each in _STORE_FILES):
        return _BY_NAME["npk"]
    suffixes = ", ".join(suffix for entry in FORMATS for suffix in entry.suffixes)
    msg = (
        f"the format of {path} is unknown: its name ends in none of {suffixes}; name it, such "
        "as format='npy'"
    )
    raise InvalidValueError(msg)
