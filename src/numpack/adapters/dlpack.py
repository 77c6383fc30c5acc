"""DLPack: the protocol that most frameworks speak, and raw capsules of both kinds.

Source: DLPack 1.1 (``dlpack.h``) and the Python specification of the array API standard,
``__dlpack__`` and ``from_dlpack``.
"""

from __future__ import annotations

import dataclasses
import weakref
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar

import numpy as np

from .._core import dtypes
from .._core.dlpack_description import HOST_DEVICES
from .._core.mapped_files import backing_of
from .._core.memory import aligned_copy, normalize_strides
from .._core.policy import Obstacle, Plan, carry_out, describe, refuse, wrong_type
from .._dlpack import importing
from .._dlpack.decorators import fast_class
from .._dlpack.exchange_api import publish
from .._dlpack.exporting import Exporter, export
from .._dlpack.fast_path import register_fast_path
from ..errors import InvalidValueError, NumpackError, ZeroCopyError
from . import of_object
from ._fixes import objects_fix
from .numpy import expect, in_form, refuse_mask

if TYPE_CHECKING:
    from collections.abc import Callable

    from .._core.dlpack_description import Description
    from .._core.dtypes import DType, DTypeInfo
    from .._core.memory import Array
    from ._options import Order

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

# Their arrays never change, and their legacy capsules cannot say so.
_IMMUTABLE = frozenset({"jax", "jaxlib"})

_COMPUTED = Obstacle(
    "its producer makes a copy each time that it is asked for its memory",
    "copy it once, and keep that: numpack.io.from_dlpack(x, copy=True)",
)

_connected: set[type] = set()
_steady: weakref.WeakSet[type] = weakref.WeakSet()  # those that were seen to share


class DLPackBuffer(Exporter):
    """An array that any DLPack consumer takes, any number of times.

    Parameters
    ----------
    array : ndarray
        Of a dtype that DLPack can name: bool, integers, float16 to float64, complex64,
        complex128, and the types of ml_dtypes.
    order : {"C", "K"}, default "C"
        ``"C"``: an array that is not C-contiguous, native and aligned is brought to that
        form once, now, so that consumers which refuse strides take it too. ``"K"``:
        strides are kept; negative ones are not, because no consumer takes them.
    copy : bool or None, optional
        The copy policy for what `order` asks for; True: own memory in any case.

    Attributes
    ----------
    array : ndarray
        The array that is exported.

    Raises
    ------
    ZeroCopyError
        A copy is needed and ``copy=False``.
    UnsupportedError
        DLPack has no name for the dtype.

    Notes
    -----
    Memory is shared, and a read-only array is announced as such. Memory that is a file
    mapped read-only is mapped again copy-on-write for each consumer: no byte is copied,
    and a consumer that ignores the announcement cannot kill the process by a write.

    Examples
    --------
    >>> import numpy as np
    >>> from numpack.io import to_dlpack
    >>> a = np.arange(3.0)
    >>> b = np.from_dlpack(to_dlpack(a))
    >>> np.shares_memory(a, b)
    True
    """

    __slots__ = ()

    def __init__(self, array: Array, *, order: str = "C", copy: bool | None = None) -> None:
        array = expect("DLPackBuffer", array, copy)
        self.array = carry_out(_form(array, order), copy)

    def _export(
        self,
        stream: object,
        max_version: tuple[int, int] | None,
        dl_device: tuple[int, int] | None,
        copy: bool | None,
    ) -> object:
        if stream is not None:
            msg = f"the CPU has no streams: stream must be None, not {stream!r}"
            raise InvalidValueError(msg)
        if dl_device is not None and tuple(dl_device) != importing.CPU:
            msg = (
                f"the memory is on the CPU, device {importing.CPU}, and the consumer asks for "
                f"{tuple(dl_device)}; ask for the CPU and transfer the result"
            )
            raise ZeroCopyError(msg)
        versioned = max_version is not None and tuple(max_version) >= (1, 0)
        array = normalize_strides(
            aligned_copy(self.array)
            if copy
            else backing_of(normalize_strides(self.array)).for_writer()
        )
        return export(array, versioned=versioned, copied=bool(copy))

    def __repr__(self) -> str:
        """Tell the dtype, shape and device."""
        return f"DLPackBuffer({describe(self.array)}, device='cpu')"


