"""Which rank and which worker this process is."""

from __future__ import annotations

import sys
from typing import Any


def current_rank() -> tuple[int, int] | None:
    """Return the rank and the number of ranks of this process.

    Returns
    -------
    tuple of int or None
        Of `torch.distributed`, or else of JAX, if they are imported and initialized; ``None``
        if neither is.
    """
    distributed: Any = getattr(sys.modules.get("torch"), "distributed", None)
    if distributed is not None and distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    jax: Any = sys.modules.get("jax")
    if jax is not None and jax.distributed.is_initialized():
        return jax.process_index(), jax.process_count()
    return None


def current_worker() -> tuple[int, int]:
    """Return the number of this worker of a torch `DataLoader`, and how many there are.

    Returns
    -------
    tuple of int
        (0, 1) in any other process.
    """
    data: Any = sys.modules.get("torch.utils.data")
    info = None if data is None else data.get_worker_info()
    return (0, 1) if info is None else (info.id, info.num_workers)


def register_iterable(kind: type) -> None:
    """Register a type as iterable datasets, for which torch's `DataLoader` asks."""
    data: Any = sys.modules.get("torch.utils.data")
    if data is not None:
        data.IterableDataset.register(kind)
