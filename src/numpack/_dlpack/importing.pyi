from typing import Final

from .._core.dlpack_description import Description
from .._core.memory import Array

CPU: Final[tuple[int, int]]
MAX_VERSION: Final[tuple[int, int]]
READ_ONLY: Final[int]
IS_COPIED: Final[int]
PADDED: Final[int]

def is_capsule(obj: object) -> bool: ...
def describe(capsule: object) -> Description: ...
def consume_capsule(
    capsule: object, *, readonly: bool = False, producer: object = None
) -> Array: ...
def try_consume_capsule(
    capsule: object, *, readonly: bool = False, producer: object = None
) -> Array | None: ...
def view_capsule(capsule: object) -> Array: ...
