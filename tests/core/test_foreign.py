"""`share` and `explain` with producers that raise, and with producers that compute."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

import numpack
from numpack import (
    CopyWarning,
    NoMemoryError,
    NumpackError,
    UnsupportedError,
    ZeroCopyError,
    explain,
    share,
)
from numpack.io import from_dlpack


class PanicError(BaseException):
    """A BaseException that is not an Exception, like the panics of Rust libraries."""


class MuteError(Exception):
    def __str__(self):
        raise RuntimeError("no text")


ERRORS = [
    *(BufferError("no memory today"), RuntimeError("no memory today"), KeyError("x")),
    *(ValueError("a\nb"), TypeError("t"), AttributeError("x"), RecursionError("deep")),
    *(OSError(5, "io"), NotImplementedError(), StopIteration(), AssertionError("x")),
    *(PanicError("called `Option::unwrap()`"), MuteError(), ImportError("no module y")),
    *(UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"), ZeroDivisionError(), EOFError()),
]


def raising(protocol: str, error: BaseException):
    """Return an object that raises when a protocol's method is called or attribute read."""

    def fail(self, *_, **__):
        raise error

    members = {"__dlpack_device__": lambda self: (1, 0), "__len__": lambda self: 3}
    called = protocol in ("__dlpack__", "__arrow_c_array__", "__arrow_c_stream__", "__buffer__")
    members[protocol] = fail if called else property(fail)
    return type("Raising", (), members)()


PROTOCOLS = ["__dlpack__", "__array_interface__", "__array_struct__"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_error_of_a_producer_is_a_refusal(protocol):
    for error in ERRORS:
        x = raising(protocol, error)
        with contextlib.suppress(NumpackError):  # both calls refuse an invalid interface
            assert not explain(x, "numpy").supported, error
        for copy in (None, False, True):
            with pytest.raises(NumpackError) as caught:
                share(x, "numpy", copy=copy)
            assert error in (caught.value.__cause__, caught.value.__context__)


def test_error_message_of_a_producer_is_reported():
    x = raising("__dlpack__", PanicError("called `Option::unwrap()` on a None"))
    text = r"PanicError: called `Option::unwrap\(\)` on a None"
    with pytest.raises(UnsupportedError, match=text):
        share(x, "numpy")
    route = explain(x, "numpy")
    assert "PanicError: called" in route.reason
    assert route.fix
    with pytest.raises(UnsupportedError, match=text):
        from_dlpack(x)


def test_keyboard_interrupt_and_system_exit_propagate():
    for error in (KeyboardInterrupt(), SystemExit(3)):
        x = raising("__dlpack__", error)
        for call in (explain, share):
            with pytest.raises(type(error)):
                call(x, "numpy")
        with pytest.raises(type(error)):
            from_dlpack(x)


def test_warning_as_error_propagates():
    x = raising("__dlpack__", DeprecationWarning("old"))
    with pytest.raises(DeprecationWarning):
        share(x, "numpy")


def test_memory_error_of_a_producer_is_a_memory_error():
    x = raising("__dlpack__", MemoryError("no 8 GiB"))
    for call in (explain, share):
        with pytest.raises(NoMemoryError, match="no 8 GiB") as caught:
            call(x, "numpy")
        assert isinstance(caught.value, MemoryError)


def test_object_whose_attributes_all_raise_is_refused():
    class Hostile:
        def __getattribute__(self, name):
            raise RuntimeError("leave me alone")

    for call in (explain, share):
        try:
            assert not call(Hostile(), "numpy").supported
        except NumpackError:
            continue


def test_len_and_repr_that_raise_are_ignored():
    class Odd:
        __array_interface__ = np.zeros(3).__array_interface__

        def __len__(self):
            raise RuntimeError("how long is a piece of string")

        def __repr__(self):
            raise RuntimeError("what am I")

    kept = Odd()
    assert share(kept, "numpy").shape == (3,)
    assert explain(kept, "numpy").shares_memory


# Producers that compute -------------------------------------------------------------------

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


# Lists of arrays --------------------------------------------------------------------------


def test_list_of_arrays_is_stacked():
    for x in ([VALUES, VALUES + 1], (VALUES[::-1], VALUES), [np.zeros(()), np.ones(())]):
        want = np.stack(x)
        route = explain(x, "numpy")
        assert (route.source, route.nbytes) == ("sequence", want.nbytes)
        with pytest.raises(ZeroCopyError, match="has memory of its own"):
            share(x, "numpy", copy=False)
        with pytest.warns(CopyWarning):
            got = share(x, "numpy")
        np.testing.assert_array_equal(got, want)
        assert got.dtype == want.dtype
        np.testing.assert_array_equal(share(x, "numpy", copy=True), want)


def test_masks_in_a_list_are_kept():
    hidden = np.ma.array([1, 2], mask=[True, False])
    stacked = share([hidden, np.array([3, 4])], "numpy", copy=True)
    assert stacked.tolist() == [[None, 2], [3, 4]]


def test_list_of_different_arrays_is_refused():
    for x in ([np.zeros(2), np.zeros(3)], [np.zeros(2), np.zeros(2, "f4")]):
        assert not explain(x, "numpy").supported
        with pytest.raises(UnsupportedError, match="one by one"):
            share(x, "numpy", copy=True)


# Objects that are not arrays --------------------------------------------------------------


def test_asarray_is_suggested_only_where_it_helps():
    for x in ([1, 2], (1.5,), [[1], [2]], 3, 2.5, True, 1j, np.float32(1), range(3), ["a"]):
        with pytest.raises(numpack.WrongTypeError, match=r"pass np\.asarray\(x\)"):
            share(x, "numpy")
        assert np.asarray(x).dtype != object
    for x in (object(), None, [], [[1], [1, 2]], [None, object()], [{"a": 1}], {1}, iter([])):
        with pytest.raises(numpack.WrongTypeError) as caught:
            share(x, "numpy")
        assert ("np.asarray" in str(caught.value)) == (isinstance(x, list) and not x)
