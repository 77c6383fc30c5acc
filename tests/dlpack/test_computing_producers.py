"""Producers that compute their memory at each request, and those that export it once."""

from __future__ import annotations

import numpy as np
import pytest

from numpack import CopyWarning, ZeroCopyError, explain, share
from numpack.io import from_dlpack

VALUES = np.arange(6.0).reshape(2, 3)


class ComputedData:
    @property
    def __array_interface__(self):
        data = VALUES.tobytes()
        return {"shape": (2, 3), "typestr": "<f8", "data": data, "version": 3}


class ComputedAddress:
    """Keeps only its last result alive, so earlier ones must not be read any more."""

    @property
    def __array_interface__(self):
        self.last = VALUES.copy()
        return self.last.__array_interface__


class ComputedStruct:
    @property
    def __array_struct__(self):
        self.last = VALUES.copy()
        return self.last.__array_struct__


class ComputedCapsule:
    def __dlpack__(self, **_):
        return VALUES.copy().__dlpack__()

    def __dlpack_device__(self):
        return (1, 0)


COMPUTED = [ComputedData, ComputedAddress, ComputedStruct, ComputedCapsule]


@pytest.mark.parametrize("kind", COMPUTED)
def test_copy_by_a_producer_warns_or_is_refused(kind):
    x = kind()
    route = explain(x, "numpy")
    assert route.supported
    assert not route.shares_memory
    assert route.nbytes == VALUES.nbytes
    with pytest.raises(ZeroCopyError, match="each time|at each"):
        share(x, "numpy", copy=False)
    with pytest.warns(CopyWarning, match="each time|at each"):
        np.testing.assert_array_equal(share(x, "numpy"), VALUES)
    own = share(x, "numpy", copy=True)
    np.testing.assert_array_equal(own, VALUES)
    assert own.flags.writeable


def test_from_dlpack_warns_of_a_copy_by_the_producer():
    for _ in range(2):
        with pytest.raises(ZeroCopyError):
            from_dlpack(ComputedCapsule(), copy=False)
        with pytest.warns(CopyWarning):
            np.testing.assert_array_equal(from_dlpack(ComputedCapsule()), VALUES)


def test_computed_booleans_are_normalized_to_0_and_1():
    class Bytes:
        @property
        def __array_interface__(self):
            return {"shape": (3,), "typestr": "|b1", "data": bytes([0, 2, 1]), "version": 3}

    own = share(Bytes(), "numpy", copy=True)
    assert own.view("u1").tolist() == [0, 1, 1]


def test_producer_of_the_same_memory_each_time_is_shared():
    values = np.arange(12.0)[::-2]  # negative strides, through a property

    class Same:
        @property
        def __array_interface__(self):
            return values.__array_interface__

    class Struct:
        @property
        def __array_struct__(self):
            return values.__array_struct__

    class Capsule:
        def __dlpack__(self, **_):
            return values[::-1].__dlpack__()

        def __dlpack_device__(self):
            return (1, 0)

    for x in (Same(), Struct(), Capsule()):
        assert explain(x, "numpy").shares_memory
        assert np.shares_memory(share(x, "numpy", copy=False), values)
    assert np.shares_memory(from_dlpack(Capsule(), copy=False), values)


def test_producer_that_exports_only_once_is_imported():
    class Once:
        left = 1

        def __dlpack__(self, **_):
            if not self.left:
                raise RuntimeError("it is gone")
            self.left = 0
            return VALUES.__dlpack__()

        def __dlpack_device__(self):
            return (1, 0)

    assert np.shares_memory(share(Once(), "numpy", copy=False), VALUES)
    assert np.shares_memory(from_dlpack(Once(), copy=False), VALUES)
