"""The API of other frameworks is called to import their objects."""

from __future__ import annotations

import ctypes
import gc

import numpy as np
import pytest
from support.exchange.dlpack import Tensor
from support.exchange.tables import (
    ATTRIBUTE,
    Table,
    framework,
    publish,
    register,
    steady,
    table_of,
)
from support.memory import address

from numpack import explain, share
from numpack._dlpack import fast_path, fast_table
from numpack._dlpack.importing import READ_ONLY
from numpack.io import from_dlpack


def test_only_the_exchange_api_is_called(register_type):
    kind = register_type(framework())
    tensor = Tensor(np.arange(6.0).reshape(2, 3).T)
    a = from_dlpack(kind(tensor))
    assert (kind.calls, kind.asked) == (1, 0)
    assert address(a) == address(tensor.array)
    assert a.strides == tensor.array.strides
    assert a.flags.writeable
    kept = a[1:]
    del a
    gc.collect()
    assert tensor.deleted == 0
    del kept
    assert tensor.deleted == 1


IMPORTERS = {
    "from_dlpack": lambda x: from_dlpack(x),
    "from_dlpack copy=None": lambda x: from_dlpack(x, copy=None),
    "from_dlpack copy=False": lambda x: from_dlpack(x, copy=False),
    "share": lambda x: share(x, "numpy"),
    "share copy=None": lambda x: share(x, "numpy", copy=None),
    "share copy=False": lambda x: share(x, "numpy", copy=False),
    "try_import": lambda x: fast_path.try_import(x),
}


@pytest.mark.parametrize("importer", IMPORTERS)
def test_every_importer_that_shares_uses_the_exchange_api(importer):
    kind = register(framework())
    tensor = Tensor(np.arange(3.0))
    a = IMPORTERS[importer](kind(tensor, tensor))
    assert a.tolist() == [0, 1, 2]
    assert (kind.calls, kind.asked) == (1, 0)
    del a
    assert tensor.deleted == 1


def test_copy_is_independent_and_frees_the_tensor():
    kind = register(framework())
    tensor = Tensor(np.arange(3.0))
    a = from_dlpack(kind(tensor, tensor), copy=True)
    a[0] = 7
    assert tensor.array[0] == 0
    assert tensor.deleted == 1


def test_explain_uses_the_python_protocol():
    kind = register(framework())
    tensor = Tensor(np.arange(3.0))
    assert explain(kind(tensor, tensor), "numpy").shares_memory
    assert (kind.calls, kind.asked) == (0, 1)
    assert tensor.deleted == 0  # the hand-made capsule has no destructor


def test_subclass_is_imported_by_the_python_protocol(register_type):
    """Its ``__dlpack__`` may be overridden, which the exchange API does not know."""
    kind = register_type(framework())

    class Sub(kind):
        def __dlpack__(self, **keywords):
            return kept_tensor(np.array([5.0])).capsule()

    steady(Sub)
    for _ in range(2):
        assert from_dlpack(Sub(Tensor(np.arange(3.0)))).tolist() == [5]
    assert kind.calls == 0


def test_type_that_inherits_an_exchange_api_uses_the_python_protocol():
    kind = framework()
    tensor = Tensor(np.arange(3.0))
    sub = steady(type("Sub", (kind,), {}))
    assert from_dlpack(register(sub)(None, tensor)).tolist() == [0, 1, 2]
    assert sub.asked == 1
    assert kind.calls == 0


_tensors = []


def kept_tensor(a):
    _tensors.append(Tensor(a))
    return _tensors[-1]


def test_read_only_flag_is_applied(register_type):
    kind = register_type(framework())
    tensor = Tensor(np.arange(3.0))
    tensor.managed.flags = READ_ONLY
    a = from_dlpack(kind(tensor))
    assert not a.flags.writeable
    with pytest.raises(ValueError, match="read-only|WRITEABLE"):
        a.flags.writeable = True
    del a
    assert tensor.deleted == 1


def test_fast_path_can_make_all_arrays_read_only():
    kind = framework()
    fast_table.register_fast_path(None, (kind,), readonly=True)
    assert not from_dlpack(kind(Tensor(np.arange(3.0)))).flags.writeable


