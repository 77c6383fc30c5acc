"""`package_info`: what is in a package."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...store.checks import absolute_path, checked_path
from ...store.packages.archive import Archive
from ...store.packages.log import catalog_of

if TYPE_CHECKING:
    import os


def package_info(package: str | os.PathLike[str]) -> dict[str, Any]:
    """Return a description of a package, also of one that is compressed.

    Parameters
    ----------
    package : str or os.PathLike
        A file that `pack` has made.

    Returns
    -------
    dict
        ``arrays``: for each name ``shape``, ``dtype``, ``size_bytes`` and ``last_modified``
        (µs since 1970), as in `NumPack.get_metadata`; ``total_arrays``; ``size_bytes`` of the
        package; ``commit``, the number of the last one; ``compress``, ``"zstd"`` or ``None``;
        and ``path``. JSON can hold all of it.

    Raises
    ------
    StoreNotFoundError
        There is no such file.
    CorruptStoreError
        It is not a package, or is damaged.

    Examples
    --------
    >>> import numpy as np
    >>> import numpack
    >>> with numpack.NumPack("features.npk", mode="w") as npk:
    ...     npk.save({"x": np.zeros((2, 3))})
    >>> info = numpack.package_info(numpack.pack("features.npk"))
    >>> info["arrays"]["x"]["shape"], info["compress"]
    ([2, 3], None)
    """
    path = checked_path(package, "package_info")
    archive = Archive(absolute_path(path))
    catalog = catalog_of(archive)
    return {
        "arrays": {
            name: {
                "shape": list(entry.shape),
                "dtype": entry.dtype_name,
                "size_bytes": entry.nbytes,
                "last_modified": entry.modified,
            }
            for name, entry in catalog.arrays.items()
        },
        "total_arrays": len(catalog.arrays),
        "size_bytes": archive.size,
        "commit": catalog.commit,
        "compress": "zstd" if archive.directory.is_compressed else None,
        "path": path,
    }
