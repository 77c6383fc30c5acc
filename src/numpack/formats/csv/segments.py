"""Whole lines of a CSV file that threads parse, up to the first quote.

Without quotes each line feed ends a line, so that a file can be divided anywhere after one.
"""

from __future__ import annotations

import re
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

from ...store.format.data_files import thread_count

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from pathlib import Path

    import pyarrow as pa

_SEGMENT = 1 << 20  # bytes
_MAX_THREADS = 4


class Segments:
    """Pieces of a file of about 1 MiB, each of whole lines.

    Parameters
    ----------
    path : Path
    delimiter : str
        Between the names in the first line, which may be quoted.

    Attributes
    ----------
    reach_the_end : bool
        Whether the last piece that was read ends the file. It does not if the next one has a
        quote, or a line that is longer than a piece.
    """

    def __init__(self, path: Path, delimiter: str) -> None:
        self._path = path
        name = rf'(?:"[^"\r\n]*"|[^"\r\n{re.escape(delimiter)}]*)'
        self._names = re.compile(rf"{name}(?:{re.escape(delimiter)}{name})*\r?\n".encode())
        self.reach_the_end = False

    def __iter__(self) -> Iterator[bytes]:
        """Read the pieces."""
        rest = b""
        with self._path.open("rb", buffering=0) as file:
            piece = file.read(_SEGMENT)
            names = self._names.match(piece)
            begin = names.end() if names else 0
            while piece and piece.find(b'"', begin) < 0:
                end = piece.rfind(b"\n") + 1
                if not end:
                    return
                yield rest + piece[:end]
                rest, begin = piece[end:], 0
                piece = file.read(_SEGMENT)
        if not piece:
            if rest:
                yield rest
            self.reach_the_end = True


def parse_in_threads(
    segments: Iterable[bytes], parse: Callable[[bytes, bool], pa.Table]
) -> Iterator[pa.RecordBatch]:
    """Iterate over what the pieces of a file hold, in order.

    Parameters
    ----------
    segments : iterable of bytes
    parse : callable
        Takes a piece, and whether it is the first one.
    """
    count = min(_MAX_THREADS, thread_count())
    waiting: deque[Future[pa.Table]] = deque()
    with ThreadPoolExecutor(count, "numpack-csv") as threads:
        for i, segment in enumerate(segments):
            waiting.append(threads.submit(parse, segment, i == 0))
            if len(waiting) > count:
                yield from waiting.popleft().result().to_batches()
        while waiting:
            yield from waiting.popleft().result().to_batches()
