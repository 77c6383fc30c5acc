"""Filesystems of fsspec, read only."""

from __future__ import annotations

import contextlib
from datetime import datetime
from typing import TYPE_CHECKING, Any

from ..errors import InvalidValueError, MissingDependencyError, UnsupportedError
from .forks import Threads
from .objects import Version
from .reading import Reader
from .secrets import has_secret, safe_arguments, scrub, secrets_of
from .translation import RangeError
from .urls import is_mapper, normalized

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from .objects import Buffer, Stream
    from .reading import Span

_TAGS = ("ETag", "etag", "e_tag", "md5Hash", "checksum", "sha256", "sha")
_TIMES = ("LastModified", "last_modified", "mtime", "modified", "updated", "created")


def open_filesystem(source: Any, options: Mapping[str, Any]) -> FsspecEngine:
    """Open a URL through its filesystem, or a mapping of fsspec."""
    if is_mapper(source):
        if options:
            raise UnsupportedError(
                "storage_options with an FSMap; pass them to its filesystem",
                reason="it is configured already",
            )
        return FsspecEngine(source.fs, source.root, source.fs.unstrip_protocol(source.root))
    filesystem, root = _filesystem(source, options)
    return FsspecEngine(filesystem, root, source)


def _filesystem(url: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    secrets = secrets_of(url, options)
    shown = scrub(url, secrets)
    try:
        from fsspec.core import url_to_fs  # noqa: PLC0415

        filesystem, root = url_to_fs(url, **options)
    except ImportError as error:
        needed = f"{shown} needs fsspec and the package of its filesystem"
        failure: Exception = MissingDependencyError(f"{needed}: {error}")
    except Exception as error:  # noqa: BLE001 - of any filesystem
        summary = scrub(str(error), secrets)
        failure = InvalidValueError(f"cannot open {shown}: {summary}; check the URL")
    else:
        return filesystem, root
    raise failure


class FsspecEngine(Reader):
    """The files below a folder of a filesystem.

    Its answers do not tell which version they are of; that is asked for after each reading.
    """

    def __init__(self, filesystem: Any, root: str, url: str) -> None:
        options = dict(getattr(filesystem, "storage_options", None) or {})
        secrets = secrets_of(url, options)
        super().__init__(scrub(url, secrets) if "::" in url else normalized(url), secrets)
        self._filesystem = filesystem
        self._root = root.rstrip("/")
        self._pickled = (url, {"engine": "fsspec", **safe_arguments(options)})
        self._only_here = has_secret(url) or "memory" in url.partition("://")[0]
        self._threads = Threads(f"{type(filesystem).__name__} of fsspec")

    def _claim(self) -> None:
        self._threads.claim(self.location)

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    def _fetch(self, name: str, span: Span, *, exact: bool = True) -> tuple[Any, Version]:
        start, end = span if isinstance(span, tuple) else (span, None)
        version = Version(0, "", 0.0) if isinstance(span, tuple) else self._version(name)
        if start is not None and end is None:
            start, end = max(version.size + start, 0), version.size
        if start is not None and start == end:
            return b"", version
        path = self._path(name)
        data = self.call(
            "read", name, lambda: self._filesystem.cat_file(path, start=start, end=end)
        )
        length = version.size if start is None or end is None else end - start
        if exact and len(data) != length:
            raise RangeError(
                f"cannot read {self.location}/{name}: {len(data)} bytes where {length} were "
                "asked for"
            )
        return data, version

    def read_ranges(self, name: str, starts: Any, ends: Any, out: Any, **given: Any) -> Version:
        """Fill `out` with ranges of one object, one after another."""
        super().read_ranges(name, starts, ends, out)
        found = self._version(name)
        if given.get("version") not in (None, found):
            raise self._changed(name)
        return found

    def _version(self, name: str) -> Version:
        self._filesystem.invalidate_cache()
        return _version_of(self.call("read", name, self._filesystem.info, self._path(name)))

    def write(
        self,
        name: str,
        data: Buffer | Sequence[Buffer] | Stream,
        *,
        replaces: Version | None = None,
        create: bool = False,
    ) -> Version:
        """Raise UnsupportedError: filesystems of fsspec do not write under a condition."""
        del data, replaces, create
        raise self._read_only(name)

    def remove(self, names: Iterable[str]) -> None:
        """Raise UnsupportedError."""
        raise self._read_only(next(iter(names), ""))

    def _read_only(self, name: str) -> UnsupportedError:
        return UnsupportedError(
            f"cannot write {self.location}/{name}: filesystems of fsspec do not write under a "
            "condition; pass a URL of s3, gs, az or file, or a store of obstore",
            reason="no conditional writes",
        )

    def list(self, prefix: str) -> Iterator[tuple[str, Version]]:
        """Yield the files whose names begin with `prefix`."""
        self._claim()
        self._filesystem.invalidate_cache()
        find = self._filesystem.find
        path = self._path(prefix).rstrip("/")
        found = self.call("list", prefix, lambda: find(path, detail=True))
        for path, details in found.items():
            yield path.removeprefix(f"{self._root}/"), _version_of(details)

    def to_pickle(self) -> tuple[str, dict[str, Any]]:
        """Return a URL and options, without secrets, that open the same files."""
        if self._only_here:
            raise UnsupportedError(
                f"{self.location} cannot be pickled: its URL holds a secret, or it is in the "
                "memory of this process; pass credentials in the environment instead",
                reason="a pickle holds no secret",
            )
        return self._pickled


def _version_of(details: Mapping[str, Any]) -> Version:
    """Return the version that a filesystem's details of a file describe."""
    etag = next((str(details[name]) for name in _TAGS if details.get(name)), "")
    when = next((details[name] for name in _TIMES if details.get(name)), 0.0)
    if isinstance(when, str):
        with contextlib.suppress(ValueError):
            when = datetime.fromisoformat(when)
    if isinstance(when, datetime):
        when = when.timestamp()
    seconds = float(when) if isinstance(when, int | float) else 0.0
    return Version(int(details["size"] or 0), etag, seconds)
