"""PyTorch: strided tensors on the CPU, which share memory in both directions.

Source: the PyTorch documentation of ``torch.from_numpy``, ``torch.Tensor.numpy`` and
``torch.from_dlpack``.
"""

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
)
from .._core.owner import writable_alias
from .._core.plan_view import plan_view, unprotected
from .._core.policy import Obstacle, Plan, describe, refuse
from .._dlpack.fast_table import ResizableStorage, register_fast_path
from ..errors import InvalidValueError
from ._fixes import objects_fix
from ._protocol import BridgeImport
from .dlpack import is_off_host, plan_device_route
from .numpy import base_array

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .._core.dtypes import DTypeInfo
    from .._core.memory import Array


class ToOptions(TypedDict, total=False):
    """Options of `from_numpy`."""

    device: torch.device | str | int | None


LABEL = "torch"
FROM_OPTIONS: frozenset[str] = frozenset()
TO_OPTIONS = ToOptions.__optional_keys__
_MAX_NDIM = 64
_CPU = torch.device("cpu")
_CAUTION = unprotected(LABEL, "tensor")


def to_numpy(tensor: torch.Tensor) -> Plan[Array]:
    """Plan the conversion from a torch.Tensor to a NumPy array.

    A tensor that requires gradients is detached.
    """
    with _default_behaviour():
        return _plan_detached(tensor, _detached(tensor))


def from_numpy(
    array: Array, *, device: torch.device | str | int | None = None
) -> Plan[torch.Tensor]:
    """Plan the conversion from a NumPy array to a torch.Tensor.

    Strided arrays are shared with their strides. A file that is mapped read-only is mapped
    again copy-on-write, because a write through a tensor would otherwise raise SIGSEGV; other
    read-only memory is shared with a `ReadOnlyWarning`, because torch has no read-only
    tensors.
    """
    array = base_array(array, LABEL)
    info = _torch_info(array)
    target = _checked_device(device)
    values = normalize_strides(array)

    def tensor(memory: Array) -> torch.Tensor:
        with _default_behaviour():
            made = _tensor(memory, info)
            return made if target.type == "cpu" else made.to(target)

    return plan_view(
        array,
        LABEL,
        tensor,
        obstacle=native_obstacle(values) or strides_obstacle(values),
        transfer=_device_obstacle(target),
        may_write=True,
        caution=_CAUTION,
    )


def _bridge_export(tensor: torch.Tensor) -> torch.Tensor | None:
    """Return a tensor on a device for the direct route; ``None`` for one on the host."""
    with _default_behaviour():
        tensor = _detached(tensor)
        _numpy_info(tensor)
        lazy = tensor.is_conj() or tensor.is_neg()
        return None if lazy or not is_off_host(tensor) else tensor


def _bridge_import(producer: Any, *, device: object = None) -> Plan[torch.Tensor] | None:
    """Plan the direct route from a DLPack producer on a device; ``None`` without CUDA."""
    if device is not None or not torch.cuda.is_available():
        return None
    make = torch.from_dlpack  # type: ignore[attr-defined]
    return plan_device_route(producer, LABEL, make, torch.clone)


BRIDGE_EXPORTS = {"device": _bridge_export}
BRIDGE_IMPORTS = {"device": BridgeImport(_bridge_import, frozenset({"device"}))}


def _is_misdescribed(tensor: torch.Tensor) -> bool:
    """Check whether a tensor's DLPack description is incomplete.

    It lacks the conjugate bit of complex values, and the type of 8-bit ones such as uint4.
    """
    if tensor.is_complex():
        return bool(tensor.is_conj())
    return tensor.dtype not in (torch.int8, torch.uint8)  # but sub-byte, such as torch.uint4


