"""Changes of a store: each function is one commit, and requires the store's lock.

Imports the session and what is below it.
"""

from .adopting import adopt, append_from
from .arrays import clone, drop, reset, save, update
from .attributes import set_attributes
from .in_place import mark_writable, recompute_checksums, replace
from .renaming import rename
from .rows import append, append_plain, drop_rows
from .staged import put_staged

__all__ = [
    "adopt",
    "append",
    "append_from",
    "append_plain",
    "clone",
    "drop",
    "drop_rows",
    "mark_writable",
    "put_staged",
    "recompute_checksums",
    "rename",
    "replace",
    "reset",
    "save",
    "set_attributes",
    "update",
]