publish(DLPackBuffer, 0)
fast_class(DLPackBuffer, exported=True)


def from_numpy(array: Array, *, order: str = "C") -> Plan[DLPackBuffer]:
    """Plan the way from the hub: wrap, so that any consumer can take it."""
    form = _form(array, order)
    return Plan(
        direction=form.direction,
        describe=form.describe,
        nbytes=form.nbytes,
        result=lambda: DLPackBuffer(form.result(), order=order, copy=False),
        independent=lambda: DLPackBuffer(form.independent(), order=order, copy=False),
        obstacle=form.obstacle,
        action=backing_of(normalize_strides(array)).action,
    )


def to_numpy(obj: Any, *, device: object = None) -> Plan[Array]:
    """Plan the way to the hub from a capsule or from an object with ``__dlpack__``.

    The capsule of an object is asked for now, because only it tells dtype and flags, and
    is given back unused if nothing comes of it.
    """
    check_device(device)
    return _plan(obj, _capsule_of(obj))


def receive(obj: Any, *, device: object = None, copy: bool | None = None) -> Array:
    """Come to the hub as `from_dlpack` does; plan only if there is more to it than to share.

    An object of NumPy, torch or TensorFlow goes its own way, on which more is known about it:
    asked for a capsule of strings, TensorFlow ends the process.
    """
    check_device(device)
    owner = of_object(obj)
    if owner is not None and (
        owner.name in ("numpy", "torch", "tensorflow") or _is_arrow_tensor(obj)
    ):
        return carry_out(owner.module().to_numpy(obj), copy)
    capsule = _capsule_of(obj)
    if (copy is None or copy is False) and (obj is capsule or type(obj) in _steady):
        array = importing.take_capsule(capsule, readonly=_is_immutable(obj), given=obj)
        if array is not None:
            _connect(obj)
            return array
    return carry_out(_plan(obj, capsule), copy)


def _is_arrow_tensor(obj: object) -> bool:
    """Tell whether an object holds tensors that pyarrow 26 exports with wrong strides."""
    return type(obj).__name__ == "FixedShapeTensorArray"


def _connect(obj: object) -> None:
    """Take objects of a type by its table of functions from now on, where it has one."""
    kind = type(obj)
    if "__dlpack_c_exchange_api__" in kind.__dict__ and kind not in _connected:
        _connected.add(kind)
        register_fast_path(None, (kind,), readonly=_is_immutable(obj))


def _capsule_of(obj: Any) -> object:
    if importing.is_capsule(obj):
        return obj
    if not hasattr(obj, "__dlpack__"):
        wrong_type(
            "from_dlpack",
            "a DLPack capsule or an object with __dlpack__",
            obj,
            "pass np.asarray(x), or share(x, 'numpy') for what speaks another protocol",
        )
    return _request(obj, max_version=importing.MAX_VERSION)


def _is_immutable(obj: object) -> bool:
    return type(obj).__module__.partition(".")[0] in _IMMUTABLE


def _plan(obj: Any, capsule: object) -> Plan[Array]:
    about = importing.describe(capsule)
    if obj is capsule or about.on_host:
        readonly = about.readonly or _is_immutable(obj)
        plan = _of_capsule(capsule, about, readonly=readonly, given=obj)
        if obj is capsule or about.copied or 0 in about.shape or not _moves(obj, capsule):
            return plan
        return dataclasses.replace(plan, obstacle=_COMPUTED)
    return _of_device(obj, about)


def _moves(obj: Any, capsule: object) -> bool:
    """Tell whether a producer exports other memory each time, without announcing a copy."""
    if isinstance(obj, Exporter) or type(obj) in _steady:  # ours map a file for each consumer
        return False
    try:
        again = _request(obj, max_version=importing.MAX_VERSION)
        moved = (
            importing.view_capsule(capsule).ctypes.data
            != importing.view_capsule(again).ctypes.data
        )
    except Exception:  # noqa: BLE001 -- it exports once, which is no copy
        return False
    if not moved:
        _steady.add(type(obj))
    return bool(moved)


