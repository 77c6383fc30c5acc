from ..._core.memory import Array
from ..rows.deleted_rows import Numbers

def map_live_to_stored(dropped: Numbers, numbers: Numbers, stored: Numbers) -> None: ...
def merge_deleted(
    dropped: Numbers, numbers: Numbers, count: int, stored: Numbers, merged: Numbers
) -> None: ...
def copy_live(
    source: Array,
    width: int,
    dropped: Numbers,
    offset: int,
    first: int,
    out: Array,
    threads: int,
) -> None: ...
