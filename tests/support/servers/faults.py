"""What the proxy counts, and what it does wrong."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

_CODES = {
    400: "ExpiredToken",
    403: "AccessDenied",
    404: "NoSuchKey",
    412: "PreconditionFailed",
    416: "InvalidRange",
    500: "InternalError",
    503: "SlowDown",
}


@dataclasses.dataclass
class Request:
    """A request as the proxy has seen it.

    Attributes
    ----------
    number : int
        Of the requests since the proxy was reset, from 0.
    path : str
        With the query.
    headers : dict of str to str
        Names are in lower case.
    sent, received : int
        Bytes of the bodies: from the client, and those that it was sent.
    status : int
        Of the answer that the client was sent; 0 if it got none.
    """

    number: int
    method: str
    path: str
    headers: dict[str, str]
    sent: int = 0
    received: int = 0
    status: int = 0

    @property
    def range(self) -> str:
        """Return the range that is asked for, as ``bytes=0-9``, or an empty string."""
        return self.headers.get("range", "")

    @property
    def key(self) -> str:
        """Return the path without the query."""
        return self.path.partition("?")[0]


@dataclasses.dataclass
class Fault:
    """What goes wrong with some requests; without any of it, requests are passed on.

    Parameters
    ----------
    status : int
        Is answered in place of the server, with an error as S3 writes it.
    code : str
        Of that error; by default the usual one of the status.
    truncate : int
        After so many bytes of the answer's body the connection is closed.
    flip : int
        The number of a byte of the answer's body that is sent with all bits inverted.
    pause : float
        Seconds before each `step` bytes of the answer's body.
    headers : mapping of str to str
        Replace those of the answer; an empty value removes one.
    whole : bool
        The range is left out, so that the server sends everything, with status 200.
    reset : bool
        The connection is reset, and the server sees nothing of the request.
    lose : bool
        The server carries the request out; the connection is reset in place of the answer.
    call : callable
        Is called with the request before anything else, in the proxy's thread.
    method, path : str
        Of the requests that are concerned; `path` is a part of it.
    first, times : int
        So many of those requests pass before, and so many are concerned.
    """

    status: int = 0
    code: str = ""
    truncate: int = -1
    flip: int = -1
    pause: float = 0
    step: int = 1 << 16
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    whole: bool = False
    reset: bool = False
    lose: bool = False
    call: Callable[[Request], object] | None = None
    method: str = ""
    path: str = ""
    first: int = 0
    times: float = 1
    met: int = 0

    def concerns(self, request: Request) -> bool:
        """Return whether a request is concerned, and count it."""
        if self.method not in ("", request.method) or self.path not in request.path:
            return False
        self.met += 1
        return self.first < self.met <= self.first + self.times

    def spoil(self, piece: bytes, first: int) -> bytes:
        """Return a piece of a body, which begins at a number of bytes, as it is sent."""
        if first <= self.flip < first + len(piece):
            place = self.flip - first
            piece = piece[:place] + bytes([piece[place] ^ 255]) + piece[place + 1 :]
        return piece if self.truncate < 0 else piece[: self.truncate - first]

    def answer(self) -> bytes:
        """Return the error as S3 writes it."""
        code = self.code or _CODES.get(self.status, "Error")
        body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>no</Message></Error>"
        return (
            f"HTTP/1.1 {self.status} {code}\r\nContent-Type: application/xml\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()
