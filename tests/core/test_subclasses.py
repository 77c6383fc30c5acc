"""ndarray subclasses: inspected without running their code, and refused if masked."""

from __future__ import annotations

import numpy as np
import pytest
from support.each import for_each
from support.exchange.subclasses import Hooked, Masked, Owned, Unreadable, of_class

import numpack
from numpack import UnsupportedError, ZeroCopyArray, explain, share
from numpack._core.memory import hides_values
from numpack._core.owner import base_view


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


@for_each("dtype", ["f4", "?", "M8[D]", "U2", "S2", "i8", "O"])
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


def test_store_refuses_a_masked_subclass(tmp_path):
    array = Masked([1.0, 2.0], [True, False])
    with (
        numpack.NumPack(tmp_path / "s.npk") as store,
        pytest.raises(UnsupportedError, match="mask would be lost"),
    ):
        store.save({"x": array})
