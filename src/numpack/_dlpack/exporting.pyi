from typing import TypeVar

from .._core.memory import Array

_T = TypeVar("_T", bound=Exporter)

def export(array: Array, *, versioned: bool, copied: bool = False) -> object: ...
def wrapped(cls: type[_T], array: Array) -> _T: ...

class Exporter:
    array: Array
    def __dlpack_device__(self) -> tuple[int, int]: ...
    def __dlpack__(
        self,
        *,
        stream: object = None,
        max_version: tuple[int, int] | None = None,
        dl_device: tuple[int, int] | None = None,
        copy: bool | None = None,
    ) -> object: ...
