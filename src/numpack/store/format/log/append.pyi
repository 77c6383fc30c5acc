from typing import Any

import numpy as np

from ...._core.memory import Array
from .state import LogCursor

def append_and_commit(
    cursor: LogCursor, name: str, key: bytes, file: int, rows: Array
) -> LogCursor | None: ...
def delete_and_commit(
    cursor: LogCursor,
    name: str,
    key: bytes,
    file: int,
    numbers: np.ndarray[Any, np.dtype[np.int64]],
) -> LogCursor | None: ...
