"""What the objects of an object store are, whichever library reads them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray

    Bytes: TypeAlias = NDArray[np.uint8]
    Numbers: TypeAlias = NDArray[np.int64] | Sequence[int]
    Buffer: TypeAlias = bytes | bytearray | memoryview | NDArray[Any]
    Request: TypeAlias = tuple[str, int, int]
    Contents: TypeAlias = list[bytes]


class Version(NamedTuple):
    """What identifies the content of an object.

    Two versions of one object are equal if their sizes and tags are, or where the server gives
    no tags, the seconds in which they were written.
    """

    size: int
    """In bytes."""
    etag: str
    """As the server gives it, or "" where it gives none."""
    modified: float
    """When it was written, in seconds since 1970 of the server's clock; of what was written
    just now, of this machine's."""
    generation: str = ""
    """What the server calls this version, if it numbers them; not compared."""

    def __eq__(self, other: object) -> bool:
        """Return whether the content is the same."""
        if not isinstance(other, Version):
            return NotImplemented
        if self.etag and other.etag:
            return self.size == other.size and _opaque(self.etag) == _opaque(other.etag)
        return self.size == other.size and int(self.modified) == int(other.modified)

    def __ne__(self, other: object) -> bool:
        """Return whether the content may be another."""
        return not self == other

    def __hash__(self) -> int:
        """Return a hash of what all equal versions have in common."""
        return hash(self.size)


def _opaque(etag: str) -> str:
    """Return a tag without the quotes and the mark of weak ones, which listings omit."""
    return etag.removeprefix("W/").strip('"')


class Stream(ABC):
    """Bytes that are read while they are sent.

    Attributes
    ----------
    nbytes : int
    """

    nbytes: int

    @abstractmethod
    def __iter__(self) -> Iterator[Buffer]:
        """Yield parts of the bytes, from the beginning."""


class ObjectStore(Protocol):
    """The objects under one URL, whose names are relative to it.

    Every method can be called by any thread. All raise `MissingFileError` for an object that
    does not exist, `StorePermissionError` where access is denied, and `RemoteError` for what
    the network or the server does not do after some retries.
    """

    @property
    def location(self) -> str:
        """The URL without anything secret, for messages and as a key."""

    def read(self, name: str) -> tuple[bytes, Version]:
        """Return an object's content."""

    def read_tail(self, name: str, nbytes: int) -> tuple[bytes, Version]:
        """Return the last bytes of an object, or all; by one request if possible."""

    def read_ranges(
        self,
        name: str,
        starts: Numbers,
        ends: Numbers,
        out: Bytes,
        *,
        version: Version | None = None,
    ) -> Version:
        """Fill `out` with ranges of one object, one after another.

        Ranges whose distance takes less time to read than another request are read together,
        but never more than twice the bytes that are asked for; long ranges are split. Raise
        `ObjectChangedError` if the object is another version than `version`, or is written
        meanwhile.
        """

    def read_many(self, requests: Sequence[Request]) -> Contents:
        """Return a range of each object: (name, start, end), where -1, -1 is all of it."""

    def write(
        self,
        name: str,
        data: Buffer | Sequence[Buffer] | Stream,
        *,
        replaces: Version | None = None,
        create: bool = False,
    ) -> Version:
        """Write an object at once, or raise `ObjectChangedError` and write nothing.

        Parameters
        ----------
        name : str
        data : buffer, sequence of buffers or Stream
            Of bytes; several are written one after another. A stream is written without a
            condition; what it raises is raised, and nothing is written.
        replaces : Version, optional
            The object must still be this version.
        create : bool, optional
            The object must not exist; of one that is sent in parts, as it has more than 32 MiB,
            this is looked up before.
        """

    def list(self, prefix: str) -> Iterator[tuple[str, Version]]:
        """Yield the objects whose names begin with `prefix`, in no particular order.

        A prefix is empty or ends in a slash.
        """

    def remove(self, names: Iterable[str]) -> None:
        """Remove objects; those that do not exist are no error."""

    def to_pickle(self) -> tuple[str, dict[str, Any]]:
        """Return a URL and options, without secrets, that open the same store.

        Credentials are then found in the environment. Raise `UnsupportedError` if the URL
        itself is secret, or only this process has the store.
        """
