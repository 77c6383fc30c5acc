"""Malformed capsules: refused without effect, by every importer.

A refusal is one of the package's own errors; it neither consumes the capsule nor calls the
deleter, and the capsule, once repaired, can still be consumed.
"""

from __future__ import annotations

import contextlib
import gc
import sys

import pytest
from support.each import assert_each
from support.exchange.importers import EXPLAINERS, IMPORTERS
from support.exchange.malformed_tensors import (
    ANOTHER_MAJOR,
    MALFORMED,
    OTHER_DEVICES,
    PADDED,
    REFUSED,
    UNKNOWN_DTYPES,
    falsify,
    malformed,
    matrix,
)
from support.memory import address
from support.native import name_of

from numpack import InvalidValueError, NumpackError, UnsupportedError
from numpack._dlpack import importing
from numpack.io import from_dlpack


def check_refused(case: str, expected: type[NumpackError], importer: str, versioned: bool):
    tensor = malformed(case, versioned=versioned)
    capsule = tensor.capsule()
    name = name_of(capsule)
    for _ in range(2):
        with pytest.raises(expected):
            IMPORTERS[importer](capsule)
        assert name_of(capsule) == name
    assert tensor.deleted == 0
    valid = matrix(versioned=versioned)
    for field, _ in type(tensor.managed.tensor)._fields_:
        if field != "data":
            setattr(tensor.managed.tensor, field, getattr(valid.managed.tensor, field))
    tensor.managed.tensor.data = address(tensor.array)
    if versioned:
        tensor.managed.major, tensor.managed.flags = 1, 0
    a = IMPORTERS["from_dlpack"](capsule)
    assert a.tolist() == valid.array.tolist()
    assert tensor.deleted == 0
    del a
    assert tensor.deleted == 1


@pytest.mark.parametrize("importer", IMPORTERS)
def test_malformed_capsule_is_refused(importer):
    cells = [
        (case, InvalidValueError, importer, versioned)
        for case in MALFORMED
        for versioned in (False, True)
    ]
    assert_each(cells, check_refused)


@pytest.mark.parametrize("importer", IMPORTERS)
def test_another_major_version_is_refused(importer):
    cells = [(case, InvalidValueError, importer, True) for case in ANOTHER_MAJOR]
    assert_each(cells, check_refused)


@pytest.mark.parametrize("importer", IMPORTERS)
def test_unknown_dtype_or_device_is_refused(importer):
    """Two importers raise InvalidValueError for everything."""
    error = InvalidValueError if importer in ("consume", "view") else UnsupportedError
    cells = [
        (case, error, importer, versioned)
        for case in UNKNOWN_DTYPES | OTHER_DEVICES
        for versioned in (False, True)
    ]
    cells += [(case, error, importer, True) for case in PADDED]
    assert_each(cells, check_refused)


def test_only_the_version_is_read_of_another_major_version():
    """The layout after the version is unknown."""
    tensor = matrix()
    falsify(tensor, major=2, ndim=-5, shape=None, data=None, bits=0, device_type=99)
    with pytest.raises(InvalidValueError, match=r"is of DLPack 2\.0, and this version reads"):
        from_dlpack(tensor.capsule())


@pytest.mark.parametrize("minor", [0, 1, 3, 4, 99, 2**32 - 1])
def test_any_minor_version_is_read(minor):
    tensor = matrix()
    falsify(tensor, minor=minor)
    assert from_dlpack(tensor.capsule()).sum() == 15


@pytest.mark.parametrize("explainer", EXPLAINERS)
def test_explain_agrees_with_share(explainer):
    def check(case):
        tensor = malformed(case)
        capsule = tensor.capsule()
        if case in MALFORMED or case in ANOTHER_MAJOR:
            with pytest.raises(InvalidValueError):
                EXPLAINERS[explainer](capsule)
        else:
            route = EXPLAINERS[explainer](capsule)
            assert not route.supported
            assert route.reason
            assert route.fix
        assert name_of(capsule) == b"dltensor_versioned"
        assert tensor.deleted == 0

    assert_each(REFUSED, check)


@pytest.mark.parametrize("offset", [2**62, 2**63, 2**64 - 8, 2**64 - 2**40])
def test_offset_beyond_the_address_space_is_refused(offset):
    tensor = matrix()
    falsify(tensor, byte_offset=offset)
    with pytest.raises(InvalidValueError):
        from_dlpack(tensor.capsule())
    assert tensor.deleted == 0


def test_refusals_do_not_leak():
    """The number of allocated blocks is the same after thousands of refusals."""
    tensors = [malformed(case) for case in MALFORMED | UNKNOWN_DTYPES | OTHER_DEVICES]
    capsules = [tensor.capsule() for tensor in tensors]

    def growth() -> int:
        gc.collect()
        before = sys.getallocatedblocks()
        for capsule in capsules * 10:
            for take in (from_dlpack, importing.consume_capsule, importing.describe):
                with contextlib.suppress(NumpackError):
                    take(capsule)
        gc.collect()
        return sys.getallocatedblocks() - before

    assert min(growth() for _ in range(3)) < 100
