from collections.abc import Callable, Sequence
from typing import Any

from ._exchange import Exporter
from ._memory import Array

def connect(
    framework: str | None,
    kinds: Sequence[type],
    *,
    guard: Callable[[Any], bool] | None = None,
    complex_guard: Callable[[Any], bool] | None = None,
    consumer: Callable[[Any], Any] | None = None,
    readonly: bool = False,
) -> None: ...
def connect_table(kind: type) -> None: ...
def take(obj: object, framework: str | None = None) -> Array | None: ...
def give(array: object, framework: str) -> Any: ...
def publish(cls: type[Exporter], number: int) -> None: ...
