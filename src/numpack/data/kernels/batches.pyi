from collections.abc import Iterator

class Batch:
    start: int
    stop: int
    end: int
    is_last: bool

class Batches(Iterator[Batch]):
    def __init__(
        self,
        position: int,
        samples: int,
        size: int,
        rank: int,
        world_size: int,
        first: int,
        step: int,
        count: int,
    ) -> None: ...
    def __next__(self) -> Batch: ...
