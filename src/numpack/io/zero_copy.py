"""The zero-copy functions of NumPack's interface: each is named after a pair of frameworks.

Every function takes ``copy=None | False | True``: share, or copy once with `CopyWarning`
where memory cannot be shared; share, or raise `ZeroCopyError`; independent, writable
memory. Those of Arrow are in `arrow_tables`, that of safetensors in `tensor_files`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._core.policy import carry_out, wrong_type
from .._dlpack.decorators import fast_export, fast_import, fast_wrap
from ..adapters import by_name, of_object
from ..adapters._foreign_errors import OWN, translate, translate_errors
from ..adapters.dlpack import DLPackBuffer, import_producer
from ..adapters.numpy import require_array
from .arrow_tables import (
    arrow_to_numpy_zero_copy,
    numpy_to_arrow_zero_copy,
    table_to_numpy_zero_copy,
)
from .tensor_files import safetensors_to_numpy_zero_copy
from .wrapper import ZeroCopyArray

if TYPE_CHECKING:
    import torch

    from .._core.memory import Array
    from .._core.policy import Plan
    from ..adapters._options import Order

__all__ = [
    "DLPackBuffer",
    "ZeroCopyArray",
    "arrow_to_numpy_zero_copy",
    "from_dlpack",
    "numpy_to_arrow_zero_copy",
    "numpy_to_torch_zero_copy",
    "safetensors_to_numpy_zero_copy",
    "table_to_numpy_zero_copy",
    "to_dlpack",
    "torch_to_numpy_zero_copy",
    "wrap_for_zero_copy",
]


@fast_wrap(DLPackBuffer)
def to_dlpack(array: Array, *, order: Order = "C", copy: bool | None = None) -> DLPackBuffer:
    """Wrap an array so that any DLPack consumer can import it, any number of times.

    Parameters
    ----------
    array : ndarray
        Of a dtype that DLPack has a code for, those of ml_dtypes included.
    order : {"C", "K"}, default "C"
        ``"C"``: C-contiguous, for consumers that refuse strides. ``"K"``: strides are kept.
    copy : bool or None, optional
        The copy policy where `order` requires a copy.

    Returns
    -------
    DLPackBuffer
        Shares memory with `array`.

    Raises
    ------
    ZeroCopyError
        `array` does not have the layout that `order` requires and ``copy=False``.
    UnsupportedError
        DLPack has no code for the dtype.
    WrongTypeError
        `array` is not an ndarray.

    References
    ----------
    DLPack 1.1, ``DLManagedTensorVersioned``; array API standard 2024.12, ``__dlpack__``.

    Examples
    --------
    >>> import numpy as np, torch
    >>> from numpack.io import to_dlpack
    >>> a = np.zeros(3)
    >>> torch.from_dlpack(to_dlpack(a)).data_ptr() == a.ctypes.data
    True
    """
    return DLPackBuffer(require_array("to_dlpack", array, copy), order=order, copy=copy)


@fast_import()
def from_dlpack(capsule: Any, *, device: Any = None, copy: bool | None = None) -> Array:
    """Return an array over the memory of a DLPack capsule or producer.

    Parameters
    ----------
    capsule : capsule or object with ``__dlpack__``
        A raw capsule, legacy or versioned, is consumed. A producer that predates a
        keyword of the protocol is called again without it.
    device : None or "cpu", optional
        NumPy arrays live on the CPU.
    copy : bool or None, optional
        The copy policy. Memory on another device is copied, by its producer.

    Returns
    -------
    ndarray
        Shares memory, and is writable unless the producer flags it read-only. bfloat16 and
        narrower types have the dtypes of ml_dtypes.

    Raises
    ------
    ZeroCopyError
        Memory cannot be shared and ``copy=False``, or the producer refuses.
    UnsupportedError
        NumPy has no dtype for the values, or they are sparse, quantized or the like.
    InvalidValueError
        The capsule was already consumed or its contents are malformed.
    WrongTypeError
        `capsule` is neither a capsule nor a producer.

    References
    ----------
    DLPack 1.1, ``DLManagedTensor`` and ``DLManagedTensorVersioned``; array API standard
    2024.12, ``from_dlpack``.

    Examples
    --------
    >>> import torch
    >>> from numpack.io import from_dlpack
    >>> t = torch.ones(2, dtype=torch.bfloat16)
    >>> a = from_dlpack(t)
    >>> a
    array([1, 1], dtype=bfloat16)
    >>> a.ctypes.data == t.data_ptr()
    True
    """
    try:
        return import_producer(capsule, device=device, copy=copy)
    except OWN:
        raise
    except BaseException as error:  # noqa: BLE001 -- Rust panics are not `Exception`
        translate(error, "from DLPack", capsule)


@fast_export("torch")
@translate_errors("to torch")
def numpy_to_torch_zero_copy(
    array: Array, *, device: torch.device | str | int | None = None, copy: bool | None = None
) -> torch.Tensor:
    """Return a tensor over the memory of an array.

    Parameters
    ----------
    array : ndarray
        Strides are kept. bfloat16 and float8 of ml_dtypes become those of torch.
    device : torch.device, str or int, optional
        A device other than the CPU needs a transfer, which is a copy.
    copy : bool or None, optional
        The copy policy.

    Returns
    -------
    torch.Tensor
        Writes to either are visible in both. A read-only memory map is mapped again
        copy-on-write: no byte is copied, and writes stay private to the tensor.

    Raises
    ------
    ZeroCopyError
        Memory cannot be shared (byte-swapped, negative strides, misaligned, another
        device) and ``copy=False``.
    UnsupportedError
        torch has no such dtype, or the array is masked.
    WrongTypeError
        `array` is not an ndarray.

    Warns
    -----
    CopyWarning
        Memory could not be shared.
    ReadOnlyWarning
        Read-only memory other than a map was shared; torch cannot protect it.

    References
    ----------
    PyTorch, `torch.from_numpy`; POSIX, ``mmap`` with ``MAP_PRIVATE``.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack.io import numpy_to_torch_zero_copy
    >>> a = np.zeros((2, 3), "f4")
    >>> numpy_to_torch_zero_copy(a.T).stride()
    (1, 3)
    """
    array = require_array("numpy_to_torch_zero_copy", array, copy)
    plan: Plan[torch.Tensor] = by_name("torch").module().from_numpy(array, device=device)
    return carry_out(plan, copy)


@fast_import("torch")
@translate_errors("from torch")
def torch_to_numpy_zero_copy(tensor: torch.Tensor, *, copy: bool | None = None) -> Array:
    """Return an array over the memory of a tensor.

    Parameters
    ----------
    tensor : torch.Tensor
        Strided, on the CPU; detached if it requires grad.
    copy : bool or None, optional
        The copy policy.

    Returns
    -------
    ndarray
        With the strides of the tensor; bfloat16 and float8 have the dtypes of ml_dtypes.

    Raises
    ------
    ZeroCopyError
        Memory cannot be shared (conjugate or negative bit, another device) and
        ``copy=False``.
    UnsupportedError
        The tensor is sparse, quantized, nested, meta, fake or traced.
    WrongTypeError
        `tensor` is not a tensor.

    References
    ----------
    PyTorch, `torch.Tensor.numpy`.

    Examples
    --------
    >>> import torch
    >>> from numpack.io import torch_to_numpy_zero_copy
    >>> t = torch.zeros(2, requires_grad=True)
    >>> torch_to_numpy_zero_copy(t)
    array([0., 0.], dtype=float32)
    """
    owner = of_object(tensor)
    if owner is None or owner.name != "torch":
        fix = "numpack.share(x, 'numpy') takes the arrays of every framework"
        wrong_type("torch_to_numpy_zero_copy", "a torch.Tensor", tensor, fix)
    return carry_out(owner.module().to_numpy(tensor), copy)


@fast_wrap(ZeroCopyArray)
def wrap_for_zero_copy(
    array: Array, *, order: Order = "C", copy: bool | None = None
) -> ZeroCopyArray:
    """Wrap an array in a `ZeroCopyArray`.

    Parameters
    ----------
    array : ndarray
    order : {"C", "K"}, default "C"
    copy : bool or None, optional
        As for `ZeroCopyArray`.

    Returns
    -------
    ZeroCopyArray

    Examples
    --------
    >>> import numpy as np
    >>> from numpack.io import wrap_for_zero_copy
    >>> a = np.arange(3)
    >>> wrap_for_zero_copy(a).to_numpy() is a
    True
    """
    return ZeroCopyArray(array, order=order, copy=copy)
