"""Writing the objects of arrays, and counting what is written."""

from __future__ import annotations

import contextlib
import threading
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from functools import partial
from typing import TYPE_CHECKING, Any

from ...errors import MissingFileError, NumpackError, ObjectChangedError
from .contents import PART_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...object_store.objects import Buffer, ObjectStore, Version
    from ..format.data_files import Progress
    from .contents import Blocks, Contents
    from .plan import ArrayPlan

_THREADS = 8  # that write short objects, each of which is in memory
_STREAMS = 2  # long objects that are written at once; the engine sends their parts in parallel


class Sender:
    """Writes objects, counts them, and can remove those that are under new ids.

    Parameters
    ----------
    objects : ObjectStore
    progress : callable
        Called with numbers of bytes of arrays.

    Attributes
    ----------
    bytes_sent, objects_sent : int
    """

    def __init__(self, objects: ObjectStore, progress: Progress) -> None:
        self._objects = objects
        self._progress = progress
        self._lock = threading.Lock()
        self._made: list[str] = []
        self.bytes_sent = self.objects_sent = 0

    def write(self, name: str, data: bytes, **condition: Any) -> Version:
        """Write an object in place of another, or a new one, on a condition."""
        self._count(len(data))  # also if the answer is lost
        return self._objects.write(name, data, **condition)

    def write_arrays(self, plans: Sequence[ArrayPlan], contents: Contents) -> None:
        """Write all objects of some arrays."""
        tasks: list[Callable[[], None]] = []
        streams: list[Callable[[], None]] = []
        for each in plans:
            size = sum(stop - start for start, stop in each.runs)
            if size:
                chosen = tasks if size <= PART_BYTES else streams
                chosen.append(partial(self._write_rows, each, contents))
            tasks.append(partial(self._write_lists, each, contents))
        _run(tasks, _THREADS)
        _run(streams, _STREAMS)

    def remove_made(self) -> None:
        """Remove the objects of new arrays, which will not be published."""
        if self._made:
            with contextlib.suppress(NumpackError):
                self._objects.remove(self._made)

    def _write_rows(self, plan: ArrayPlan, contents: Contents) -> None:
        with contents.rows(plan.array, plan.runs, self._report) as blocks:
            if blocks.nbytes <= PART_BYTES:
                self._create(plan.entry.data_file, list(blocks), blocks.nbytes)
            else:
                self._stream(plan.entry.data_file, blocks)

    def _write_lists(self, plan: ArrayPlan, contents: Contents) -> None:
        """Write the objects of an array beside its rows."""
        entry = plan.entry
        lists = {entry.checksum_file: plan.array.whole_checksums}
        if entry.dropped:
            lists[entry.dropped_file] = contents.deleted(plan.array)
        if entry.extents is not None:
            lists[entry.extents_file] = plan.extents.to_bytes()
        for name, content in lists.items():
            if content:
                self._create(name, [content], len(content))
                self._report(len(content))

    def _stream(self, name: str, blocks: Blocks) -> None:
        self._note(name)
        self._objects.write(name, blocks)
        self._count(blocks.nbytes)

    def _create(self, name: str, data: Sequence[Buffer], nbytes: int) -> None:
        """Write an object whose name was drawn at random."""
        self._note(name)
        try:
            self._objects.write(name, data, create=True)
        except ObjectChangedError:
            if not self._is_written(name, nbytes):
                raise
        self._count(nbytes)

    def _is_written(self, name: str, nbytes: int) -> bool:
        """Return whether an object was written by a request whose answer was lost."""
        try:
            return self._objects.read_tail(name, 1)[1].size == nbytes
        except MissingFileError:
            return False

    def _note(self, name: str) -> None:
        with self._lock:
            self._made.append(name)

    def _count(self, nbytes: int) -> None:
        with self._lock:
            self.bytes_sent += nbytes
            self.objects_sent += 1

    def _report(self, nbytes: int) -> None:
        with self._lock:
            self._progress(nbytes)


def _run(tasks: Sequence[Callable[[], None]], threads: int) -> None:
    """Run tasks on several threads; raise the first error once those that run have ended."""
    if not tasks:
        return
    with ThreadPoolExecutor(min(threads, len(tasks))) as pool:
        futures = [pool.submit(task) for task in tasks]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
    for future in done:
        future.result()
