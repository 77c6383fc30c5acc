"""Reading objects: what all engines have in common."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING, Any, TypeAlias

from ..errors import InvalidValueError, ObjectChangedError
from .coalescing import Delivery, parts_of, sorted_ranges
from .pace import Pace
from .parallel import WIDTH, for_all
from .translation import RangeError, translate

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from .objects import Bytes, Contents, Numbers, Request, Version

    Span: TypeAlias = tuple[int, int] | int | None

_IN_FLIGHT = 128 << 20  # bytes of one call, so that long parts do not fill the memory
_HEAD = 64 << 10  # read first where the server does not know the last bytes of an object


class Reader:
    """Read objects through `_fetch`, which a class for each library provides."""

    location: str
    _tails = True  # the server knows ranges that count from the end

    def __init__(self, location: str, secrets: Sequence[str] = ()) -> None:
        self.location = location
        self._secrets = secrets
        self._pace = Pace()

    def __repr__(self) -> str:
        """Return the class and the location."""
        return f"<{type(self).__name__} {self.location}>"

    def _fetch(self, name: str, span: Span, *, exact: bool = True) -> tuple[Any, Version]:
        """Return the bytes (start, end), the last -n, or all of an object, by one request.

        Unless `exact`, the object may end before the range does.
        """
        raise NotImplementedError

    def _claim(self) -> None:
        """Raise RemoteError if this process may not use the library."""
        raise NotImplementedError

    def call(self, doing: str, name: str, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function of the library; its errors become those of this package.

        They are raised without their causes, whose messages may hold secrets.
        """
        try:
            return function(*args)
        except BaseException as error:
            failure = translate(error, doing, f"{self.location}/{name}", self._secrets)
            if failure is None:
                raise
        raise failure

    def _one(self, name: str, span: Span, *, exact: bool = True) -> tuple[Any, Version]:
        """Return what `_fetch` does; in the main thread, Ctrl-C is not delayed by it."""
        found: list[tuple[Any, Version]] = []
        for_all(
            1,
            lambda _: self._fetch(name, span, exact=exact),
            lambda _, answer: found.append(answer),
        )
        return found[0]

    def read(self, name: str) -> tuple[bytes, Version]:
        """Return an object's content."""
        self._claim()
        data, version = self._one(name, None)
        return bytes(data), version

    def read_tail(self, name: str, nbytes: int) -> tuple[bytes, Version]:
        """Return the last bytes of an object, or all if it is shorter."""
        self._claim()
        if nbytes < 1:
            raise InvalidValueError(f"the last {nbytes} bytes of an object; pass 1 or more")
        try:
            if not self._tails:
                return self._tail_after_head(name, nbytes)
            data, version = self._one(name, -nbytes)
        except RangeError:  # of an empty object no byte is the last one
            data, version = self._one(name, None)
        return bytes(data)[-nbytes:], version

    def _tail_after_head(self, name: str, nbytes: int) -> tuple[bytes, Version]:
        data, version = self._one(name, (0, max(nbytes, _HEAD)), exact=False)
        if version.size > len(data):
            found = version
            data, version = self._one(name, (version.size - nbytes, version.size))
            if version != found:
                raise self._changed(name)
        return bytes(data)[-nbytes:], version

    def read_ranges(
        self,
        name: str,
        starts: Numbers,
        ends: Numbers,
        out: Bytes,
        *,
        version: Version | None = None,
    ) -> Version:
        """Fill `out` with ranges of one object, one after another."""
        self._claim()
        ranges = sorted_ranges(starts, ends, out)
        if not len(ranges.starts):
            return version or self._version(name)
        parts = parts_of(ranges, self._pace.gap)
        longest = max(map(int.__sub__, parts.ends, parts.starts))
        delivery = Delivery(ranges, parts, out)
        seen = [] if version is None else [version]

        def fetch(part: int) -> Any:
            data, found = self._timed(name, (parts.starts[part], parts.ends[part]))
            seen.append(found)
            if found != seen[0]:
                raise self._changed(name)
            return memoryview(data)

        width = min(WIDTH, max(4, _IN_FLIGHT // longest))
        try:
            for_all(len(parts.starts), fetch, delivery.deliver, width)
        except RangeError:
            if version is not None and self._version(name) != version:
                raise self._changed(name) from None
            raise
        return seen[0]

    def _timed(self, name: str, span: tuple[int, int]) -> tuple[Any, Version]:
        begin = perf_counter()
        found = self._fetch(name, span)
        self._pace.note(span[1] - span[0], perf_counter() - begin)
        return found

    def _version(self, name: str) -> Version:
        return self.read_tail(name, 1)[1]

    def _changed(self, name: str) -> ObjectChangedError:
        return ObjectChangedError(
            f"{self.location}/{name} was written again meanwhile; open the store again"
        )

    def read_many(self, requests: Sequence[Request]) -> Contents:
        """Return a range of each object: (name, start, end), where -1, -1 is all of it."""
        self._claim()
        found = [b""] * len(requests)
        some = [i for i, (_, start, end) in enumerate(requests) if start < 0 or start < end]

        def fetch(number: int) -> bytes:
            name, start, end = requests[some[number]]
            if start < 0:
                return bytes(self._fetch(name, None)[0])
            return bytes(self._timed(name, (start, end))[0])

        for_all(len(some), fetch, lambda number, data: found.__setitem__(some[number], data))
        return found
