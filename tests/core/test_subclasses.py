"""ndarray subclasses: kept alive, inspected without running their code, masks refused."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from support.pointers import rows_behind_pointers
from support.subclasses import Hooked, Masked, Owned, Unreadable, of_class, owned

import numpack
from numpack import UnsupportedError, ZeroCopyArray, explain, share
from numpack._core.memory import hides_values
from numpack._core.owner import base_view
from numpack.io import DLPackBuffer, from_dlpack, to_dlpack

ROUTES = {
    "numpy": lambda a: share(a, "numpy"),
    "buffer": lambda a: share(a, "buffer"),
    "dlpack": lambda a: np.from_dlpack(share(a, "dlpack")),
    "array interface": lambda a: share(a, "array_interface"),
    "to_dlpack": lambda a: from_dlpack(to_dlpack(a)),
    "wrapper": lambda a: np.from_dlpack(ZeroCopyArray(a)),
    "buffer of it": lambda a: share(memoryview(a), "numpy"),
    "view of a view": lambda a: share(share(a, "buffer"), "numpy")[..., 1:].T,
}


@pytest.mark.parametrize("kind", [Owned, np.ndarray], ids=["subclass", "plain"])
@pytest.mark.parametrize("route", ROUTES)
def test_result_keeps_the_original_array_alive(route, kind):
    gone: list[str] = []
    array = owned(gone, kind=kind)
    result = ROUTES[route](array)
    del array
    gc.collect()
    assert not gone
    del result
    gc.collect()
    assert gone


def test_result_keeps_its_producer_alive():
    class Interface:
        def __init__(self, array):
            self.__array_interface__ = array.__array_interface__
            self.array = array

    class Producer:
        def __init__(self, array):
            self.array = array

        def __dlpack__(self, **keywords):
            return self.array.__dlpack__(**keywords)

        def __dlpack_device__(self):
            return (1, 0)

    a = np.arange(4.0)
    for make in (Interface, Producer, lambda x: memoryview(x)):
        gone: list[str] = []
        given = make(a)
        weakref.finalize(given, gone.append, "gone")
        result = share(given, "numpy", copy=False)
        del given
        gc.collect()
        assert not gone
        assert np.shares_memory(result, a)
        del result
        gc.collect()
        assert gone


def test_base_view_has_the_memory_and_strides_of_the_array():
    whole = np.arange(24.0).reshape(2, 3, 4).copy()
    for array in (whole, whole[:, ::-1], whole[:1], whole[..., 2], whole.T, whole[0, 0, 0:1]):
        view = base_view(of_class(array, Hooked))
        assert type(view) is np.ndarray
        assert np.array_equal(view, array)
        assert np.shares_memory(view, array)
        assert view.flags.writeable
        steps = zip(view.shape, view.strides, array.strides, strict=True)
        assert all(n == 1 or mine == its for n, mine, its in steps)
    readonly = whole.view(Owned)
    readonly.flags.writeable = False
    assert not base_view(readonly).flags.writeable
    strings = np.array(["a", "b" * 40], np.dtypes.StringDType()).view(Owned)
    assert base_view(strings).tolist() == ["a", "b" * 40]
    assert base_view(whole) is whole


def test_exported_stride_of_a_length_1_axis():
    odd = np.lib.stride_tricks.as_strided(np.arange(3.0), (1, 3), (1000, 8))
    for make in (ZeroCopyArray, DLPackBuffer):
        assert [np.from_dlpack(make(odd, order="K")).strides for _ in range(3)] == [(24, 8)] * 3


@pytest.mark.parametrize("dtype", ["f4", "?", "M8[D]", "U2", "S2", "i8", "O"])
def test_code_of_a_subclass_does_not_run(dtype):
    array = of_class(np.zeros(2, dtype), Hooked)
    for target in ("numpy", "buffer", "dlpack", "array_interface"):
        route = explain(array, target)
        if not route.supported:
            with pytest.raises(UnsupportedError):
                share(array, target)
            continue
        share(array, target)
        share(array, target, copy=True)


MASK = [False, True, False]


def test_masked_subclass_is_refused():
    array = Masked([1.0, -999.0, 3.0], MASK)
    for target in ("buffer", "dlpack", "array_interface"):
        assert not explain(array, target).supported
        with pytest.raises(UnsupportedError, match=r"array\.filled") as caught:
            share(array, target)
        assert caught.value.fix == explain(array, target).fix
        assert -999.0 not in np.asarray(share(array.filled(0), "buffer"))
        assert np.asarray(share(np.asarray(array), "buffer"))[1] == -999.0
    assert share(array, "numpy") is array
    with pytest.raises(UnsupportedError, match=r"array\.copy\(\)"):
        share(array, "numpy", copy=True)
    with pytest.raises(UnsupportedError):
        np.asarray(ZeroCopyArray(array))
    with pytest.raises(UnsupportedError):
        share(of_class(np.zeros(3), Unreadable), "buffer")


def test_hides_values_only_with_a_true_mask():
    plain = np.zeros(3)
    record = np.rec.array([(1, 2.0)], dtype=[("mask", "i4"), ("b", "f8")])
    method = type("Method", (np.ndarray,), {"mask": lambda self: [True]})
    for array in (Masked([1.0, 2.0], [False, False]), record, of_class(plain, method), plain):
        assert not hides_values(array)
    fields = np.array([(False, True)], [("a", "?"), ("b", "?")])
    assert hides_values(Masked(np.zeros(1, "f4,f4"), fields))
    assert np.asarray(share(Masked([1.0, 2.0], False), "buffer")).tolist() == [1, 2]


def test_producer_that_calls_itself_is_refused():
    class Circular:
        def __dlpack_device__(self):
            return (1, 0)

        def __dlpack__(self, **keywords):
            return share(self, "numpy").__dlpack__(**keywords)

    with pytest.raises((UnsupportedError, RecursionError), match="recursion depth"):
        share(Circular(), "numpy")


def test_store_refuses_a_masked_subclass(tmp_path):
    array = Masked([1.0, 2.0], [True, False])
    with (
        numpack.NumPack(tmp_path / "s.npk") as store,
        pytest.raises(UnsupportedError, match="mask would be lost"),
    ):
        store.save({"x": array})


def test_copy_keeps_the_dtype():
    swapped = np.array([1, 2], ">i2")
    struct = np.zeros(2, [("a", ">i4"), ("b", "<f8")])
    for array in (swapped, struct):
        for given in (array, memoryview(array)):
            own = share(given, "numpy", copy=True)
            assert own.dtype == share(given, "numpy").dtype == array.dtype
            assert own.tolist() == array.tolist()
            assert own.ctypes.data % 64 == 0
            assert not np.shares_memory(own, array)


def test_buffer_with_suboffsets_is_copied():
    view, _memory = rows_behind_pointers(b"i")
    assert view.suboffsets == (0, -1)
    assert explain(view, "numpy").nbytes == 24
    with pytest.warns(numpack.CopyWarning, match="through pointers"):
        array = share(view, "numpy")
    assert array.tolist() == [[1, 2, 3], [4, 5, 6]]
    with pytest.raises(numpack.ZeroCopyError):
        share(view, "numpy", copy=False)
