"""Many requests in flight, in threads that this process shares."""

from __future__ import annotations

import contextlib
import os
import threading
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from concurrent.futures import Future

    Fetch = Callable[[int], Any]
    Use = Callable[[int, Any], None]

WIDTH = 64
"""Requests in flight of one call, and threads of the process."""

_pools: dict[int, ThreadPoolExecutor] = {}


def _pool() -> ThreadPoolExecutor:
    """Return the pool of this process; that of a parent has no threads after a fork."""
    found = _pools.get(os.getpid())
    if found is None:
        made = ThreadPoolExecutor(WIDTH, thread_name_prefix="numpack-object-store")
        found = _pools.setdefault(os.getpid(), made)
    return found


class _Jobs:
    """Jobs that several threads take one after another, until one fails."""

    def __init__(self, numbers: Sequence[int], fetch: Fetch, use: Use) -> None:
        self._next = iter(numbers).__next__  # atomic, as the iterator is one of C
        self._fetch = fetch
        self._use = use
        self.stopped = False

    def work(self) -> None:
        """Do jobs until none is left."""
        try:
            while not self.stopped:
                try:
                    number = self._next()
                except StopIteration:
                    return
                found = self._fetch(number)
                if not self.stopped:
                    self._use(number, found)
        except BaseException:
            self.stopped = True
            raise


def for_all(count: int, fetch: Fetch, use: Use, width: int = WIDTH) -> None:
    """Call `fetch` and then `use` with its result for each number below `count`.

    Return when all are done, or raise the first error when every call that had begun has ended.
    The calling thread makes calls too, and does not wait for threads that have not begun, so
    it may itself be a thread of the pool. The main thread only waits, since a library does not
    return from a request when Ctrl-C is pressed; then this function returns at once, and `use`
    is not called any more.
    """
    jobs = _Jobs(range(count), fetch, use)
    helpers: list[Future[None]] = []
    in_main = threading.current_thread() is threading.main_thread()
    try:
        _start(jobs, min(width, count) - (not in_main), helpers)
        if in_main and helpers:
            wait(helpers)
        else:
            jobs.work()
    except BaseException:
        jobs.stopped = True
        raise
    finally:
        begun = [each for each in helpers if not each.cancel()]
        if not in_main:
            wait(begun)
    _raise_first(begun)


def _start(jobs: _Jobs, count: int, helpers: list[Future[None]]) -> None:
    """Let the pool work too, unless the interpreter is shutting down."""
    with contextlib.suppress(RuntimeError):
        for _ in range(count):
            helpers.append(_pool().submit(jobs.work))  # noqa: PERF401 - until one fails


def _raise_first(helpers: list[Future[None]]) -> None:
    for each in helpers:
        error = each.exception()
        if error is not None:
            raise error
