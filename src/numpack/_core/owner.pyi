from .memory import Array

class ArrayOwner:
    array: Array
    source: object

def base_view(array: Array, source: object = None) -> Array: ...
