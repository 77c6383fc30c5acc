"""`PackageHandle`: opens and closes a package."""

from __future__ import annotations

import os

from ...errors import UnsupportedError
from ..handle import Handle
from .archive import Archive
from .session import PackageSession


class PackageHandle(Handle):
    """Options of a `NumPack` of a package, and its session while the package is open.

    Parameters
    ----------
    path : str
        Absolute.
    """

    def __init__(self, path: str) -> None:
        super().__init__(path, mode="r", upgrade=False, durable=False)

    def open(self) -> None:
        """Open the package; do nothing if it is open."""
        with self._exclude_threads():
            if self.session is None:
                self.session = PackageSession(Archive(self.path), counts=self.counts)


def check_reading(path: str, mode: str, *, at: object, drops: bool, upgrade: bool) -> None:
    """Refuse options that need more than reading a package.

    Raises
    ------
    UnsupportedError
        Of the option, and what to do instead.
    """
    reason = fix = ""
    if drops or upgrade:
        given = "drop_if_exists=True" if drops else "upgrade=True"
        reason, fix = f"{given} changes the store, and a package is only read", "leave it out"
    elif mode != "r":
        reason = f"a package is only read, and mode={mode!r} writes"
        fix = 'pass mode="r"'
        if os.path.exists(path):  # noqa: PTH110 -- as text
            fix += f", or make a store of it that can be written: numpack.unpack({path!r})"
        else:
            fix += "; numpack.pack(store, path) makes a package"
    elif at is not None:
        reason, fix = "a package has one commit, and no other", "leave out at="
    if reason:
        raise UnsupportedError(f"NumPack: {reason}; {fix}", reason=reason, fix=fix)
