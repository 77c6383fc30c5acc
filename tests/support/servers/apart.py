"""The proxy in a process of its own, which shares no interpreter with the client."""

from __future__ import annotations

import multiprocessing
from typing import NamedTuple, Self

from .proxy import Proxy


class Counts(NamedTuple):
    """What clients have asked for: requests, and bytes of the bodies of both directions."""

    requests: int
    received: int
    sent: int


class ProxyProcess:
    """A proxy whose counts are asked for through a pipe.

    Parameters
    ----------
    server : str
        The address of the server.
    """

    def __init__(self, server: str) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, there = context.Pipe()
        self._process = context.Process(target=_serve, args=(server, there), daemon=True)
        self._process.start()
        there.close()
        self.endpoint: str = self._pipe.recv()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._pipe.close()
        self._process.join()

    def reset(self, delay: float = 0.0) -> None:
        """Count from zero, and delay each request by so many seconds."""
        self._pipe.send(delay)
        self._pipe.recv()

    def counts(self) -> Counts:
        """Return the counts since the last `reset`."""
        self._pipe.send(None)
        return Counts(*self._pipe.recv())


def _serve(server: str, pipe: multiprocessing.connection.Connection) -> None:
    """Run the proxy until the other end of the pipe is closed."""
    proxy = Proxy(server)
    pipe.send(proxy.endpoint)
    while True:
        try:
            delay = pipe.recv()
        except EOFError:
            break
        if delay is None:
            pipe.send((len(proxy.requests), proxy.received, proxy.sent))
        else:
            proxy.reset()
            proxy.delay = delay
            pipe.send(None)
    proxy.close()
