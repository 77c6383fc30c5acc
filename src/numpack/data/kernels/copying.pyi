from typing import Any, TypeAlias

import numpy as np

from ..._core.memory import Array

Numbers: TypeAlias = np.ndarray[Any, np.dtype[np.int64]]

class QueueClosedError(ValueError): ...
class Copy: ...

class RowsCopy(Copy):
    def __init__(
        self, source: Array, rows: Numbers, out: Array | None, length: int, is_file: bool
    ) -> None: ...

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
