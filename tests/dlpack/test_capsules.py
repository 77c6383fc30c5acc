"""Capsules of other names, consumed capsules, and what consumes a capsule."""

from __future__ import annotations

import ctypes

import numpy as np
import pytest
from support.each import for_each
from support.exchange.dlpack import LEGACY, VERSIONED
from support.exchange.importers import EXPLAINERS, IMPORTERS
from support.exchange.malformed_tensors import matrix
from support.memory import address
from support.native import name_of

from numpack import InvalidValueError, WrongTypeError, ZeroCopyArray
from numpack._dlpack import importing
from numpack.io import from_dlpack, to_dlpack

_new = ctypes.PyDLL(None).PyCapsule_New
_new.restype = ctypes.py_object
_new.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]


_names = [
    ctypes.create_string_buffer(name)
    for name in (
        b"",
        b"dltensor_",
        b"dltensor_versioned_",
        b"dltensor_version",
        b"DLTENSOR",
        b" dltensor",
        b"used",
        b"used_",
        b"arrow_array",
        b"dlpack_exchange_api",
        b"\xff\xfe",
        b"x" * 10_000,
    )
]


@for_each("importer", [*IMPORTERS, *EXPLAINERS])
@for_each("name", [None, *_names], ids=lambda name: repr(name and name.value[:20]))
def test_capsule_of_another_name_is_refused(name, importer):
    tensor = matrix()
    pointer = ctypes.addressof(tensor.managed)
    capsule = _new(pointer, None if name is None else ctypes.addressof(name), None)
    with pytest.raises(InvalidValueError, match="expected a capsule named dltensor or"):
        (IMPORTERS | EXPLAINERS)[importer](capsule)
    assert tensor.deleted == 0
    assert name_of(capsule) == (None if name is None else name.value)


@for_each("name", [LEGACY, VERSIONED])
def test_capsule_name_is_compared_by_value(name):
    """Each producer may have its own copy of the name."""
    tensor = matrix(versioned=name == VERSIONED)
    copy = ctypes.create_string_buffer(name)
    capsule = _new(ctypes.addressof(tensor.managed), ctypes.addressof(copy), None)
    assert from_dlpack(capsule).sum() == 15
    del copy
    assert name_of(capsule) == b"used_" + name


@for_each("name", [b"used_dltensor", b"used_dltensor_versioned"])
@for_each("importer", [*IMPORTERS, *EXPLAINERS])
def test_used_capsule_is_refused(importer, name):
    tensor = matrix()
    held = ctypes.create_string_buffer(name)
    capsule = _new(ctypes.addressof(tensor.managed), ctypes.addressof(held), None)
    for _ in range(2):
        with pytest.raises(InvalidValueError, match="was consumed already"):
            (IMPORTERS | EXPLAINERS)[importer](capsule)
    assert tensor.deleted == 0


@for_each("first", ["from_dlpack", "copy=False", "copy=True", "share", "consume"])
@for_each("second", [*IMPORTERS, *EXPLAINERS])
@for_each("versioned", [False, True])
def test_consumed_capsule_is_refused_by_every_importer(first, second, versioned):
    tensor = matrix(versioned=versioned)
    capsule = tensor.capsule()
    a = IMPORTERS[first](capsule)
    assert name_of(capsule) == (b"used_dltensor_versioned" if versioned else b"used_dltensor")
    with pytest.raises(InvalidValueError, match="was consumed already"):
        (IMPORTERS | EXPLAINERS)[second](capsule)
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]
    del a, capsule
    assert tensor.deleted == 1


@for_each("importer", ["view", *EXPLAINERS])
@for_each("versioned", [False, True])
def test_view_and_explain_do_not_consume(importer, versioned):
    tensor = matrix(versioned=versioned)
    capsule = tensor.capsule()
    (IMPORTERS | EXPLAINERS)[importer](capsule)
    assert name_of(capsule) == (VERSIONED if versioned else LEGACY)
    assert tensor.deleted == 0
    assert from_dlpack(capsule).sum() == 15
    assert tensor.deleted == 1


def test_copy_releases_the_tensor_at_once():
    tensor = matrix()
    a = from_dlpack(tensor.capsule(), copy=True)
    assert tensor.deleted == 1
    assert address(a) != address(tensor.array)
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]


@for_each("wrong", [None, 1, "x", b"x", [1.0], object()])
def test_neither_capsule_nor_producer_is_refused(wrong):
    for importer in (from_dlpack, ZeroCopyArray.from_dlpack):
        with pytest.raises(WrongTypeError, match="a DLPack capsule or an object with __dlpack"):
            importer(wrong)
    for take in (
        importing.consume_capsule,
        importing.view_capsule,
        importing.describe,
        importing.try_consume_capsule,
    ):
        with pytest.raises(InvalidValueError, match="expected a capsule named dltensor or"):
            take(wrong)


def test_own_exports_are_accepted_by_every_importer():
    """What the package exports can be imported in every way."""
    a = np.arange(6.0).reshape(2, 3)
    for version in (None, (1, 0)):
        for importer in IMPORTERS.values():
            assert importer(to_dlpack(a).__dlpack__(max_version=version)).tolist() == a.tolist()
