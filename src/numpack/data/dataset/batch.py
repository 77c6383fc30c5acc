"""`Batch`: a gathered batch that is also the list of its samples, and how it is collated."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from ..._core.policy import wrong_type


class Sample(dict[Any, Any]):
    """A sample of a batch; torch's default collate looks up this type."""


class Samples(tuple[Any, ...]):
    """A sample that is a tuple; torch's default collate looks up this type."""

    __slots__ = ()


class Batch(Sequence[Any]):
    """Batch that was gathered as a whole, and a sequence of its samples.

    `collate` and torch's default collate return `data` unchanged. Every other function sees the
    samples, which are views of the batch. They are of their own types, `Sample`, `Samples` or
    `TensorRow`, where the default collate looks for them: where they are indexed.

    Parameters
    ----------
    data : array, mapping or tuple
        Arrays with one row for each sample.
    size : int
        The number of samples.
    is_marked : bool, default False
        Whether `torch.utils.data.default_collate` is to return `data` unchanged.

    Attributes
    ----------
    data : array, mapping or tuple
    """

    __slots__ = ("_is_marked", "_size", "data")

    def __init__(self, data: Any, size: int, *, is_marked: bool = False) -> None:
        self.data = data
        self._size = size
        self._is_marked = is_marked

    def __len__(self) -> int:
        """Return the number of samples."""
        return self._size

    def __getitem__(self, index: Any) -> Any:
        """Return a sample, or a list of samples for a slice."""
        rows = range(self._size)[index]
        if isinstance(rows, range):
            return [sample_of(self.data, row) for row in rows]
        sample = sample_of(self.data, rows)
        return _marked(sample) if self._is_marked else sample

    def __iter__(self) -> Any:
        """Iterate over the samples."""
        return (sample_of(self.data, row) for row in range(self._size))

    def __repr__(self) -> str:
        """Return the number of samples."""
        return f"Batch({self._size} samples)"


def sample_of(data: Any, row: int) -> Any:
    """Return one row of each array of a batch, where mappings and tuples hold arrays."""
    if isinstance(data, Mapping):
        return {name: sample_of(part, row) for name, part in data.items()}
    if isinstance(data, tuple):
        parts = (sample_of(part, row) for part in data)
        return type(data)(*parts) if hasattr(data, "_fields") else tuple(parts)
    if isinstance(data, (str, bytes)) or not hasattr(data, "__getitem__"):
        return data  # of the whole batch
    return data[row]


def collate(samples: Any) -> Any:
    """Return a batch that was gathered as a whole; pass it to DataLoader as ``collate_fn``.

    torch's default collate does the same for a `Dataset` whose target is torch, so that this
    function is needed for other targets only. Samples that were not gathered as a whole, as
    those of `torch.utils.data.ConcatDataset`, are collated as torch does by default.

    Parameters
    ----------
    samples : Batch or list
        What ``Dataset.__getitems__`` returns, or a list of samples.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack.data import Dataset, collate
    >>> dataset = Dataset({"x": np.arange(5)}, target="numpy")
    >>> collate(dataset.__getitems__([3, 1]))
    {'x': array([3, 1])}
    """
    if isinstance(samples, Batch):
        return samples.data
    torch = sys.modules.get("torch")
    if torch is None:
        wrong_type("collate", "what Dataset.__getitems__ returns", samples, "index the Dataset")
    return torch.utils.data.default_collate(samples)


def register_collate() -> None:
    """Let torch's default collate return batches unchanged."""
    from torch.utils.data._utils import collate as torch_collate  # noqa: PLC0415

    from .torch_rows import TensorRow  # noqa: PLC0415

    known: dict[Any, Any] = torch_collate.default_collate_fn_map
    for kind in (Sample, Samples, TensorRow):
        known.setdefault(kind, _collate_marked)


def _marked(sample: Any) -> Any:
    """Return a sample as the type by which torch's default collate finds `_collate_marked`.

    Samples of other types are collated one by one.
    """
    if type(sample) is dict:
        return Sample(sample)
    if type(sample) is tuple:
        return Samples(sample)
    from .torch_rows import TensorRow, is_tensor  # noqa: PLC0415 -- imports torch

    return TensorRow.of(sample) if is_tensor(sample) else sample


def _collate_marked(samples: Any, *, collate_fn_map: Any = None) -> Any:
    """Return a batch unchanged; collate other samples as torch does."""
    if isinstance(samples, Batch):
        return samples.data
    from torch.utils.data._utils.collate import collate as collate_plain  # noqa: PLC0415

    return collate_plain([_unmarked(each) for each in samples], collate_fn_map=collate_fn_map)


def _unmarked(sample: Any) -> Any:
    if isinstance(sample, Sample):
        return dict(sample)
    if isinstance(sample, Samples):
        return tuple(sample)
    from .torch_rows import TensorRow  # noqa: PLC0415

    return sample.plain() if isinstance(sample, TensorRow) else sample
