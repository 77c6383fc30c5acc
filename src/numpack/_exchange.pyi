from typing import Final

from ._description import Description
from ._memory import Array

CPU: Final[tuple[int, int]]
MAX_VERSION: Final[tuple[int, int]]
READ_ONLY: Final[int]
IS_COPIED: Final[int]
PADDED: Final[int]

def is_capsule(obj: object) -> bool: ...
def describe(capsule: object) -> Description: ...
def adopt(capsule: object, *, readonly: bool = False) -> Array: ...
def take_capsule(capsule: object, *, readonly: bool = False) -> Array | None: ...
def borrow(capsule: object) -> Array: ...
def export(array: Array, *, versioned: bool, copied: bool = False) -> object: ...

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
