"""DLPack: the protocol that most frameworks implement, and raw capsules of both versions.

Source: DLPack 1.1 (``dlpack.h``) and the Python specification of the array API standard,
``__dlpack__`` and ``from_dlpack``.
"""

from __future__ import annotations

import dataclasses
import functools
import weakref
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

from .._core.dlpack_description import HOST_DEVICES
from .._core.mapped_files import backing_of
from .._core.memory import aligned_copy, normalize_strides
from .._core.policy import Obstacle, Plan, carry_out, refuse, wrong_type
from .._dlpack import importing
from .._dlpack.exporting import Exporter, wrapped
from .._dlpack.fast_table import register_export, register_fast_path
from ..errors import InvalidValueError, NumpackError, ZeroCopyError
from . import of_object
from ._dlpack_buffer import DLPackBuffer, plan_export

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._core.dlpack_description import Description
    from .._core.dtypes import DTypeInfo
    from .._core.memory import Array
    from ._options import Order

__all__ = [
    "FROM_OPTIONS",
    "LABEL",
    "TO_OPTIONS",
    "DLPackBuffer",
    "check_device",
    "from_numpy",
    "import_producer",
    "is_off_host",
    "plan_device_route",
    "to_numpy",
]

T = TypeVar("T")


class FromOptions(TypedDict, total=False):
    """Options of `to_numpy`."""

    device: tuple[int, int] | str | None


class ToOptions(TypedDict, total=False):
    """Options of `from_numpy`."""

    order: Order


LABEL = "DLPack"
FROM_OPTIONS = FromOptions.__optional_keys__
TO_OPTIONS = ToOptions.__optional_keys__

# Packages whose arrays are immutable, which an unversioned capsule cannot express.
_IMMUTABLE = frozenset({"jax", "jaxlib"})

_COMPUTED = Obstacle(
    "its producer makes a copy at each request",
    "copy it once, and keep that: numpack.io.from_dlpack(x, copy=True)",
)

_fast_types: set[type] = set()  # registered with the fast path
_MOST_TYPES = 256  # the registry keeps types alive
_sharing_types: weakref.WeakSet[type] = weakref.WeakSet()  # two requests returned one memory


def to_numpy(obj: Any, *, device: object = None) -> Plan[Array]:
    """Plan the conversion from a DLPack capsule or producer to a NumPy array.

    Only a capsule records the dtype and the flags of a producer, so it is requested here. If
    the plan is not carried out, the capsule's deleter releases it.
    """
    check_device(device)
    return _plan(obj, _capsule_of(obj))


def from_numpy(array: Array, *, order: str = "C") -> Plan[DLPackBuffer]:
    """Plan the conversion from a NumPy array to a `DLPackBuffer`."""
    layout = plan_export(array, order)
    return Plan(
        direction=layout.direction,
        describe=layout.describe,
        nbytes=layout.nbytes,
        result=lambda: DLPackBuffer(layout.result(), order=order, copy=False),
        independent=lambda: DLPackBuffer(layout.independent(), order=order, copy=False),
        obstacle=layout.obstacle,
        action=backing_of(normalize_strides(array)).action,
    )


register_fast_path(None, (DLPackBuffer,))
register_export(
    "dlpack",
    functools.partial(wrapped, DLPackBuffer),
    dtypes="?bBhHiIlLqQefdFD",
    may_write=True,
    as_is=True,
)


def import_producer(obj: Any, *, device: object = None, copy: bool | None = None) -> Array:
    """Convert a capsule or producer for `from_dlpack`, without a plan where memory is shared.

    Objects of NumPy, torch and TensorFlow are converted by their own adapters, which know
    more about them than a capsule records; a capsule of strings makes TensorFlow abort.
    """
    check_device(device)
    owner = of_object(obj)
    if owner is not None and (
        owner.name in ("numpy", "torch", "tensorflow") or _is_arrow_tensor(obj)
    ):
        return carry_out(owner.module().to_numpy(obj), copy)
    capsule = _capsule_of(obj)
    if (copy is None or copy is False) and (obj is capsule or type(obj) in _sharing_types):
        array = importing.try_consume_capsule(
            capsule, readonly=_is_immutable(obj), producer=obj
        )
        if array is not None:
            _register_type(obj)
            return array
    return carry_out(_plan(obj, capsule), copy)


def check_device(device: object) -> None:
    """Raise `InvalidValueError` for a device other than the CPU."""
    if device is not None and device != importing.CPU and str(device) != "cpu":
        msg = f"NumPy arrays live on the CPU: device must be None or 'cpu', not {device!r}"
        raise InvalidValueError(msg)


def is_off_host(obj: Any) -> bool:
    """Check whether a producer's memory is inaccessible to the CPU."""
    return obj.__dlpack_device__()[0] not in HOST_DEVICES


def plan_device_route(
    producer: Any, label: str, consume: Callable[[Any], T], own: Callable[[T], T]
) -> Plan[T]:
    """Plan the direct route between two frameworks on a device, without a NumPy array.

    The consumer's ``from_dlpack`` passes the stream on which it will work, and the producer
    makes that stream wait for its own.

    Parameters
    ----------
    producer : object with ``__dlpack__``, ``dtype``, ``shape`` and ``nbytes``
    label : str
        The consumer's name in messages.
    consume : callable
        The consumer's ``from_dlpack``.
    own : callable
        Copies the consumer's array on its device.

    References
    ----------
    Array API standard 2024.12, ``__dlpack__``: `stream` and synchronisation.
    """
    return Plan(
        direction=f"to {label}",
        describe=lambda: f"{producer.dtype} array of shape {tuple(producer.shape)} on a device",
        nbytes=producer.nbytes,
        result=lambda: consume(producer),
        independent=lambda: own(consume(producer)),
        caution=_caution(producer, label) if _is_immutable(producer) else "",
    )


