from typing import Any

from .dtypes import DType
from .memory import Array

class ArrayOwner:
    array: Array
    source: object

def base_view(array: Array, source: object = None) -> Array: ...
def readonly_view(array: Array) -> Array: ...
def writable_alias(array: Array) -> Array: ...
def from_address(
    address: int,
    shape: tuple[int, ...],
    strides: tuple[int, ...] | None,
    dtype: DType,
    *,
    owner: Any,
    readonly: bool = False,
) -> Array: ...
