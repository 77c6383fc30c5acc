"""A proxy before a server: it counts requests, delays them, and does wrong what it is told to.

The header Host is passed on as the client has sent it, so that signatures, which cover it, stay
valid: a client signs for the address of the proxy, and the server checks that signature.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from socket import SO_LINGER, SOL_SOCKET
from typing import Any
from urllib.parse import urlsplit

from .faults import Fault, Request

_HOP = ("connection", "expect", "keep-alive", "proxy-connection")
_Pair = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Proxy:
    """A proxy in a thread of its own.

    Parameters
    ----------
    server : str
        The address of the server, as ``http://127.0.0.1:8333``.

    Attributes
    ----------
    endpoint : str
        The address of the proxy.
    requests : list of Request
        All requests since the last `reset`.
    delay : float
        Seconds before each request is passed on; requests wait beside each other.
    """

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._server = (parts.hostname, parts.port)
        self.reset()
        self._idle: list[_Pair] = []
        self._clients: set[Any] = set()
        listening: Future[int] = Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._listen(listening)), daemon=True
        )
        self._thread.start()
        self.endpoint = f"http://127.0.0.1:{listening.result(10)}"

    def reset(self) -> None:
        """Forget all requests, faults and the delay."""
        self.requests: list[Request] = []
        self.faults: list[Fault] = []
        self.delay = 0.0

    def inject(self, **what: Any) -> Fault:
        """Add a `Fault` of those parameters; the first one that concerns a request counts."""
        self.faults.append(Fault(**what))
        return self.faults[-1]

    def stop_at(self, number: int, **what: Any) -> Fault:
        """Reset the connections of all requests from a number of them on, for ever."""
        return self.inject(first=number, times=float("inf"), **(what or {"reset": True}))

    @property
    def received(self) -> int:
        """Return the number of bytes of the bodies of all answers."""
        return sum(each.received for each in list(self.requests))

    @property
    def sent(self) -> int:
        """Return the number of bytes of the bodies of all requests."""
        return sum(each.sent for each in list(self.requests))

    @contextlib.contextmanager
    def counted(self) -> Iterator[list[Request]]:
        """Yield a list that has the requests made in the block, after it."""
        found: list[Request] = []
        begin = len(self.requests)
        yield found
        found += self.requests[begin:]

    def close(self) -> None:
        """Stop the thread, and close the connections."""
        self._loop.call_soon_threadsafe(self._stopped.set)
        self._thread.join()

    async def _listen(self, listening: Future[int]) -> None:
        """Accept connections until the proxy is closed."""
        self._loop, self._stopped = asyncio.get_running_loop(), asyncio.Event()
        server = await asyncio.start_server(
            self._serve, "127.0.0.1", 0, limit=1 << 20, backlog=1024
        )
        listening.set_result(server.sockets[0].getsockname()[1])
        await self._stopped.wait()
        server.close()
        for task in self._clients:
            task.cancel()
        for _, writer in self._idle:
            writer.close()
        await asyncio.sleep(0.01)  # so that they are closed

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of a connection, one after the other."""
        self._clients.add(asyncio.current_task())
        try:
            while await self._answer(reader, writer):
                pass
        except (OSError, EOFError, asyncio.CancelledError):  # one side has ended
            pass
        finally:
            self._clients.discard(asyncio.current_task())
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer a request; return whether the connection goes on."""
        first, headers = await _read_head(reader)
        if headers.get("expect"):
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = await _read_body(reader, headers)
        method, path, _ = first.split(" ")
        request = Request(len(self.requests), method, path, headers, sent=len(body))
        self.requests.append(request)
        fault = next((each for each in self.faults if each.concerns(request)), Fault())
        if fault.call is not None:
            fault.call(request)
        if self.delay:
            await asyncio.sleep(self.delay)
        if fault.reset:
            return _reset(writer)
        if fault.status:
            request.status = fault.status
            writer.write(fault.answer())
            return True
        return await self._pass_on(request, fault, body, writer)

    async def _pass_on(
        self, request: Request, fault: Fault, body: bytes, writer: asyncio.StreamWriter
    ) -> bool:
        """Ask the server, and send its answer to the client."""
        pair, first, headers = await self._ask(request, fault, body)
        request.status = int(first.split(" ")[1])
        whole = False
        try:
            if fault.lose:
                return _reset(writer)
            whole = await _send(request, fault, writer, pair[0], first, headers)
        finally:
            if whole and headers.get("connection", "").lower() != "close":
                self._idle.append(pair)
            else:
                pair[1].close()
        return whole

    async def _ask(
        self, request: Request, fault: Fault, body: bytes
    ) -> tuple[_Pair, str, dict[str, str]]:
        """Send a request to the server; return the connection and the head of the answer."""
        left_out = (*_HOP, "transfer-encoding", "content-length", *["range"] * fault.whole)
        lines = [f"{name}: {text}" for name, text in request.headers.items()]
        lines = [line for line in lines if line.partition(":")[0] not in left_out]
        lines.append(f"content-length: {len(body)}")
        head = "\r\n".join([f"{request.method} {request.path} HTTP/1.1", *lines, "", ""])
        while True:
            reused = bool(self._idle)
            pair = self._idle.pop() if reused else await asyncio.open_connection(*self._server)
            try:
                pair[1].write(head.encode("latin1") + body)
                return (pair, *await _read_head(pair[0]))
            except (OSError, EOFError):  # the server has closed it meanwhile
                pair[1].close()
                if not reused:
                    raise


async def _send(
    request: Request,
    fault: Fault,
    writer: asyncio.StreamWriter,
    server: asyncio.StreamReader,
    first: str,
    headers: dict[str, str],
) -> bool:
    """Send an answer of the server to the client; return whether all of it was sent."""
    empty = request.method == "HEAD" or request.status in (204, 304)
    length = 0 if empty else int(headers.get("content-length", -1))
    changed = headers | {name.lower(): text for name, text in fault.headers.items()}
    left_out = (*_HOP, "transfer-encoding")
    lines = [f"{name}: {text}" for name, text in changed.items() if text]
    lines = [line for line in lines if line.partition(":")[0] not in left_out]
    chunked = length < 0
    lines += ["transfer-encoding: chunked"] * chunked
    head = [first.replace("HTTP/1.0", "HTTP/1.1"), *lines, "", ""]
    writer.write("\r\n".join(head).encode("latin1"))
    async for piece in _chunks(server) if chunked else _pieces(server, length, fault.step):
        await asyncio.sleep(fault.pause) if fault.pause else None
        sent = fault.spoil(piece, request.received)
        request.received += len(sent)
        writer.write(b"%x\r\n%s\r\n" % (len(sent), sent) if chunked else sent)
        await writer.drain()
        if fault.truncate == request.received:
            return False
    writer.write(b"0\r\n\r\n" * chunked)
    return True


def _reset(writer: asyncio.StreamWriter) -> bool:
    """Close a connection without the usual farewell."""
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, linger)
    writer.transport.abort()
    return False


async def _read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]]:
    """Read the first line and the headers, with names in lower case."""
    text = (await reader.readuntil(b"\r\n\r\n")).decode("latin1")
    first, *lines = text[:-4].split("\r\n")
    pairs = [line.partition(":") for line in lines]
    return first, {name.strip().lower(): value.strip() for name, _, value in pairs}


async def _read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """Read the body of a request."""
    if "chunked" in headers.get("transfer-encoding", ""):
        return b"".join([piece async for piece in _chunks(reader)])
    return await reader.readexactly(int(headers.get("content-length", 0)))


async def _chunks(reader: asyncio.StreamReader) -> Any:
    """Iterate over the chunks of a body of unknown length."""
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        yield (await reader.readexactly(size + 2))[:-2]
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass


async def _pieces(reader: asyncio.StreamReader, length: int, step: int) -> Any:
    """Iterate over the pieces of a body as they come."""
    while length:
        piece = await reader.read(min(length, step))
        if not piece:
            raise EOFError
        length -= len(piece)
        yield piece