def check_device(device: object) -> None:
    """Raise `InvalidValueError` for a device on which NumPy has no arrays."""
    if device is not None and device != importing.CPU and str(device) != "cpu":
        msg = f"NumPy arrays live on the CPU: device must be None or 'cpu', not {device!r}"
        raise InvalidValueError(msg)


def off_host(obj: Any) -> bool:
    """Tell whether an object's memory is where the processor cannot read it."""
    return obj.__dlpack_device__()[0] not in HOST_DEVICES


def across(
    producer: Any, label: str, consume: Callable[[Any], T], own: Callable[[T], T]
) -> Plan[T]:
    """Plan the way from one framework to another on a device, past the hub.

    The consumer's own ``from_dlpack`` names the stream on which it will work, and the producer
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
        f"Zero-copy conversion to {label} shares an array that never changes: a write to the "
        f"result changes the array of {owner}; pass copy=True for memory that is safe to write"
    )


def _form(array: Array, order: str) -> Plan[Array]:
    _row(array)
    return in_form(array, order, "to DLPack", exported=True)


def _row(array: Array) -> DTypeInfo:
    refuse_mask(array, LABEL)
    values = array if type(array) is np.ndarray else normalize_strides(array)
    row = dtypes.of_numpy(values.dtype)
    if row is None:
        refuse(
            "to DLPack",
            describe(array),
            "DLPack has no name for this dtype",
            objects_fix(values) or _fix_for(values.dtype),
        )
    return row


def _fix_for(dtype: DType) -> str:
    if dtype.kind in "mM":
        return "pass the counts since 1970 or the durations as array.view('i8')"
    if dtype.kind == "O":
        return "convert it to numbers with array.astype(...) first"
    if dtype.kind == "T":
        return "encode the strings as numbers first"
    if dtype.kind in "fc":
        narrower = "complex128" if dtype.kind == "c" else "float64"
        return f"round it yourself: array.astype(np.{narrower})"
    return "export the bytes: np.frombuffer(array.tobytes(), 'u1')"


def _request(obj: Any, **keywords: Any) -> object:
    """Ask for a capsule, one keyword less each time that an old producer does not know it."""
    while True:
        try:
            return obj.__dlpack__(**keywords)
        except NumpackError:  # of a producer that asks this package, and a TypeError too
            raise
        except TypeError:
            if not keywords:
                raise
            keywords.popitem()
        except BufferError as error:
            msg = f"Zero-copy conversion from DLPack failed: the producer refuses, {error}"
            raise ZeroCopyError(msg) from error


def _of_capsule(
    capsule: object, about: Description, *, readonly: bool, given: object
) -> Plan[Array]:
    _check_dtype(about)
    if not about.on_host:
        refuse(
            "from DLPack",
            str(about),
            f"its memory is on device {about.device}, which a raw capsule cannot leave",
            "pass the array that made the capsule, or move it to the CPU first",
        )

    def take() -> Array:
        return importing.consume_capsule(capsule, readonly=readonly, given=given)

    obstacle = None
    if about.copied:
        obstacle = Obstacle("its producer made a copy", "ask the producer for its own memory")
    owned = about.copied and not readonly
    return Plan(
        direction="from DLPack",
        describe=lambda: str(about),
        nbytes=about.nbytes,
        result=take,
        independent=take if owned else lambda: aligned_copy(take()),
        obstacle=obstacle,
        preview=lambda: importing.view_capsule(capsule),
    )


def _of_device(obj: Any, about: Description) -> Plan[Array]:
    row = _check_dtype(about)

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
            f"its memory is on device {about.device}, not the CPU's",
            "keep the array on the CPU, or use a consumer on its device",
        ),
        result_spec=(about.shape, row.dtype),
    )


def _check_dtype(about: Description) -> DTypeInfo:
    """Find the dtype, or refuse; import what it takes before anything is taken."""
    if about.row is None:
        refuse(
            "from DLPack",
            str(about),
            "NumPy has no dtype for it that reads this memory",
            "convert it with the producer's own call to a type that NumPy or ml_dtypes has",
        )
    _ = about.row.dtype
    return about.row
