"""What is in a package, also in one that is compressed, in the words of ``numpack ls``."""

from __future__ import annotations

from typing import Any

from ..formats.packages import package_info
from ._text import iso_moment


def described(path: str) -> dict[str, Any]:
    """Return what is in a package: ``arrays`` is a list, as ``numpack ls --json`` writes it."""
    found = package_info(path)
    return {
        "package": found["path"],
        "commit": found["commit"],
        "compress": found["compress"],
        "nbytes": found["size_bytes"],
        "arrays": [
            {
                "name": name,
                "dtype": each["dtype"],
                "shape": each["shape"],
                "nbytes": each["size_bytes"],
                "modified": iso_moment(each["last_modified"]),
            }
            for name, each in found["arrays"].items()
        ],
    }
