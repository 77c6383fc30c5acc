"""netCDF (``.nc``): version 4 through h5netcdf, version 3 through SciPy, decoding by xarray.

Variables become arrays; the names of their dimensions are the attribute `dims`. Values are as
they are stored, unless ``decode=True`` asks for xarray's decoding by the CF conventions.

Source: the documentation of h5netcdf, of ``xarray.decode_cf`` and of ``scipy.io.netcdf_file``,
and the netCDF-4 specification.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, TypedDict

from ...adapters._safetensors_header import open_regular
from ...errors import InvalidValueError
from .reading import NetcdfSource, open_netcdf3, open_netcdf4
from .writing import LABEL as _LABEL
from .writing import NetcdfTarget, Variables

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from .._protocol import ArrayInfo


class ReadOptions(TypedDict, total=False):
    """Options of `open_source`.

    Attributes
    ----------
    decode : bool
        Whether xarray decodes the values by the CF conventions: times, scaled and missing
        values, booleans.
    sparse : bool
        Whether to read variables of more than 1 GiB of which the file stores less than a
        10,000th; by default they are refused.
    """

    decode: bool
    sparse: bool


class WriteOptions(TypedDict, total=False):
    """Options of `create_target`.

    Attributes
    ----------
    encode : bool
        Whether times and booleans, which netCDF has no types for, are written as integers by
        the CF conventions; by default they are refused.
    compression : str
        ``"gzip"``; none by default.
    level : int
        Of the compression, from 0 to 9.
    """

    encode: bool
    compression: str | None
    level: int | None


LABEL = _LABEL
READ_OPTIONS = ReadOptions.__optional_keys__
WRITE_OPTIONS = WriteOptions.__optional_keys__
TOGETHER = False
NEEDS_LENGTHS = True

_HDF5 = b"\x89HDF\r\n\x1a\n"
_CLASSIC = (b"CDF\x01", b"CDF\x02")


def open_source(path: Path, /, *, decode: bool = False, sparse: bool = False) -> NetcdfSource:
    """Open a file of version 3 or 4.

    Raises
    ------
    InvalidValueError
        It is not a netCDF file, damaged, or has links to other files.
    OSError
        It cannot be opened.
    """
    descriptor = open_regular(path)
    try:
        magic = os.pread(descriptor, len(_HDF5), 0)
    finally:
        os.close(descriptor)
    if magic == _HDF5:
        return open_netcdf4(path, decode=decode, sparse=sparse)
    if magic.startswith(_CLASSIC):
        return open_netcdf3(path, decode=decode)
    msg = (
        f"{path} is not a {LABEL} file of version 3 or 4: it begins with {magic!r}; get the "
        "complete file, or pass format="
    )
    raise InvalidValueError(msg)


def create_target(
    path: Path,
    arrays: Mapping[str, ArrayInfo],
    attrs: Mapping[str, Any],
    /,
    *,
    encode: bool = False,
    compression: str | None = None,
    level: int | None = None,
) -> NetcdfTarget:
    """Begin to write a file of version 4.

    Raises
    ------
    UnsupportedError
        netCDF cannot hold a dtype, a name or an attribute.
    InvalidValueError
        The attribute `dims` of an array does not fit it, or a dimension has two lengths.
    """
    if compression not in (None, "gzip"):
        msg = f"compression must be 'gzip' or None, not {compression!r}"
        raise InvalidValueError(msg)
    if level is not None and (compression is None or level not in range(10)):
        msg = f"level={level!r} is for compression='gzip', and a number from 0 to 9"
        raise InvalidValueError(msg)
    options = {"compression": compression, "compression_opts": level}
    return NetcdfTarget(path, Variables(arrays, attrs, options, encode=encode))
