"""Changes of a store: each function is one commit, and requires the store's lock.

Imports the session and what is below it.
"""

from .arrays import clone, drop, reset, save, update
from .attributes import set_attributes
from .in_place import mark_writable, recompute_checksums, replace
from .rows import append, append_plain, drop_rows
from .staged import put_staged

__all__ = [
    "append",
    "append_plain",
    "clone",
    "drop",
    "drop_rows",
    "mark_writable",
    "put_staged",
    "recompute_checksums",
    "replace",
    "reset",
    "save",
    "set_attributes",
    "update",
]
