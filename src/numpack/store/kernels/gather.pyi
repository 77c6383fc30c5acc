from typing import Any

import numpy as np

from ..._core.memory import Array

def gather_rows(stored: Array, rows: object) -> Array | None: ...
def take_rows(
    source: Array, width: int, count: int, rows: np.ndarray[Any, np.dtype[np.int64]], out: Array
) -> int: ...