if "__dlpack_c_exchange_api__" in torch.Tensor.__dict__:
    # The exchange API exports memory without the conjugate and negative bits.
    register_fast_path(
        "torch",
        (torch.Tensor, torch.nn.Parameter),
        guard=torch.Tensor.is_neg,
        dtype_guard=_is_misdescribed,
        storage=ResizableStorage(
            storage_type=torch.UntypedStorage,
            storage_of=torch.Tensor.untyped_storage,
            is_resizable=torch.UntypedStorage.resizable,
            address=torch.UntypedStorage.data_ptr,
            nbytes=torch.UntypedStorage.nbytes,
            pin=torch.Tensor.numpy,
        ),
        caution=_CAUTION,
    )


def _default_behaviour() -> contextlib.AbstractContextManager[Any]:
    """Disable the modes and overrides of the caller that change what torch's functions do.

    A default device, ``with torch.device(...)``, a mode such as ``FakeTensorMode`` and a
    subclass with ``__torch_function__`` change the result of a call and the device where it
    is.
    """
    if torch._C._len_torch_dispatch_stack():  # noqa: SLF001 -- no public way to ask
        return _without_modes()
    overrides: contextlib.AbstractContextManager[Any] = torch._C.DisableTorchFunction()  # noqa: SLF001
    return overrides


@contextlib.contextmanager
def _without_modes() -> Iterator[None]:
    with torch._C.DisableTorchFunction(), _disable_current_modes():  # noqa: SLF001 -- documented
        yield


def _plan_detached(given: torch.Tensor, tensor: torch.Tensor) -> Plan[Array]:
    """Plan the conversion of a detached tensor; `given` owns the memory."""
    info = _numpy_info(tensor)
    obstacle = _tensor_obstacle(tensor)

    def share() -> Array:
        with _default_behaviour():
            return with_owner(_array(tensor, info), given)

    def resolve() -> Array:
        with _default_behaviour():
            fresh = torch.empty(tensor.shape, dtype=tensor.dtype, device=_CPU)
            return _array(fresh.copy_(tensor), info)

    return Plan(
        direction="from torch",
        describe=lambda: _describe(tensor),
        nbytes=tensor.numel() * tensor.element_size(),
        result=share if obstacle is None else resolve,
        independent=lambda: aligned_copy(share()) if obstacle is None else resolve(),
        obstacle=obstacle,
        result_spec=(tuple(tensor.shape), info.dtype),
    )


def _detached(tensor: torch.Tensor) -> torch.Tensor:
    """Detach a tensor as a base-class tensor over the same memory; refuse one without memory.

    No code of a subclass runs.
    """
    refusal = _type_refusal(tensor)
    if refusal is not None:
        refuse("from torch", type(tensor).__name__, *refusal)
    return torch.Tensor.detach(tensor)


def _type_refusal(tensor: torch.Tensor) -> tuple[str, str] | None:
    """Return why a tensor has no memory, and the fix.

    Only the type of such a tensor may be examined, no other attribute.
    """
    if torch._C._functorch.is_functorch_wrapped_tensor(tensor):  # noqa: SLF001 -- no public way
        return "it is a tracer of torch.func", "convert outside of the transformed function"
    if isinstance(tensor, UninitializedTensorMixin):
        return "it has no shape and no values yet", "call tensor.materialize(shape)"
    if type(tensor).__torch_dispatch__ is not torch.Tensor.__torch_dispatch__:
        return (
            "its type describes memory that is elsewhere or does not exist",
            "convert it to a plain tensor first (full_tensor(), values(), dequantize())",
        )
    if torch._is_functional_tensor(tensor):  # noqa: SLF001 -- no public way to ask
        return "it is a functional tensor", "convert outside of the functionalized function"
    return None


