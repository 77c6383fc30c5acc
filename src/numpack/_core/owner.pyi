from .memory import Array

class ArrayOwner:
    array: Array
    given: object

def base_view(array: Array, given: object = None) -> Array: ...
