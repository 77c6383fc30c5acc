"""Producers that raise: any error is a refusal, with the message of the producer."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest

from numpack import NoMemoryError, NumpackError, UnsupportedError, explain, share
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


def test_producer_that_calls_itself_is_refused():
    class Circular:
        def __dlpack_device__(self):
            return (1, 0)

        def __dlpack__(self, **keywords):
            return share(self, "numpy").__dlpack__(**keywords)

    with pytest.raises((UnsupportedError, RecursionError), match="recursion depth"):
        share(Circular(), "numpy")
