from typing import Any, TypeAlias

import numpy as np

from ..._core.memory import Array
from .buffers import BufferPool

Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

class QueueClosedError(ValueError): ...
class Copy: ...

class RowsCopy(Copy):
    def __init__(
        self, source: Array, rows: Numbers, out: Array | None, length: int, is_file: bool
    ) -> None: ...

class PlainRows:
    def __init__(self, source: Array, is_file: bool) -> None: ...

def begin_rows(
    arrays: dict[str, PlainRows], rows: Numbers, length: int, pools: dict[str, BufferPool]
) -> tuple[dict[str, Array], list[Copy]]: ...

class SegmentsCopy(Copy):
    def __init__(
        self,
        source: Array,
        starts: Numbers,
        lengths: Numbers,
        places: Numbers,
        out: Array,
        is_file: bool,
    ) -> None: ...

class CopyQueue:
    threads: int

    def __init__(self, threads: int) -> None: ...
    def submit(self, copy: Copy) -> None: ...
    def wait(self, copy: Copy) -> bool: ...
    def close(self) -> None: ...
