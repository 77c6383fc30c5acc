"""PyTorch: strided tensors on the CPU share memory both ways."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any, TypedDict

import torch
from torch.nn.parameter import UninitializedTensorMixin  # type: ignore[attr-defined]
from torch.utils._python_dispatch import _disable_current_modes

from .._core import dtypes
from .._core.memory import (
    aligned_copy,
    native_obstacle,
    normalize_strides,
    strides_obstacle,
    with_owner,
    writable_alias,
)
from .._core.plan_view import plan_view, unprotected
from .._core.policy import Obstacle, Plan, describe, refuse
from .._dlpack.fast_path import Memory, register_fast_path
from ..errors import InvalidValueError
from ._fixes import objects_fix
from ._protocol import BridgeImport
from .dlpack import across, off_host
from .numpy import base_array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._core.dtypes import DTypeInfo
    from .._core.memory import Array


class ToOptions(TypedDict, total=False):
    """Options of `from_numpy`."""

    device: torch.device | str | int | None


LABEL = "torch"
_MAX_NDIM = 64
_CPU = torch.device("cpu")
FROM_OPTIONS: frozenset[str] = frozenset()
TO_OPTIONS = ToOptions.__optional_keys__


@contextlib.contextmanager
def _as_itself() -> Iterator[None]:
    """Let torch's functions do what they say, whatever is set for the calls of the user.

    A default device, ``with torch.device(...)``, a mode such as ``FakeTensorMode`` and a
    subclass with ``__torch_function__`` change what a call does, and where its result is.
    """
    with torch._C.DisableTorchFunction():  # noqa: SLF001 -- the documented name
        if not torch._C._len_torch_dispatch_stack():  # noqa: SLF001 -- no public way to ask
            yield
            return
        with _disable_current_modes():
            yield


def _is_misdescribed(tensor: torch.Tensor) -> bool:
    """Tell whether DLPack says less of complex or 8-bit values than torch knows."""
    if tensor.is_complex():
        return bool(tensor.is_conj())
    return tensor.dtype not in (torch.int8, torch.uint8)  # but narrower, as torch.uint4


if "__dlpack_c_exchange_api__" in torch.Tensor.__dict__:
    # It hands out memory as if there were no conjugate and no negative bit.
    register_fast_path(
        "torch",
        (torch.Tensor, torch.nn.Parameter),
        guard=torch.Tensor.is_neg,
        closer_guard=_is_misdescribed,
        memory=Memory(
            kind=torch.UntypedStorage,
            keeper=torch.Tensor.untyped_storage,
            may_move=torch.UntypedStorage.resizable,
            address=torch.UntypedStorage.data_ptr,
            nbytes=torch.UntypedStorage.nbytes,
            settled=torch.Tensor.numpy,
        ),
    )


def from_numpy(
    array: Array, *, device: torch.device | str | int | None = None
) -> Plan[torch.Tensor]:
    """Plan the way from the hub.

    Strided views are shared with their strides. Read-only memory that is a mapped file is
    mapped again copy-on-write, because a write through a tensor would otherwise kill the
    process; other read-only memory is shared with a caution, because torch has no
    read-only tensors.
    """
    array = base_array(array, LABEL)
    row = _torch_row(array)
    target = _device(device)
    values = normalize_strides(array)

    def tensor(memory: Array) -> torch.Tensor:
        with _as_itself():
            made = _tensor(memory, row)
            return made if target.type == "cpu" else made.to(target)

    return plan_view(
        array,
        LABEL,
        tensor,
        obstacle=native_obstacle(values) or strides_obstacle(values),
        transfer=_device_obstacle(target),
        may_write=True,
        caution=unprotected(LABEL, "tensor"),
    )


def to_numpy(tensor: torch.Tensor) -> Plan[Array]:
    """Plan the way to the hub; a tensor that needs grad is detached."""
    with _as_itself():
        return _plan(tensor, _detached(tensor))


def _plan(given: torch.Tensor, tensor: torch.Tensor) -> Plan[Array]:
    """Plan the way of a plain tensor that was made of the one that was given."""
    row = _numpy_row(tensor)
    obstacle = _tensor_obstacle(tensor)

    def share() -> Array:
        with _as_itself():
            return with_owner(_array(tensor, row), given)

    def resolve() -> Array:
        with _as_itself():
            fresh = torch.empty(tensor.shape, dtype=tensor.dtype, device=_CPU)
            return _array(fresh.copy_(tensor), row)

    return Plan(
        direction="from torch",
        describe=lambda: _describe(tensor),
        nbytes=tensor.numel() * tensor.element_size(),
        result=share if obstacle is None else resolve,
        independent=lambda: aligned_copy(share()) if obstacle is None else resolve(),
        obstacle=obstacle,
        result_spec=(tuple(tensor.shape), row.dtype),
    )


def _bridge_export(tensor: torch.Tensor) -> torch.Tensor | None:
    """Give a tensor of a device to a consumer there; what is refused is so everywhere."""
    with _as_itself():
        tensor = _detached(tensor)
        _numpy_row(tensor)
        lazy = tensor.is_conj() or tensor.is_neg()
        return None if lazy or not off_host(tensor) else tensor


def _bridge_import(producer: Any, *, device: object = None) -> Plan[torch.Tensor] | None:
    if device is not None or not torch.cuda.is_available():
        return None
    return across(producer, LABEL, torch.from_dlpack, torch.clone)  # type: ignore[attr-defined]


BRIDGE_EXPORTS = {"device": _bridge_export}
BRIDGE_IMPORTS = {"device": BridgeImport(_bridge_import, TO_OPTIONS)}


def _tensor(array: Array, row: DTypeInfo) -> torch.Tensor:
    array = writable_alias(array)
    if row.extension:
        return torch.from_numpy(array.view(row.carrier)).view(getattr(torch, str(row.torch)))
    return torch.from_numpy(array.view(row.dtype))  # it knows one name of each integer


def _array(tensor: torch.Tensor, row: DTypeInfo) -> Array:
    if row.extension:
        carrier = getattr(torch, row.carrier.name)
        array: Array = tensor.view(carrier).numpy().view(row.dtype)
        return array
    shared: Array = tensor.numpy()
    return shared


def _torch_row(array: Array) -> DTypeInfo:
    row = dtypes.of_numpy(array.dtype)
    if row is None or row.torch is None:
        why = "torch has no such dtype"
        refuse("to torch", describe(array), why, objects_fix(array) or _fix_for(array.dtype))
    return row


def _fix_for(dtype: dtypes.DType) -> str:
    if dtype.kind in "mM":
        return "pass the counts since 1970 or the durations as array.view('i8')"
    if dtype.kind in "fc" and dtype.itemsize > 8:
        narrower = "complex128" if dtype.kind == "c" else "float64"
        return f"round it yourself: array.astype(np.{narrower})"
    if dtype.names:
        return f"pass one field at a time: array[{dtype.names[0]!r}]"
    if dtypes.is_extension(dtype):
        return f"widen it: array.astype({dtypes.wider(dtype)})"
    if dtype.kind in "SUT":
        return "encode the strings as numbers first"
    return "convert it to numbers with array.astype(...) first"


def _device(device: torch.device | str | int | None) -> torch.device:
    if device is None:
        return _CPU
    try:
        target = torch.device(device)
        if target.type != "meta":
            with _as_itself():
                torch.empty(0, device=target)
            return target
    except (RuntimeError, AssertionError, TypeError) as error:
        msg = f"device={device!r} is not to be had: {error}; pass device='cpu'"
        raise InvalidValueError(msg) from error
    msg = "device='meta' holds no values; pass device='cpu'"
    raise InvalidValueError(msg)


def _device_obstacle(target: torch.device) -> Obstacle | None:
    if target.type == "cpu":
        return None
    return Obstacle(
        f"device {target} has memory of its own", "leave the tensor on the CPU: device=None"
    )


def _describe(tensor: torch.Tensor) -> str:
    name = str(tensor.dtype).removeprefix("torch.")
    return f"{name} tensor of shape {tuple(tensor.shape)}"


def _detached(tensor: torch.Tensor) -> torch.Tensor:
    """Make a plain tensor of the same memory, or refuse what has no memory of its own.

    No code of a subclass runs.
    """
    refusal = _unreal(tensor)
    if refusal is not None:
        refuse("from torch", type(tensor).__name__, *refusal)
    return torch.Tensor.detach(tensor)


def _unreal(tensor: torch.Tensor) -> tuple[str, str] | None:
    """Find what must not be asked for anything but its type."""
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):  # noqa: SLF001 -- no public way
        return "it is a tracer of torch.func", "convert outside of the transformed function"
    if isinstance(tensor, UninitializedTensorMixin):
        return "it has no shape and no values yet", "give it both: tensor.materialize(shape)"
    if type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        return (
            "its type stands for memory that is elsewhere or nowhere",
            "convert it to a plain tensor first (full_tensor(), values(), dequantize())",
        )
    if torch._is_functional_tensor(tensor):  # noqa: SLF001 -- no public way to ask
        return "it is a functional tensor", "convert outside of the functionalized function"
    return None


def _numpy_row(tensor: torch.Tensor) -> DTypeInfo:
    """Find the dtype, or refuse a tensor that is not plain memory with values in it."""
    refusal = _refusal(tensor)
    if refusal is not None:
        kind = f"{str(tensor.dtype).removeprefix('torch.')} {type(tensor).__name__}"
        refuse("from torch", kind, *refusal)
    row = dtypes.of_torch(str(tensor.dtype).removeprefix("torch."))
    if row is None:
        why, fix = "NumPy has no such dtype", "pass its bits: tensor.view(torch.uint8)"
        if tensor.is_complex():
            fix = "widen it: tensor.to(torch.complex64)"
        refuse("from torch", _describe(tensor), why, fix)
    return row


def _refusal(tensor: torch.Tensor) -> tuple[str, str] | None:
    if tensor.is_nested:
        return "a nested tensor has no single shape", "pass tensor.to_padded_tensor(0.0)"
    if tensor.is_quantized:
        return "its values are scaled integers", "pass tensor.dequantize() or tensor.int_repr()"
    if tensor.layout is not torch.strided:
        return f"its layout is {tensor.layout}", "pass tensor.to_dense()"
    if tensor.is_meta:
        return "a meta tensor has no values", "make it on the CPU"
    if tensor.ndim > _MAX_NDIM:
        return f"NumPy has at most {_MAX_NDIM} dimensions", "pass tensor.squeeze()"
    if _reach(tensor) > tensor.untyped_storage().nbytes():
        return "its storage was freed or made smaller", "give it its memory back first"
    return None


def _reach(tensor: torch.Tensor) -> int:
    """Count the bytes of storage up to the end of the tensor's last element."""
    if tensor.numel() == 0 or tensor._is_zerotensor():  # noqa: SLF001
        return 0
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = int(tensor.storage_offset()) + sum((n - 1) * stride for n, stride in steps)
    return (last + 1) * int(tensor.element_size())


def _tensor_obstacle(tensor: torch.Tensor) -> Obstacle | None:
    if tensor.device.type != "cpu":
        return Obstacle(
            f"its memory is on {tensor.device}", "keep the tensor on the CPU: tensor.cpu()"
        )
    if tensor.is_conj() or tensor.is_neg():
        return Obstacle(
            "its values are conjugated or negated only when read",
            "resolve it once: tensor.resolve_conj().resolve_neg()",
        )
    if tensor._is_zerotensor():  # noqa: SLF001 -- no public way to ask
        return Obstacle("its zeros take no memory", "make it real once: tensor.clone()")
    return None
