"""`Publisher`: the method of `NumPack` that publishes the store."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from ..._core.policy import wrong_type
from ...errors import InvalidValueError
from ..reading.mapping import ArrayMapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from ...object_store.objects import ObjectStore
    from ..reading.reader import ProgressCallback
    from .report import PublishReport


class Publisher(ArrayMapping):
    """The part of `NumPack` that writes to object stores."""

    def publish(
        self,
        target: Any,
        *,
        storage_options: Mapping[str, Any] | None = None,
        overwrite: bool = False,
        progress: ProgressCallback | None = None,
    ) -> PublishReport:
        """Write the newest commit to an object store, as far as it is not there already.

        The commit takes effect at once, when the object ``commits.log`` is replaced under the
        condition that nobody else has replaced it: a reader that opens the URL sees the
        previous commit, or this one. If the process is killed before, the previous commit
        stays. Of arrays that were published before, the blocks of 1 MiB whose checksums
        differ are sent. Others may write to the store meanwhile, as beside `backup`.

        Objects that neither this commit nor the previous one needs are removed afterwards.

        Parameters
        ----------
        target : str or object store
            A URL such as ``"s3://bucket/features.npk"``, or a store of obstore.
        storage_options : mapping, optional
            Of the object store, as for a store that is opened by its URL. Credentials are
            better left in the environment.
        overwrite : bool, default False
            Publish even if another store is there, or commits that this one does not have; or
            again, if objects are missing. The objects of another store stay, without use.
        progress : callable, optional
            Called with the number of bytes of arrays sent so far and the total; not always by
            the calling thread, but never by two at once.

        Returns
        -------
        PublishReport
            A named tuple of ``commit``, ``bytes_sent``, ``objects_sent`` and ``arrays``.

        Raises
        ------
        ConflictError
            Another process has published meanwhile; or, without ``overwrite=True``, another
            store or a later commit is there. Nothing was committed.
        CorruptStoreError
            A block that would be sent is damaged, or a file is. Nothing was committed.
        RemoteError
            The object store cannot be reached, or refuses. If this happens when the log is
            written, the commit may have taken effect: publishing again tells.
        UnsupportedError
            The object store has no conditional writes, as web servers and filesystems of
            fsspec.
        StoreError
            The folder is one of NumPack 0.x, for example.

        Notes
        -----
        Blocks are compared by their CRC-32: of 4 billion blocks that were changed, one is
        taken for unchanged, on average.

        Examples
        --------
        >>> import numpy as np
        >>> from pathlib import Path
        >>> from numpack import NumPack
        >>> url = Path("published").absolute().as_uri()
        >>> with NumPack("local.npk", drop_if_exists=True) as npk:
        ...     npk.save({"x": np.arange(4), "y": np.zeros(2)})
        ...     first = npk.publish(url)
        ...     npk.append({"x": np.arange(2)})
        ...     second = npk.publish(url)
        >>> first.arrays, second.arrays, second.commit
        (('x', 'y'), ('x',), 2)
        """
        from .publish import publish  # noqa: PLC0415 -- imports more than a store needs

        if not isinstance(overwrite, bool):
            wrong_type("publish", "a bool as overwrite", overwrite, "pass True or False")
        session = self._session()
        objects = _opened(target, storage_options, session.folder.path)
        if self._batch.depth:
            self._batch.write()
        return publish(session, objects, progress, overwrite=overwrite)


def _opened(target: Any, options: Mapping[str, Any] | None, own: str) -> ObjectStore:
    """Open the object store to publish to; refuse paths, and the store's own folder."""
    from ...object_store import is_remote, open_object_store  # noqa: PLC0415

    if isinstance(target, os.PathLike) or (isinstance(target, str) and not is_remote(target)):
        msg = (
            f"{os.fspath(target)!r} is a path, and a store is published to a URL; pass "
            "pathlib.Path(path).absolute().as_uri() for a folder, or use backup(path)"
        )
        raise InvalidValueError(msg)
    if not is_remote(target):
        wrong_type("publish", "a URL or an object store", target, 'pass "s3://bucket/name"')
    objects = open_object_store(target, options)
    scheme, _, path = objects.location.partition("://")
    if scheme == "file":
        there, here = (os.path.realpath(each) for each in (unquote(path), own))
        if f"{there}/".startswith(f"{here}/"):
            msg = f"{objects.location} is in the folder of the store itself; choose another URL"
            raise InvalidValueError(msg)
    return objects
