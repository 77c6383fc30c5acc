"""`RemoteHandle`: opens and closes a store in an object store."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import UnsupportedError
from ..handle import Handle
from .packages import open_objects
from .session import RemoteSession
from .source import CacheOptions, Source

if TYPE_CHECKING:
    from collections.abc import Mapping


class RemoteHandle(Handle):
    """Options of a `NumPack` of an object store, and its session while the store is open.

    Parameters
    ----------
    source : str or store of obstore or fsspec
    options : mapping or None
        See `open_objects`.
    cache, cache_bytes
        See `NumPack`.
    """

    is_remote = True

    def __init__(
        self,
        source: Any,
        options: Mapping[str, Any] | None,
        cache: Any = None,
        cache_bytes: Any = None,
    ) -> None:
        self._cache = CacheOptions.checked(cache, cache_bytes)
        self._store = open_objects(source, options)
        super().__init__(self._store.location, mode="r", upgrade=False, durable=False)

    def pickled(self, options: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """Return a URL and options without secrets, by which the store is opened again."""
        url, storage_options = self._store.to_pickle()
        remote = {"storage_options": storage_options, **self._cache._asdict()}
        return url, {**options, **remote}

    def open(self) -> None:
        """Open the store as of its newest commit; do nothing if it is open."""
        with self._exclude_threads():
            if self.session is None:
                source = Source(self._store, self._cache)
                self.session = RemoteSession(source, counts=self.counts)


def check_reading(mode: str, *, at: object, drops: bool, upgrade: bool) -> None:
    """Refuse options that need more than reading the newest commit.

    Raises
    ------
    UnsupportedError
        Of the option, and what to pass instead.
    """
    reason = fix = ""
    if drops or upgrade:
        given = "drop_if_exists=True" if drops else "upgrade=True"
        reason, fix = f"{given} changes the store", "leave it out"
    elif mode != "r":
        reason = f"a store in an object store is only read, and mode={mode!r} writes"
        fix = 'pass mode="r"; NumPack.publish writes one'
    elif at is not None:
        reason = "an object store has the commit that was published last, and no other"
        fix = "leave out at="
    if reason:
        raise UnsupportedError(f"NumPack: {reason}; {fix}", reason=reason, fix=fix)
