"""DLPack's table of C functions, as a foreign consumer calls it and as a producer makes it."""

from __future__ import annotations

import ctypes

import numpy as np

from numpack._dlpack import fast_table
from numpack.adapters import dlpack
from numpack.io import from_dlpack
from support.exchange.dlpack import DLTensor, Tensor, Versioned

NAME = b"dlpack_exchange_api"
ATTRIBUTE = "__dlpack_c_exchange_api__"
VOID = ctypes.c_void_p
OUT = ctypes.POINTER(VOID)

SET_ERROR = ctypes.CFUNCTYPE(None, VOID, ctypes.c_char_p, ctypes.c_char_p)
ALLOCATE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(DLTensor), OUT, VOID, SET_ERROR)
FROM_PY = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.py_object, OUT)
TO_PY = ctypes.PYFUNCTYPE(ctypes.c_int, VOID, OUT)
STREAM = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_int32, ctypes.c_int32, OUT)
DELETER = ctypes.CFUNCTYPE(None, VOID)


class Table(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("prev_api", VOID),
        ("allocator", VOID),
        ("from_py_object", VOID),
        ("to_py_object", VOID),
        ("borrow", VOID),
        ("current_work_stream", VOID),
    )


_new_capsule = ctypes.PyDLL(None).PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [VOID, VOID, VOID]
_get_pointer = ctypes.PyDLL(None).PyCapsule_GetPointer
_get_pointer.restype, _get_pointer.argtypes = VOID, [ctypes.py_object, ctypes.c_char_p]

_kept: list[object] = []  # what C code may call for as long as the process lives


def table_of(kind: type) -> Table:
    """The table that a type publishes."""
    return Table.from_address(_get_pointer(getattr(kind, ATTRIBUTE), NAME))


# A consumer ------------------------------------------------------------------------------


def from_py_object(kind: type, obj: object) -> Versioned:
    """Ask a type's table for a managed tensor of an object, or raise what it raises."""
    out = VOID()
    status = FROM_PY(table_of(kind).from_py_object)(obj, ctypes.byref(out))
    assert status == 0, status
    assert out.value is not None
    return Versioned.from_address(out.value)


def to_py_object(kind: type, tensor: Versioned | Tensor) -> object:
    """Convert a managed tensor by a type's table; raise what the table raises."""
    managed = tensor.managed if isinstance(tensor, Tensor) else tensor
    out = VOID()
    status = TO_PY(table_of(kind).to_py_object)(ctypes.addressof(managed), ctypes.byref(out))
    assert status == 0, status
    result = ctypes.cast(out, ctypes.py_object).value
    ctypes.PyDLL(None).Py_DecRef(ctypes.py_object(result))  # the reference that was given
    return result


def allocate(kind: type, prototype: DLTensor) -> Versioned | list[tuple[bytes, bytes]]:
    """Ask a type's table for memory; the tensor, or the errors that it reported."""
    out, errors = VOID(), []
    set_error = SET_ERROR(lambda context, name, text: errors.append((context, name, text)))
    status = ALLOCATE(table_of(kind).allocator)(
        ctypes.byref(prototype), ctypes.byref(out), 77, set_error
    )
    if status == 0:
        assert not errors
        return Versioned.from_address(out.value)
    assert status == -1
    assert all(context == 77 for context, _, _ in errors)
    return [error[1:] for error in errors]


def describe(managed: Versioned) -> tuple:
    """Return shape, strides in elements, dtype and flags of a managed tensor."""
    tensor = managed.tensor
    dtype = tensor.dtype
    return (
        tuple(tensor.shape[: tensor.ndim]),
        tuple(tensor.strides[: tensor.ndim]),
        (dtype.code, dtype.bits, dtype.lanes),
        managed.flags,
    )


# A producer ------------------------------------------------------------------------------


def publish(kind: type, table: Table, name: bytes | None = NAME) -> None:
    """Make a type publish a table, for good."""
    held = None if name is None else ctypes.create_string_buffer(name)
    _kept.extend([kind, table, held])
    address = None if held is None else ctypes.addressof(held)
    setattr(kind, ATTRIBUTE, _new_capsule(ctypes.addressof(table), address, None))


def native(name: str) -> int:
    """The address of a function of Python's C API."""
    return ctypes.cast(getattr(ctypes.PyDLL(None), name), VOID).value


class _Failed(int):
    """A status whose end sets a `TypeError`, as nothing that Python code calls can do."""


def failed(error: bool = True) -> int:
    """The status of a function that fails; with an exception set, as it should be."""
    status = _Failed(-1)
    if error:
        status.end = _new_capsule(1, None, native("PyErr_BadArgument"))
    return status


class Foreign:
    """An object of a foreign framework, one class a test: made by `framework`."""

    def __init__(self, tensor: Tensor, fallback=None):
        self.tensor, self.fallback = tensor, fallback

    def __dlpack__(self, **keywords):
        type(self).asked += 1
        if callable(self.fallback):
            return self.fallback()
        return self.fallback.capsule()

    def __dlpack_device__(self):
        return (1, 0)


def steady(kind: type) -> type:
    """Let a type count as one that was seen to share, which is asked for memory once only."""
    dlpack._sharing_types.add(kind)
    return kind


def framework(from_py=None, to_py=None, **fields) -> type[Foreign]:
    """A type with a table, of Python functions or of addresses.

    `from_py` defaults to an honest one, which gives the object's tensor. Calls by the table
    are counted in ``calls``, those of ``__dlpack__`` in ``asked``.
    """

    class Kind(Foreign):
        calls = asked = 0

    def give(obj, out):
        Kind.calls += 1
        out[0] = ctypes.addressof(obj.tensor.managed)
        return 0

    def counted(obj, out):
        Kind.calls += 1
        return from_py(obj, out)

    table = Table(major=1, minor=3)
    if isinstance(from_py, int):
        table.from_py_object = from_py
    else:
        call = FROM_PY(give if from_py is None else counted)
        _kept.append(call)
        table.from_py_object = ctypes.cast(call, VOID)
    if to_py is not None:
        call = TO_PY(to_py)
        _kept.append(call)
        table.to_py_object = ctypes.cast(call, VOID)
    for field, value in fields.items():
        setattr(table, field, value)
    publish(Kind, table)
    steady(Kind)
    return Kind


def register(kind: type) -> type:
    """Register a fast path for a type."""
    fast_table.register_fast_path(None, (kind,))
    return kind


def import_once(kind: type[Foreign]) -> type[Foreign]:
    """Import one object, after which its type has a fast path, and reset the counters."""
    tensor = Tensor(np.zeros(1))
    assert from_dlpack(kind(tensor, tensor)).tolist() == [0]
    assert kind.asked == 1
    kind.asked = kind.calls = 0
    return kind
