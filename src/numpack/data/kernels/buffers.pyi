from collections.abc import Callable
from typing import Any

from ..._core.dtypes import DType
from ..._core.memory import Array

class BufferPool:
    def __init__(
        self, most: int, allocate: Callable[[int], tuple[Any, int]] | None = None
    ) -> None: ...
    def empty(self, shape: tuple[int, ...], dtype: DType) -> Array: ...
