"""What stores are read and written with, for programs that ask NumPack 0.7 for it."""

from __future__ import annotations

import platform
from importlib.metadata import version

import numpy as np

from ..store.format.folder import VERSION


def get_backend_info() -> dict[str, str]:
    """Return name and versions of what stores are read and written with.

    Returns
    -------
    dict
        ``"backend"``: ``"native"``, as there is no other; ``"version"`` of numpack;
        ``"format"``, the newest version of the format of stores that it reads; ``"numpy"`` and
        ``"python"``, their versions.

    Examples
    --------
    >>> import numpack
    >>> numpack.get_backend_info()["backend"]
    'native'
    """
    return {
        "backend": "native",
        "version": version("numpack"),
        "format": str(VERSION),
        "numpy": np.__version__,
        "python": platform.python_version(),
    }