def _numpy_info(tensor: torch.Tensor) -> DTypeInfo:
    """Return the dtype for NumPy, or refuse a tensor that is not plain memory with values."""
    refusal = _value_refusal(tensor)
    if refusal is not None:
        kind = f"{str(tensor.dtype).removeprefix('torch.')} {type(tensor).__name__}"
        refuse("from torch", kind, *refusal)
    info = dtypes.of_torch(str(tensor.dtype).removeprefix("torch."))
    if info is None:
        why, fix = "NumPy has no such dtype", "pass its bits: tensor.view(torch.uint8)"
        if tensor.is_complex():
            fix = "widen it: tensor.to(torch.complex64)"
        refuse("from torch", _describe(tensor), why, fix)
    return info


def _value_refusal(tensor: torch.Tensor) -> tuple[str, str] | None:
    """Return why NumPy cannot represent a tensor, and the fix."""
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
    if _end_in_storage(tensor) > tensor.untyped_storage().nbytes():
        return (
            "its storage was freed or made smaller",
            "restore the size of its storage first",
        )
    return None


def _end_in_storage(tensor: torch.Tensor) -> int:
    """Return the offset in bytes of the end of the tensor's last element in its storage."""
    if tensor.numel() == 0 or tensor._is_zerotensor():  # noqa: SLF001
        return 0
    steps = zip(tensor.shape, tensor.stride(), strict=True)
    last = int(tensor.storage_offset()) + sum((n - 1) * stride for n, stride in steps)
    return (last + 1) * int(tensor.element_size())


def _tensor_obstacle(tensor: torch.Tensor) -> Obstacle | None:
    """Return why a tensor's memory cannot be shared as it is."""
    if tensor.device.type != "cpu":
        return Obstacle(
            f"its memory is on {tensor.device}", "keep the tensor on the CPU: tensor.cpu()"
        )
    if tensor.is_conj() or tensor.is_neg():
        return Obstacle(
            "its values are conjugated or negated only when they are read",
            "resolve it once: tensor.resolve_conj().resolve_neg()",
        )
    if tensor._is_zerotensor():  # noqa: SLF001 -- no public way to ask
        return Obstacle(
            "its zeros are not stored in memory", "make it dense once: tensor.clone()"
        )
    return None


def _array(tensor: torch.Tensor, info: DTypeInfo) -> Array:
    if info.extension:
        carrier = getattr(torch, info.carrier.name)
        array: Array = tensor.view(carrier).numpy().view(info.dtype)
        return array
    shared: Array = tensor.numpy()
    return shared


def _torch_info(array: Array) -> DTypeInfo:
    """Return the dtype for torch, or refuse one that torch lacks."""
    info = dtypes.of_numpy(array.dtype)
    if info is None or info.torch is None:
        why = "torch has no such dtype"
        refuse("to torch", describe(array), why, objects_fix(array) or _fix_for(array.dtype))
    return info


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


def _checked_device(device: torch.device | str | int | None) -> torch.device:
    """Return the `torch.device`, or raise if it cannot store values."""
    if device is None:
        return _CPU
    try:
        target = torch.device(device)
        if target.type != "meta":
            with _default_behaviour():
                torch.empty(0, device=target)
            return target
    except (RuntimeError, AssertionError, TypeError) as error:
        msg = f"device={device!r} is not available: {error}; pass device='cpu'"
        raise InvalidValueError(msg) from error
    msg = "device='meta' stores no values; pass device='cpu'"
    raise InvalidValueError(msg)


def _device_obstacle(target: torch.device) -> Obstacle | None:
    if target is _CPU or target.type == "cpu":
        return None
    return Obstacle(
        f"device {target} has memory of its own", "leave the tensor on the CPU: device=None"
    )


def _tensor(array: Array, info: DTypeInfo) -> torch.Tensor:
    array = writable_alias(array)
    if info.extension:
        return torch.from_numpy(array.view(info.carrier)).view(getattr(torch, str(info.torch)))
    return torch.from_numpy(array.view(info.dtype))  # torch has one type per C integer


def _describe(tensor: torch.Tensor) -> str:
    name = str(tensor.dtype).removeprefix("torch.")
    return f"{name} tensor of shape {tuple(tensor.shape)}"
