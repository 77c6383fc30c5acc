from collections.abc import Callable, Sequence
from typing import Any

from .._core.memory import Array

class Memory:
    def __init__(
        self,
        *,
        kind: type,
        keeper: Callable[[Any], Any],
        may_move: Callable[[Any], bool],
        address: Callable[[Any], int],
        nbytes: Callable[[Any], int],
        settled: Callable[[Any], Array],
    ) -> None: ...

def register_fast_path(
    framework: str | None,
    kinds: Sequence[type],
    *,
    guard: Callable[[Any], bool] | None = None,
    closer_guard: Callable[[Any], bool] | None = None,
    memory: Memory | None = None,
    consumer: Callable[[Any], Any] | None = None,
    readonly: bool = False,
) -> None: ...
def register_table_fast_path(kind: type) -> None: ...
def try_import(obj: object, framework: str | None = None) -> Array | None: ...
def try_export(array: object, framework: str) -> Any: ...
