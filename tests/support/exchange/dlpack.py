"""Hand-made DLPack producers, well-formed or malformed, that count calls of their deleter."""

from __future__ import annotations

import ctypes

import numpy as np

LEGACY, VERSIONED = b"dltensor", b"dltensor_versioned"
CPU = (1, 0)

_new_capsule = ctypes.PyDLL(None).PyCapsule_New
_new_capsule.restype = ctypes.py_object
_new_capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]


class DataType(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16))


class DLTensor(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("dtype", DataType),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    )


class Legacy(ctypes.Structure):
    _fields_ = (
        ("tensor", DLTensor),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
    )


class Versioned(ctypes.Structure):
    _fields_ = (
        ("major", ctypes.c_uint32),
        ("minor", ctypes.c_uint32),
        ("manager_ctx", ctypes.c_void_p),
        ("deleter", ctypes.c_void_p),
        ("flags", ctypes.c_uint64),
        ("tensor", DLTensor),
    )


class Tensor:
    """A managed tensor over an array's memory, whose fields a test may falsify."""

    def __init__(self, array: np.ndarray, *, versioned: bool = True, row=None):
        self.array = array
        self.deleted = 0
        self.managed = (Versioned if versioned else Legacy)()
        self._deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(self._count)
        self._name = VERSIONED if versioned else LEGACY
        self.managed.deleter = ctypes.cast(self._deleter, ctypes.c_void_p)
        if versioned:
            self.managed.major, self.managed.minor = 1, 0
        tensor = self.managed.tensor
        tensor.data = array.ctypes.data
        tensor.device_type, tensor.device_id = CPU
        tensor.ndim = array.ndim
        tensor.dtype.code, tensor.dtype.bits = 2, 8 * array.itemsize
        tensor.dtype.lanes = 1
        self.shape = (ctypes.c_int64 * max(array.ndim, 1))(*array.shape)
        steps = [stride // array.itemsize for stride in array.strides]
        self.strides = (ctypes.c_int64 * max(array.ndim, 1))(*steps)
        tensor.shape, tensor.strides = self.shape, self.strides

    def _count(self, _address):
        self.deleted += 1

    def capsule(self) -> object:
        """Make a raw capsule; its consumer must call the deleter."""
        return _new_capsule(ctypes.addressof(self.managed), self._name, None)


class Producer:
    """An object whose `__dlpack__` takes only the given keywords."""

    def __init__(self, tensor: Tensor, keywords: tuple[str, ...] = (), device=(1, 0)):
        self.tensor, self.keywords, self.device = tensor, keywords, device
        self.asked: list[dict] = []

    def __dlpack_device__(self):
        return self.device

    def __dlpack__(self, **keywords):
        self.asked.append(keywords)
        unknown = set(keywords) - set(self.keywords)
        if unknown:
            msg = f"__dlpack__() got an unexpected keyword argument {unknown.pop()!r}"
            raise TypeError(msg)
        return self.tensor.capsule()


class ScriptedProducer:
    """A producer whose `__dlpack__` returns or raises the given answers in turn."""

    def __init__(self, *answers, device=(1, 0)):
        self.answers, self.device, self.asked = list(answers), device, []

    def __dlpack__(self, **keywords):
        self.asked.append(keywords)
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, BaseException):
            raise answer
        return answer

    def __dlpack_device__(self):
        return self.device
