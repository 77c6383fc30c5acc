"""The table of the fast path: what its halves may return, and which arrays they get."""

from __future__ import annotations

import numpy as np
import pytest
from support.each import for_each

from numpack import ReadOnlyWarning, ZeroCopyArray
from numpack._dlpack.fast_path import enable_fast_path, try_export, try_import
from numpack._dlpack.fast_table import register_export, register_import

ARRAY = ZeroCopyArray(np.arange(24, dtype="f4"), copy=True).array


class PanicException(BaseException):
    """In place of the exception of Rust code, which is no `Exception`."""


def importing(view, **conditions):
    """Return what `try_import` makes of an object of a new type."""
    kind = type("Kind", (), {})
    register_import("made up", (kind,), view=view, **conditions)
    return try_import(kind(), "made up")


def exporting(array, **conditions):
    """Return the arrays that a framework gets which is registered with some conditions."""
    got = []
    register_export("made up", got.append, **{"dtypes": "fd", **conditions})
    try_export(array, "made up")
    return got


@for_each("error", [ValueError("x"), TypeError("x"), MemoryError(), PanicException("x")])
def test_half_that_raises_declines(error):
    def fail(_):
        raise error

    assert importing(fail) is None
    register_export("fails", fail, dtypes="f")
    assert try_export(ARRAY, "fails") is None


@for_each("error", [KeyboardInterrupt(), SystemExit(1), GeneratorExit()])
def test_other_exceptions_propagate(error):
    def fail(_):
        raise error

    with pytest.raises(type(error)):
        importing(fail)
    register_export("fails", fail, dtypes="f")
    with pytest.raises(type(error)):
        try_export(ARRAY, "fails")


@for_each("result", [None, 1, [1.0], np.ma.array([1.0]), np.float32(1)])
def test_what_is_no_array_declines(result):
    assert importing(lambda _: result) is None


def test_conditions_of_imports():
    assert importing(lambda _: ARRAY) is ARRAY
    assert importing(lambda _: ARRAY, dtypes="d") is None
    assert importing(lambda _: ARRAY, dtypes="df") is ARRAY
    assert importing(lambda _: ARRAY[:0], dtypes="f") is None
    found = importing(lambda _: ARRAY, readonly=True)
    assert not found.flags.writeable
    assert np.shares_memory(found, ARRAY)
    assert ARRAY.flags.writeable


def test_owned_array_keeps_the_object_alive():
    assert importing(lambda _: np.arange(3), owned=True) is None  # a copy
    found = importing(lambda _: ARRAY[1:], owned=True)
    assert type(found.base.source).__name__ == "Kind"


def test_arrays_that_meet_the_conditions_are_exported():
    [found] = exporting(ARRAY)
    assert found is ARRAY or np.shares_memory(found, ARRAY)
    [found] = exporting(ARRAY.reshape(2, 12).T, order="K")
    assert found.shape == (12, 2)
    [found] = exporting(ARRAY[1:2][None], as_is=True)
    assert found.shape == (1, 1)


DECLINED = {
    "dtype": (ARRAY.view("i4"), {}),
    "byte order": (ARRAY.astype(">f4"), {}),
    "alignment to the items": (np.zeros(9, "u1")[1:].view("f4"), {}),
    "alignment": (ARRAY[1:], {"alignment": 64}),
    "order": (ARRAY[::2], {}),
    "empty": (ARRAY[:0], {}),
    "dimensions": (ARRAY.reshape(2, 12), {"ndim": (1, 1)}),
    "0-d": (ARRAY[0:1].reshape(()), {}),
    "subclass": (np.ma.array(ARRAY), {}),
    "complex": (np.zeros(33, "u1")[8 - np.zeros(1).ctypes.data % 8 :][:16].view("c16"), {}),
}


@for_each("name", DECLINED)
def test_other_arrays_are_not_exported(name):
    array, conditions = DECLINED[name]
    assert exporting(array, **conditions) == []


def test_read_only_memory():
    values = ARRAY.view()
    values.flags.writeable = False
    [found] = exporting(values)
    assert not found.flags.writeable
    assert len(exporting(values, may_write=True)) == 1  # on the heap
    register_export("warns", lambda _: 1, dtypes="f", may_write=True, caution=lambda _: "text")
    with pytest.warns(ReadOnlyWarning, match="text") as caught:
        assert try_export(values, "warns") == 1
    assert caught[0].filename == __file__


def test_file_that_is_mapped_read_only_is_not_exported(tmp_path):
    (tmp_path / "file").write_bytes(bytes(4096))
    values = np.memmap(tmp_path / "file", "f4", mode="r").view(np.ndarray)
    assert len(exporting(values)) == 1
    assert exporting(values, may_write=True) == []


def test_switch():
    assert enable_fast_path(False) is True
    try:
        assert importing(lambda _: ARRAY) is None
        assert exporting(ARRAY) == []
    finally:
        assert enable_fast_path(True) is False
