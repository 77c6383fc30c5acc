from .._memory import Array

def append_and_commit(
    data: int,
    rows: Array,
    offset: int,
    tail: int,
    log: int,
    end: int,
    head: bytes,
    count: int,
) -> tuple[int, int]: ...
