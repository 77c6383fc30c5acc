from collections.abc import Callable, Sequence
from typing import Any, Literal

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
    caution: Callable[[Array], str] | None = None,
) -> None: ...
def register_import(
    framework: str,
    types: Sequence[type],
    *,
    view: Callable[[Any], Array | None] | None = None,
    dtypes: str = "",
    readonly: bool = False,
    owned: bool = False,
    columns: Callable[[Any], Any] | None = None,
    named: bool = False,
) -> None: ...
def register_export(
    framework: str,
    make: Callable[..., Any],
    *,
    dtypes: str,
    order: Literal["C", "K"] = "C",
    alignment: int = 1,
    ndim: tuple[int, int] = (1, 64),
    may_write: bool = False,
    caution: Callable[[Array], str] | None = None,
    as_is: bool = False,
    named: bool = False,
) -> None: ...
def register_columns(
    framework: str,
    make: Callable[..., Any],
    *,
    columns: Callable[[Any], Any] | None = None,
    types: Sequence[type] = (),
    named: bool = False,
) -> None: ...