@pytest.mark.parametrize("module", ["jax", "jaxlib._jax"])
def test_arrays_of_jax_are_read_only(module):
    """JAX arrays are immutable, but neither their capsules nor an exchange API says so."""
    kind = framework()
    kind.__module__ = module
    for _ in range(3):
        tensor = Tensor(np.arange(3.0))
        assert not from_dlpack(kind(tensor, tensor)).flags.writeable


def test_null_deleter_is_accepted(register_type):
    kind = register_type(framework())
    tensor = Tensor(np.arange(3.0))
    tensor.managed.deleter = None
    a = from_dlpack(kind(tensor))
    assert a.tolist() == [0, 1, 2]
    del a
    assert tensor.deleted == 0


def test_empty_tensor_is_freed_at_once(register_type):
    kind = register_type(framework())
    tensor = Tensor(np.empty((2, 0)))
    tensor.managed.tensor.data = None
    assert from_dlpack(kind(tensor)).shape == (2, 0)
    assert tensor.deleted == 1
    assert kind.asked == 0


def test_arrays_and_deleters_on_other_threads(register_type):
    import threading

    kind = register_type(framework())
    tensors = [Tensor(np.arange(3.0)) for _ in range(20)]
    held = []
    threads = [
        threading.Thread(target=lambda t=t: held.append(from_dlpack(kind(t)))) for t in tensors
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(held) == 20
    assert not any(tensor.deleted for tensor in tensors)
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert [tensor.deleted for tensor in tensors] == [1] * 20


def test_many_types_have_a_fast_path():
    kinds = [register(framework()) for _ in range(200)]
    for number, kind in enumerate(kinds):
        assert from_dlpack(kind(Tensor(np.array([float(number)])))).tolist() == [number]
        assert (kind.calls, kind.asked) == (1, 0)


def test_fast_path_is_registered_once():
    kind = framework()
    fast_table.register_fast_path(None, (kind,), readonly=True)
    fast_table.register_fast_path(None, (kind,))
    assert not from_dlpack(kind(Tensor(np.arange(3.0)))).flags.writeable


def test_previous_version_of_a_newer_api_is_used():
    kind = framework()
    old = table_of(kind)
    publish(kind, Table(major=2, minor=0, prev_api=ctypes.addressof(old), from_py_object=1))
    tensor = Tensor(np.arange(3.0))
    assert from_dlpack(register(kind)(tensor)).tolist() == [0, 1, 2]
    assert (kind.calls, kind.asked) == (1, 0)


def unusable_table(how):
    kind = framework()
    if how == "another major version":
        publish(kind, Table(major=2, minor=0, from_py_object=1))
    elif how == "another name":
        publish(kind, table_of(kind), b"dlpack_exchange_api_v2")
    elif how == "no name":
        publish(kind, table_of(kind), None)
    elif how == "no capsule":
        setattr(kind, ATTRIBUTE, 12345)
    else:
        setattr(kind, ATTRIBUTE, property(lambda self: 1 / 0))
    return kind


@pytest.mark.parametrize(
    "how", ["another major version", "another name", "no name", "no capsule", "a property"]
)
def test_unknown_exchange_api_is_not_used(how):
    kind = unusable_table(how)
    for _ in range(3):
        tensor = Tensor(np.arange(3.0))
        a = from_dlpack(kind(tensor, tensor))
        assert a.tolist() == [0, 1, 2]
        del a
        assert tensor.deleted == 1
    assert kind.calls == 0
    assert kind.asked == 3


def test_dlpack_method_on_the_object_only():
    """The import succeeds although no fast path can be registered for the type."""
    kind = framework()
    bare = type("Bare", (), {ATTRIBUTE: getattr(kind, ATTRIBUTE)})
    tensor = Tensor(np.arange(3.0))
    obj = bare()
    obj.tensor, obj.__dlpack__ = tensor, lambda **_: tensor.capsule()
    a = from_dlpack(obj)
    assert a.tolist() == [0, 1, 2]
    del a
    assert tensor.deleted == 1


def test_fast_path_is_per_framework():
    kind = framework()
    fast_table.register_fast_path("one", (kind,))
    tensor = Tensor(np.arange(3.0))
    assert fast_path.try_import(kind(tensor), "another") is None
    assert kind.calls == 0
    assert fast_path.try_import(kind(tensor), "one").tolist() == [0, 1, 2]
    assert fast_path.try_export(np.zeros(3), "no framework at all") is None
    with pytest.raises(TypeError):
        fast_path.try_export(np.zeros(3), [])
