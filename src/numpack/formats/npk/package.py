"""Packages as targets: a temporary store, of which a package is made."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UnsupportedError
from ..common.new_files import beside, require_replaceable, resolved
from ..packages import pack

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .._protocol import ArrayInfo, Part, Target

    MakeStore = Callable[..., Target]


class PackageTarget:
    """A package that is being written.

    Parameters
    ----------
    path : Path
    arrays : mapping of str to ArrayInfo
    attrs : mapping
    make_store : callable
        Begins to write a store: `npk.create_target`.
    options : mapping
        Of `make_store`.

    Raises
    ------
    UnsupportedError
        Rows were to be appended, which no package allows.
    InvalidValueError
        There is something other than a file at the path.
    """

    def __init__(
        self,
        path: Path,
        arrays: Mapping[str, ArrayInfo],
        attrs: Mapping[str, Any],
        make_store: MakeStore,
        options: Mapping[str, Any],
    ) -> None:
        if options.get("append"):
            msg = f"{path} is a package, which is only read; unpack it, and append to the store"
            raise UnsupportedError(msg)
        self._path = path = resolved(path)
        require_replaceable(path, is_folder=False)
        self._folder = beside(path)
        self._store = Path(self._folder.path) / f"{path.stem}.npk"
        try:
            self._target = make_store(self._store, arrays, attrs, **options)
        except BaseException:
            self._folder.remove()
            raise

    def write(self, part: Part) -> None:
        """Write the next rows."""
        self._target.write(part)

    def commit(self) -> None:
        """Make the package, and give it its name."""
        self._target.commit()
        pack(self._store, self._path)
        self._folder.remove()

    def abort(self) -> None:
        """Remove what was written."""
        self._target.abort()
        self._folder.remove()
