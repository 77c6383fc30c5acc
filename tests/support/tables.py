"""The DLPack C exchange API, called as a foreign consumer and published as a producer."""

from __future__ import annotations

import ctypes

from numpack.adapters import dlpack
from support.dlpack import DLTensor, Tensor, Versioned

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

_kept: list[object] = []  # callbacks of C code, never freed


def table_of(kind: type) -> Table:
    """Return the exchange API that a type publishes."""
    return Table.from_address(_get_pointer(getattr(kind, ATTRIBUTE), NAME))


# A consumer ------------------------------------------------------------------------------


def from_py_object(kind: type, obj: object) -> Versioned:
    """Export a managed tensor of an object through its type's exchange API."""
    out = VOID()
    status = FROM_PY(table_of(kind).from_py_object)(obj, ctypes.byref(out))
    assert status == 0, status
    assert out.value is not None
    return Versioned.from_address(out.value)


def to_py_object(kind: type, tensor: Versioned | Tensor) -> object:
    """Import a managed tensor through a type's exchange API."""
    managed = tensor.managed if isinstance(tensor, Tensor) else tensor
    out = VOID()
    status = TO_PY(table_of(kind).to_py_object)(ctypes.addressof(managed), ctypes.byref(out))
    assert status == 0, status
    result = ctypes.cast(out, ctypes.py_object).value
    ctypes.PyDLL(None).Py_DecRef(
        ctypes.py_object(result)
    )  # the reference that the call returned
    return result


def allocate(kind: type, prototype: DLTensor) -> Versioned | list[tuple[bytes, bytes]]:
    """Allocate through a type's exchange API; return the tensor, or the reported errors."""
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


# A producer ------------------------------------------------------------------------------


def publish(kind: type, table: Table, name: bytes | None = NAME) -> None:
    """Make a type publish an exchange API permanently."""
    held = None if name is None else ctypes.create_string_buffer(name)
    _kept.extend([kind, table, held])
    address = None if held is None else ctypes.addressof(held)
    setattr(kind, ATTRIBUTE, _new_capsule(ctypes.addressof(table), address, None))


def native(name: str) -> int:
    """Return the address of a function of Python's C API."""
    return ctypes.cast(getattr(ctypes.PyDLL(None), name), VOID).value


class _Failed(int):
    """A status that sets a `TypeError` when it is destroyed, which Python code cannot do."""


def failed(error: bool = True) -> int:
    """Return the status of a failing function, by default with an exception set."""
    status = _Failed(-1)
    if error:
        status.end = _new_capsule(1, None, native("PyErr_BadArgument"))
    return status


class Foreign:
    """An object of a foreign framework; `framework` makes a class for each test."""

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
    """Mark a type as known to share, so that its objects are exported only once."""
    dlpack._steady.add(kind)
    return kind


def framework(from_py=None, to_py=None, **fields) -> type[Foreign]:
    """Make a type with an exchange API of Python functions or of addresses.

    By default `from_py` exports the object's tensor. Calls through the exchange API are counted
    in ``calls``, those of ``__dlpack__`` in ``asked``.
    """

    class Kind(Foreign):
        calls = asked = 0

    def export(obj, out):
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
        call = FROM_PY(export if from_py is None else counted)
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