def _caution(producer: Any, label: str) -> str:
    owner = type(producer).__module__.partition(".")[0]
    return (
        f"Zero-copy conversion to {label} shares an immutable array: a write to the result "
        f"changes the array of {owner}; pass copy=True for memory that is safe to write"
    )


def _is_immutable(obj: object) -> bool:
    return type(obj).__module__.partition(".")[0] in _IMMUTABLE


def _is_arrow_tensor(obj: object) -> bool:
    """Check for an array of tensors, which pyarrow 26 exports with wrong strides."""
    return type(obj).__name__ == "FixedShapeTensorArray"


def _register_type(obj: object) -> None:
    """Register the type of an object, which returned one memory twice, with the fast path."""
    kind = type(obj)
    if kind not in _fast_types and len(_fast_types) < _MOST_TYPES:
        _fast_types.add(kind)
        register_fast_path(None, (kind,), readonly=_is_immutable(obj))


def _capsule_of(obj: Any) -> object:
    if importing.is_capsule(obj):
        return obj
    if not hasattr(obj, "__dlpack__"):
        wrong_type(
            "from_dlpack",
            "a DLPack capsule or an object with __dlpack__",
            obj,
            "pass np.asarray(x), or share(x, 'numpy') for an object with another protocol",
        )
    return _request(obj, max_version=importing.MAX_VERSION)


def _request(obj: Any, **keywords: Any) -> object:
    """Request a capsule; drop one keyword after another for producers of older standards."""
    while True:
        try:
            return obj.__dlpack__(**keywords)
        except NumpackError:  # a producer built on this package; its error may be a TypeError
            raise
        except TypeError:
            if not keywords:
                raise
            keywords.popitem()
        except BufferError as error:
            msg = f"Zero-copy conversion from DLPack failed: the producer refuses, {error}"
            raise ZeroCopyError(msg) from error


def _plan(obj: Any, capsule: object) -> Plan[Array]:
    about = importing.describe(capsule)
    if obj is capsule or about.on_host:
        readonly = about.readonly or _is_immutable(obj)
        plan = _plan_capsule(capsule, about, readonly=readonly, given=obj)
        if (
            obj is capsule
            or about.copied
            or 0 in about.shape
            or not _copies_at_each_request(obj, capsule)
        ):
            return plan
        return dataclasses.replace(plan, obstacle=_COMPUTED)
    return _plan_transfer(obj, about)


def _copies_at_each_request(obj: Any, capsule: object) -> bool:
    """Check whether a second request returns other memory, without the copied flag."""
    if isinstance(obj, Exporter) or type(obj) in _sharing_types:  # ours may remap a file
        return False
    try:
        again = _request(obj, max_version=importing.MAX_VERSION)
        moved = (
            importing.view_capsule(capsule).ctypes.data
            != importing.view_capsule(again).ctypes.data
        )
    except Exception:  # noqa: BLE001 -- a producer may export only once
        return False
    if not moved:
        _sharing_types.add(type(obj))
        _register_type(obj)
    return bool(moved)


def _plan_capsule(
    capsule: object, about: Description, *, readonly: bool, given: object
) -> Plan[Array]:
    """Plan the import of a capsule whose memory is on the host; refuse another one."""
    _check_dtype(about)
    if not about.on_host:
        refuse(
            "from DLPack",
            str(about),
            f"its memory is on device {about.device}, and a raw capsule cannot be transferred",
            "pass the array that made the capsule, or move it to the CPU first",
        )

    def consume() -> Array:
        return importing.consume_capsule(capsule, readonly=readonly, producer=given)

    obstacle = None
    if about.copied:
        obstacle = Obstacle("its producer made a copy", "ask the producer for its own memory")
    owned = about.copied and not readonly
    return Plan(
        direction="from DLPack",
        describe=lambda: str(about),
        nbytes=about.nbytes,
        result=consume,
        independent=consume if owned else lambda: aligned_copy(consume()),
        obstacle=obstacle,
        preview=lambda: importing.view_capsule(capsule),
    )


def _plan_transfer(obj: Any, about: Description) -> Plan[Array]:
    """Plan a copy from a device to the host, which the producer makes."""
    info = _check_dtype(about)

    def transfer() -> Array:
        capsule = _request(obj, dl_device=importing.CPU, max_version=importing.MAX_VERSION)
        arrived = importing.describe(capsule)
        if not arrived.on_host:
            refuse(
                "from DLPack",
                str(arrived),
                f"its memory is on device {arrived.device} and its producer cannot move it",
                "move it to the CPU with the producer's own call first",
            )
        return importing.consume_capsule(capsule)

    return Plan(
        direction="from DLPack",
        describe=lambda: str(about),
        nbytes=about.nbytes,
        result=transfer,
        independent=lambda: aligned_copy(transfer()),
        obstacle=Obstacle(
            f"its memory is on device {about.device}, not on the CPU",
            "keep the array on the CPU, or use a consumer on its device",
        ),
        result_spec=(about.shape, info.dtype),
    )


def _check_dtype(about: Description) -> DTypeInfo:
    """Return the dtype, or refuse one that NumPy lacks.

    Reading ``info.dtype`` imports ml_dtypes where it is needed; if that fails, the capsule
    has not been consumed yet.
    """
    if about.dtype_info is None:
        refuse(
            "from DLPack",
            str(about),
            "NumPy has no dtype for this memory",
            "convert it with the producer's own call to a type that NumPy or ml_dtypes has",
        )
    _ = about.dtype_info.dtype
    return about.dtype_info
