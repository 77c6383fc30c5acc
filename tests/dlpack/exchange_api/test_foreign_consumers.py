"""The API of other frameworks is called to export arrays to them."""

from __future__ import annotations

import ctypes
import sys

import numpy as np
import pytest
from support.exchange.dlpack import Tensor, Versioned
from support.exchange.tables import failed, framework
from support.memory import address
from support.native import delete

from numpack._dlpack import fast_path, fast_table


class RecordingConsumer:
    """A hand-made consumer that records the managed tensors that it receives."""

    def __init__(self, name, behave):
        self.managed: list[int] = []

        def to_py(managed, out):
            tensor = Versioned.from_address(managed)
            self.managed.append(tensor)
            return behave(self, tensor, out)

        kind = framework(to_py=to_py)
        self.result = kind(None, Tensor(np.arange(1.0)))
        fast_table.register_fast_path(name, (kind,))

    def succeed(self, out):
        ctypes.PyDLL(None).Py_IncRef(ctypes.py_object(self.result))
        out[0] = id(self.result)
        return 0


def test_exported_array_is_alive_until_the_deleter_runs():
    recorder = RecordingConsumer("keeps", lambda self, tensor, out: self.succeed(out))
    a = np.arange(3.0)
    result = recorder.result
    before, held = sys.getrefcount(a), sys.getrefcount(result)
    made = fast_path.try_export(a, "keeps")
    assert made is result
    del made
    assert sys.getrefcount(result) == held
    assert sys.getrefcount(a) == before + 1
    assert recorder.managed[0].tensor.data == address(a)
    delete(recorder.managed[0])
    assert sys.getrefcount(a) == before


def test_consumer_that_copies_and_deletes_at_once():
    def behave(self, tensor, out):
        delete(tensor)
        return self.succeed(out)

    recorder = RecordingConsumer("copies", behave)
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    assert fast_path.try_export(a, "copies") is recorder.result
    assert sys.getrefcount(a) == before


@pytest.mark.parametrize("sets_error", [True, False])
@pytest.mark.parametrize("deletes", [False, True])
def test_failing_consumer_leaks_no_reference(deletes, sets_error):
    """A consumer owns the tensor even if it fails, but some do not delete it then."""

    def behave(self, tensor, out):
        if deletes:
            delete(tensor)
        return failed(sets_error)

    name = f"fails {deletes} {sets_error}"
    recorder = RecordingConsumer(name, behave)
    a = np.arange(3.0)
    before = sys.getrefcount(a)
    for _ in range(3):
        assert fast_path.try_export(a, name) is None
        assert sys.getrefcount(a) == before
    assert len(recorder.managed) == 3


@pytest.mark.parametrize(
    "a",
    [
        np.arange(3.0)[::-1],
        np.arange(3, dtype=">i4"),
        np.zeros(3, "M8[s]"),
        np.frombuffer(b"\0" * 9, "u1")[1:].view("f8"),
        np.broadcast_to(1.0, 3),
        np.zeros(2, "i4,f8"),
        np.ma.array([1.0, 2.0], mask=[False, True]),
        [1.0],
        None,
    ],
    ids=[
        "reversed",
        "swapped",
        "datetime",
        "misaligned",
        "read-only",
        "struct",
        "masked",
        "list",
        "None",
    ],
)
def test_array_that_needs_a_copy_is_not_exported(a):
    recorder = RecordingConsumer("takes all", lambda self, tensor, out: self.succeed(out))
    assert fast_path.try_export(a, "takes all") is None
    assert not recorder.managed


def test_consumer_that_succeeds_without_an_object_does_not_crash(run_python):
    run_python(
        """
import sys
import numpy as np
from numpack._dlpack import fast_path, fast_table
from support.exchange.tables import framework
fast_table.register_fast_path("says yes", (framework(to_py=lambda managed, out: 0),))
a = np.arange(3.0)
try:
    made = fast_path.try_export(a, "says yes")
except SystemError:
    made = None
assert made is None
"""
    )


def test_consumer_whose_exception_keeps_the_tensor_frees_it_once(run_python):
    """The traceback refers to what was made of the tensor, until the exception is freed.

    This package's own exchange API is such a consumer if warnings are errors.
    """
    run_python(
        """
import gc, sys, warnings
import numpy as np
from numpack import ZeroCopyArray
from numpack._dlpack import exchange_api
from numpack._dlpack import fast_path, fast_table
from support.memory import address

class Careful(ZeroCopyArray):
    def __init__(self, array, *, order="C"):
        if array.ndim == 2:
            raise ValueError("not this one")
        super().__init__(array, order=order)

exchange_api.publish(Careful, 1)
fast_table.register_fast_path("careful", (Careful,))
a = np.arange(12.0)
before = sys.getrefcount(a)
made = fast_path.try_export(a, "careful")
assert type(made) is Careful and address(made.array) == address(a)
del made
assert sys.getrefcount(a) == before
b = a.reshape(3, 4)
before = sys.getrefcount(b)
for _ in range(5):
    assert fast_path.try_export(b, "careful") is None
    gc.collect()
    assert sys.getrefcount(b) == before, sys.getrefcount(b) - before
"""
    )
