"""A tensor that torch's default collate recognizes as a row of a gathered batch."""

from __future__ import annotations

from typing import Any

import torch


class TensorRow(torch.Tensor):
    """A sample of a batch of one array: a tensor, whose operations return plain tensors."""

    # as torch.nn.Parameter has it
    __torch_function__: Any = torch._C._disabled_torch_function_impl  # noqa: SLF001

    @classmethod
    def of(cls, tensor: torch.Tensor) -> TensorRow:
        """Return a view of a tensor."""
        return tensor.as_subclass(cls)

    def plain(self) -> torch.Tensor:
        """Return the tensor that this is a view of."""
        return self.as_subclass(torch.Tensor)

    def __reduce_ex__(self, protocol: Any) -> tuple[Any, ...]:
        """Pickle the plain tensor."""
        return torch.Tensor.as_subclass, (self.plain(), torch.Tensor)


def is_tensor(found: Any) -> bool:
    """Return whether an object is a plain tensor."""
    return type(found) is torch.Tensor
