import collections
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

from ..kernels.batches import Batch
from ..kernels.copying import Copy, CopyQueue
from ..output import Output
from .order import Numbers, Order
from .resident import ResidentLimit
from .samples import RaggedSamples, RowSamples

Requested: TypeAlias = tuple[Batch, Numbers, list[Copy]]

class Pass(Iterator[Any]):
    _samples: RowSamples | RaggedSamples
    _requested: collections.deque[Requested]
    _queue: CopyQueue
    _cold: int
    _limit: ResidentLimit

    def __init__(
        self,
        samples: RowSamples | RaggedSamples,
        order: Order,
        batches: Iterator[Batch],
        output: Output,
        *,
        hold: object,
        prefetch: int,
        threads: int,
        note: Callable[[Batch], None],
    ) -> None: ...
    def __next__(self) -> Any: ...
    def after_fork(self) -> None: ...
    def close(self) -> None: ...
