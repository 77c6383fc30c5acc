"""Requests through obstore."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ...errors import InvalidValueError, RemoteError, UnsupportedError
from ..forks import Threads
from ..objects import Stream, Version
from ..parallel import for_all
from ..reading import Reader
from ..translation import RangeError
from . import writing

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..objects import Buffer
    from ..reading import Span

_threads = Threads("obstore")  # of all stores of the process
_TRIES = 3  # of a response that is shorter than it says


class ObstoreEngine(Reader):
    """The objects of one store of obstore, whose names begin with a prefix.

    Parameters
    ----------
    store : store of obstore
    location : str
    prefix : str, optional
        Of all names; most stores have one of their own.
    secrets : sequence of str, optional
        Not shown in messages.
    once : callable, optional
        Returns the same store without retries.
    pickled : (str, dict), optional
        What `to_pickle` returns, or None if there is nothing to pickle.
    """

    def __init__(
        self,
        store: Any,
        location: str,
        *,
        prefix: str = "",
        secrets: Sequence[str] = (),
        once: Callable[[], Any] | None = None,
        pickled: tuple[str, dict[str, Any]] | None = None,
    ) -> None:
        import obstore  # noqa: PLC0415

        super().__init__(location, secrets)
        self._library: Any = obstore
        self._store = store
        self._prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self._once = once
        self._store_once: Any = None
        self._pickled = pickled
        kinds = {kind.__name__ for kind in type(store).__mro__}
        self._tails = "AzureStore" not in kinds
        self._writes = "HTTPStore" not in kinds

    def _claim(self) -> None:
        _threads.claim(self.location)

    def _fetch(self, name: str, span: Span, *, exact: bool = True) -> tuple[Any, Version]:
        for _ in range(_TRIES):
            meta, found, data = self.call("read", name, self._get, name, span)
            version = version_of(meta)
            length = found[1] - found[0]
            if isinstance(span, tuple) and exact and found != span:
                raise RangeError(
                    f"{self.location}/{name} has {version.size} bytes, and bytes up to "
                    f"{span[1]} were asked for"
                )
            if len(data) == length:
                return data, version
        raise RemoteError(
            f"cannot read {self.location}/{name}: the server sends {len(data)} bytes where it "
            f"says {length}; check what is between it and this machine, such as a proxy"
        )

    def _get(self, name: str, span: Span) -> tuple[Any, tuple[int, int], Any]:
        options: dict[str, Any] | None = None
        if isinstance(span, tuple):
            options = {"range": span}
        elif span is not None:
            options = {"range": {"suffix": -span}}
        result = self._library.get(self._store, self._prefix + name, options=options)
        return result.meta, result.range, result.bytes()

    def write(
        self,
        name: str,
        data: Buffer | Sequence[Buffer] | Stream,
        *,
        replaces: Version | None = None,
        create: bool = False,
    ) -> Version:
        """Write an object at once, or raise `ObjectChangedError` and write nothing."""
        self._claim()
        self._refuse_to_write(name)
        if create and replaces is not None:
            raise InvalidValueError("create=True and replaces=; pass one of them")
        if isinstance(data, Stream):
            return writing.write_stream(self, name, data)
        return writing.write(self, name, writing.chunks_of(data), replaces, create=create)

    def _refuse_to_write(self, name: str) -> None:
        if not self._writes:
            raise UnsupportedError(
                f"cannot write {self.location}/{name}: web servers do not write under a "
                "condition; pass the URL of the object store behind it (s3, gs, az)",
                reason="no conditional writes",
            )

    def put(
        self,
        name: str,
        data: Any,
        mode: Any,
        *,
        multipart: bool,
        retry: bool = True,
        **parts: int,
    ) -> dict[str, str | None]:
        """Send one object; `retry=False` is one attempt, unless the store came configured."""
        store = self._store if retry else self._without_retries()
        result: dict[str, str | None] = self.call(
            "write",
            name,
            lambda: self._library.put(
                store, self._prefix + name, data, mode=mode, use_multipart=multipart, **parts
            ),
        )
        return result

    def _without_retries(self) -> Any:
        if self._store_once is None:
            self._store_once = self._once() if self._once else self._store
        return self._store_once

    def head(self, name: str) -> Version:
        """Return the version of an object."""
        path = self._prefix + name
        return version_of(self.call("read", name, self._library.head, self._store, path))

    def list(self, prefix: str) -> Iterator[tuple[str, Version]]:
        """Yield the objects whose names begin with `prefix`."""
        self._claim()
        chunks = self.call(
            "list",
            prefix,
            lambda: self._library.list(self._store, self._prefix + prefix or None),
        )
        while True:
            chunk = self.call("list", prefix, next, chunks, None)
            if chunk is None:
                return
            for meta in chunk:
                yield meta["path"].removeprefix(self._prefix), version_of(meta)

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that do not exist are no error."""
        self._claim()
        removed = list_of(names)
        self._refuse_to_write(next(iter(removed), ""))

        def remove(number: int) -> None:
            name = removed[number]
            path = self._prefix + name
            try:
                self.call("remove", name, self._library.delete, self._store, path)
            except FileNotFoundError:
                return

        for_all(len(removed), remove, lambda *_: None)

    def to_pickle(self) -> tuple[str, dict[str, Any]]:
        """Return a URL and options, without secrets, that open the same store."""
        if self._pickled is None:
            raise UnsupportedError(
                f"{self.location} cannot be pickled: its URL holds a secret, or it is in the "
                "memory of this process; pass credentials in the environment instead",
                reason="a pickle holds no secret",
            )
        return self._pickled


list_of = list  # `list` is a method above


def version_of(meta: Any) -> Version:
    """Return the version that obstore's metadata describe."""
    return Version(
        meta["size"],
        meta["e_tag"] or "",
        meta["last_modified"].timestamp(),
        meta.get("version") or "",
    )
