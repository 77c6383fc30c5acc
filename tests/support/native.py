"""DLPack consumers written in C, on threads that Python did not create."""

from __future__ import annotations

import ctypes

from support.exchange.dlpack import LEGACY, VERSIONED, Legacy, Versioned

libc = ctypes.CDLL(None)  # its calls release the GIL
holding = ctypes.PyDLL(None)  # its calls keep the GIL

VOID = ctypes.c_void_p
Thread = ctypes.c_size_t  # pthread_t, which is an integer or a pointer

for _library in (libc, holding):
    _library.pthread_create.argtypes = [ctypes.POINTER(Thread), VOID, VOID, VOID]
    _library.pthread_join.argtypes = [Thread, ctypes.POINTER(VOID)]
libc.alarm.argtypes = [ctypes.c_uint]

_at_exit = libc["__cxa_atexit"]
_at_exit.argtypes = [VOID, VOID, VOID]

_get_name = ctypes.PyDLL(None).PyCapsule_GetName
_get_name.restype, _get_name.argtypes = VOID, [ctypes.py_object]
_get_pointer = ctypes.PyDLL(None).PyCapsule_GetPointer
_get_pointer.restype, _get_pointer.argtypes = VOID, [ctypes.py_object, ctypes.c_char_p]
_set_name = ctypes.PyDLL(None).PyCapsule_SetName
_set_name.restype, _set_name.argtypes = ctypes.c_int, [ctypes.py_object, VOID]

# A capsule keeps only the address of its name, so these are never freed.
_USED = {name: ctypes.create_string_buffer(b"used_" + name) for name in (LEGACY, VERSIONED)}
for _each in _USED.values():
    ctypes.PyDLL(None).Py_IncRef(ctypes.py_object(_each))


def name_of(capsule: object) -> bytes | None:
    """Return the current name of a capsule."""
    address = _get_name(capsule)
    return None if address is None else ctypes.string_at(address)


def pointer_in(capsule: object) -> int:
    """Return the pointer of a capsule without consuming it."""
    return _get_pointer(capsule, name_of(capsule))


def take(capsule: object) -> Legacy | Versioned:
    """Consume a capsule; the caller must call the deleter."""
    name = name_of(capsule)
    managed = (Versioned if name == VERSIONED else Legacy).from_address(pointer_in(capsule))
    _set_name(capsule, ctypes.addressof(_USED[name]))
    return managed


def managed_over(
    a: object, exporter: type, version: tuple[int, int] | None = (1, 0)
) -> Legacy | Versioned:
    """Return a managed tensor that alone owns its exporter; the caller owns the array too."""
    return take(exporter(a).__dlpack__(max_version=version))


def delete(managed: Legacy | Versioned, *, keep_gil: bool = False) -> None:
    """Call a managed tensor's deleter on this thread, by default without the GIL."""
    prototype = (ctypes.PYFUNCTYPE if keep_gil else ctypes.CFUNCTYPE)(None, VOID)
    prototype(managed.deleter)(ctypes.addressof(managed))


def start(function: int, argument: int | None = None, *, keep_gil: bool = False) -> Thread:
    """Run a C function of one pointer on a thread that Python did not create."""
    thread = Thread()
    library = holding if keep_gil else libc
    error = library.pthread_create(ctypes.byref(thread), None, function, argument)
    assert error == 0, error
    return thread


def start_deleter(managed: Legacy | Versioned, *, keep_gil: bool = False) -> Thread:
    """Call a deleter on a thread that Python did not create; it has no result."""
    return start(managed.deleter, ctypes.addressof(managed), keep_gil=keep_gil)


def join(thread: Thread) -> int:
    """Wait for a thread without the GIL; return the result of its function."""
    result = VOID()
    error = libc.pthread_join(thread, ctypes.byref(result))
    assert error == 0, error
    return result.value or 0


def at_exit(function: int, argument: int | None) -> None:
    """Register a function to be called at process exit, after Python has shut down."""
    error = _at_exit(function, argument, None)
    assert error == 0, error


def address_of(function: object) -> int:
    """Return the address of a function of a library."""
    return ctypes.cast(function, VOID).value


def sleep_with_gil(seconds: float) -> None:
    """Sleep in C, so that no other thread runs Python meanwhile."""
    holding.usleep(int(seconds * 1e6))


def kill_after(seconds: int) -> None:
    """Kill this process by a signal if it hangs; a forked child does not inherit the alarm."""
    libc.alarm(seconds)
