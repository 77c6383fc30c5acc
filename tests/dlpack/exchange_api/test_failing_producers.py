"""The API of other frameworks that fails, exports malformed tensors, or has a guard."""

from __future__ import annotations

import numpy as np
import pytest
from support.each import assert_each
from support.exchange.dlpack import Tensor
from support.exchange.malformed_tensors import REFUSED, malformed
from support.exchange.tables import framework, native, register

from numpack import CopyWarning, InvalidValueError, UnsupportedError, ZeroCopyError, share
from numpack._dlpack import fast_path, fast_table
from numpack._dlpack.importing import IS_COPIED
from numpack.io import from_dlpack


def failing(error=None, status=None):
    """Return a type whose exchange API exports with ``PyObject_AsFileDescriptor``.

    That function calls the object's ``fileno``: if it raises, -1 is returned with the
    exception set; if it returns a number, that is returned without an exception.
    """
    kind = framework(native("PyObject_AsFileDescriptor"))

    def fileno(self):
        type(self).calls += 1
        if error is not None:
            raise error
        return status

    kind.fileno = fileno
    return register(kind)


@pytest.mark.parametrize(
    "error", [RuntimeError("x"), TypeError("x"), BufferError("x"), MemoryError("x")], ids=repr
)
def test_failure_falls_back_to_the_python_protocol(error):
    kind = failing(error)
    tensor = Tensor(np.arange(3.0))
    for convert in (from_dlpack, lambda x: share(x, "numpy")):
        assert convert(kind(None, tensor)).tolist() == [0, 1, 2]
    assert (kind.calls, kind.asked) == (2, 2)
    assert tensor.deleted == 2


def test_failure_of_both_raises_the_error_of_the_python_protocol():
    def refuse():
        raise BufferError("these are not the values that you look for")

    kind = failing(RuntimeError("from the table"))
    with pytest.raises(ZeroCopyError, match="refuses, these are not the values") as caught:
        from_dlpack(kind(None, refuse))
    assert "from the table" not in str(caught.value)


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_base_exceptions_propagate(error):
    kind = failing(error())
    with pytest.raises(error):
        from_dlpack(kind(None, Tensor(np.arange(3.0))))
    assert kind.asked == 0


def test_failure_without_an_exception_falls_back():
    kind = failing(status=7)
    tensor = Tensor(np.arange(3.0))
    assert from_dlpack(kind(None, tensor)).tolist() == [0, 1, 2]
    assert kind.calls == 1


def test_success_without_a_tensor_does_not_crash(run_python):
    run_python(
        """
import numpy as np
from numpack._dlpack import fast_path, fast_table
from numpack.io import from_dlpack
from support.exchange.dlpack import Tensor
from support.exchange.tables import framework
kind = framework(lambda obj, out: 0)
fast_table.register_fast_path(None, (kind,))
assert from_dlpack(kind(None, Tensor(np.arange(3.0)))).tolist() == [0, 1, 2]
"""
    )


def test_malformed_tensor_is_freed_once_and_falls_back(register_type):
    def check(case):
        kind = register_type(framework())
        tensor, valid = malformed(case), Tensor(np.arange(3.0))
        a = from_dlpack(kind(tensor, valid))
        assert (kind.calls, kind.asked) == (1, 1)
        assert tensor.deleted == 1
        assert a.tolist() == [0, 1, 2]
        del a
        assert valid.deleted == 1

    assert_each(REFUSED, check)


EXPECTED_ERRORS = {
    "code 99": (UnsupportedError, "no dtype"),
    "2 lanes": (UnsupportedError, "no dtype"),
    "major 2": (InvalidValueError, "is of DLPack 2"),
    "no data": (InvalidValueError, "pointer is NULL"),
    "extent -1": (InvalidValueError, "negative extent"),
    "stride whose bytes are 2**64": (InvalidValueError, "exceed the address space"),
}


def test_malformed_tensor_of_both_is_refused(register_type):
    def check(case):
        kind = register_type(framework())
        error, message = EXPECTED_ERRORS[case]
        for convert in (from_dlpack, lambda x: share(x, "numpy")):
            tensor, again = malformed(case), malformed(case)
            with pytest.raises(error, match=message):
                convert(kind(tensor, again))
            assert tensor.deleted == 1
            assert again.deleted == 0  # its capsule is not consumed

    assert_each(EXPECTED_ERRORS, check)


def test_tensor_on_another_device_from_both_is_refused(register_type):
    kind = register_type(framework())
    tensor, again = malformed("device 2"), malformed("device 2")
    with (
        pytest.warns(CopyWarning, match=r"on device \(2, 0\)"),
        pytest.raises(UnsupportedError, match="its producer cannot move it"),
    ):
        from_dlpack(kind(tensor, again))
    assert tensor.deleted == 1
    assert again.deleted == 0


def test_copy_by_the_exchange_api_warns_or_is_refused(register_type):
    kind = register_type(framework())
    tensor, again = Tensor(np.arange(3.0)), Tensor(np.arange(3.0))
    tensor.managed.flags = again.managed.flags = IS_COPIED
    with pytest.warns(CopyWarning, match="its producer made a copy"):
        a = from_dlpack(kind(tensor, again))
    assert a.tolist() == [0, 1, 2]
    del a
    assert (tensor.deleted, again.deleted) == (1, 1)
    with pytest.raises(ZeroCopyError, match="its producer made a copy"):
        from_dlpack(kind(tensor, again), copy=False)
    assert again.deleted == 1


@pytest.mark.parametrize("answer", [True, None, 0, 1, "no"])
def test_guard_allows_the_fast_path_only_if_it_returns_false(answer):
    kind = framework()
    fast_table.register_fast_path(None, (kind,), guard=lambda obj: answer)
    tensor = Tensor(np.arange(3.0))
    assert fast_path.try_import(kind(tensor)) is None
    assert from_dlpack(kind(tensor, tensor)).tolist() == [0, 1, 2]
    assert (kind.calls, kind.asked) == (0, 1)


def test_guard_that_raises_disables_the_fast_path():
    kind = framework()
    fast_table.register_fast_path(None, (kind,), guard=lambda obj: 1 / 0)
    tensor = Tensor(np.arange(3.0))
    assert from_dlpack(kind(tensor, tensor)).tolist() == [0, 1, 2]
    assert kind.calls == 0


def test_dtype_guard_is_called_for_complex_and_int8_only():
    asked = []
    kind = framework()
    fast_table.register_fast_path(
        None, (kind,), dtype_guard=lambda obj: asked.append(1) is None
    )
    real = Tensor(np.arange(3.0))
    assert from_dlpack(kind(real)).tolist() == [0, 1, 2]
    assert not asked
    tensor = Tensor(np.array([1 + 2j]))
    tensor.managed.tensor.dtype.code = 5
    assert from_dlpack(kind(tensor, tensor)).tolist() == [1 + 2j]
    assert asked == [1]
    assert (kind.calls, kind.asked) == (2, 1)
    assert tensor.deleted == 2
    tensor = Tensor(np.array([1, 2], "i1"))
    tensor.managed.tensor.dtype.code = 0
    assert from_dlpack(kind(tensor, tensor)).tolist() == [1, 2]
    assert asked == [1, 1]
