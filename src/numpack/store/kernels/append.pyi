from typing import Any

import numpy as np

from ..._core.memory import Array
from ..format.log_reader import View

def append_and_commit(
    view: View, name: str, key: bytes, file: int, rows: Array
) -> View | None: ...
def drop_and_commit(
    view: View, name: str, key: bytes, file: int, numbers: np.ndarray[Any, np.dtype[np.int64]]
) -> View | None: ...
