from collections.abc import Callable, Sequence
from typing import Any

from .._core.memory import Array

class ResizableStorage:
    def __init__(
        self,
        *,
        storage_type: type,
        storage_of: Callable[[Any], Any],
        is_resizable: Callable[[Any], bool],
        address: Callable[[Any], int],
        nbytes: Callable[[Any], int],
        pin: Callable[[Any], Array],
    ) -> None: ...

def register_fast_path(
    framework: str | None,
    types: Sequence[type],
    *,
    guard: Callable[[Any], bool] | None = None,
    dtype_guard: Callable[[Any], bool] | None = None,
    storage: ResizableStorage | None = None,
    consumer: Callable[[Any], Any] | None = None,
    readonly: bool = False,
) -> None: ...
def register_table_fast_path(cls: type) -> None: ...
def try_import(obj: object, framework: str | None = None) -> Array | None: ...
def try_export(array: object, framework: str) -> Any: ...
