"""Arrays over the memory of tensors that change, are freed, or end on other threads."""

from __future__ import annotations

import contextlib
import threading
import warnings
import weakref

import numpy as np
import pytest
import torch
from support.each import for_each
from support.exchange.tensors import CHANGES, TO_NUMPY, reuse_freed_memory
from support.memory import address

from numpack import UnsupportedError, explain


@for_each("change", CHANGES)
def test_array_keeps_its_memory_when_the_tensor_changes(change):
    """torch may refuse a change because the memory is shared."""
    for way, convert in TO_NUMPY.items():
        t = torch.arange(1000.0)
        a = convert(t)
        before = address(a)
        with contextlib.suppress(RuntimeError), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            CHANGES[change](t)
        del t
        kept = reuse_freed_memory()
        assert address(a) == before, way
        assert np.array_equal(a, np.arange(1000.0)), way
        assert len(kept) == 60


@for_each("kind", ["tensor", "parameter", "needs grad", "view"])
def test_memory_is_freed_with_the_last_array(to_numpy, kind):
    """Observed by a weak reference to the array under the tensor."""
    memory = np.arange(1000.0)
    end = weakref.ref(memory)
    t = torch.from_numpy(memory)
    del memory
    if kind == "parameter":
        t = torch.nn.Parameter(t, requires_grad=False)
    elif kind == "needs grad":
        t.requires_grad_()
    elif kind == "view":
        t = t[1:]
    a = to_numpy(t)
    t.data = torch.zeros(3, dtype=torch.float64)
    assert end() is not None
    del t
    assert end() is not None
    b = a[5:]
    del a
    assert end() is not None
    del b
    assert end() is None


def test_converting_a_module_does_not_change_shared_arrays(to_numpy):
    """`module.double()`, like `half()` and `to()`, assigns new data to each parameter."""
    memory = np.ones((40, 30), "f4")
    end = weakref.ref(memory)
    module = torch.nn.Linear(30, 40)
    module.weight = torch.nn.Parameter(torch.from_numpy(memory))
    del memory
    a = to_numpy(module.weight)
    module.double()
    assert module.weight.dtype == torch.float64
    assert end() is not None
    assert (a == 1).all()
    del a
    assert end() is None


def test_tensors_can_be_swapped_after_a_conversion(to_numpy):
    """`module.to` does so with `torch.__future__.set_swap_module_params_on_conversion`."""
    t, other = torch.arange(3.0), torch.arange(5.0)
    try:
        torch.utils.swap_tensors(t, other)
    except RuntimeError:
        pytest.fail("torch itself does not swap these")
    a = to_numpy(t)
    del a
    torch.utils.swap_tensors(t, other)
    assert t.tolist() == [0, 1, 2]


CHANGES_BEFORE = {  # applied to the tensor before its conversion
    "given other data": lambda t: setattr(t, "data", torch.arange(5.0)),
    "set to another": lambda t: t.set_(torch.arange(5.0)),
    "resized smaller": lambda t: t.resize_(5),
}


@for_each("change", CHANGES_BEFORE)
def test_tensor_changed_before_the_conversion(to_numpy, change):
    t = torch.arange(1000.0)
    CHANGES_BEFORE[change](t)
    a = to_numpy(t)
    assert a.tolist() == [0, 1, 2, 3, 4]
    assert address(a) == t.data_ptr()


def test_tensor_reset_by_set_is_empty(to_numpy):
    t = torch.arange(1000.0)
    t.set_()
    assert to_numpy(t).shape == (0,)


FREED = {
    "the tensor": lambda t: t,
    "a view of its beginning": lambda t: t[:500],
    "a view further on": lambda t: t[5:],
    "every other element": lambda t: t[1::2],
    "rows": lambda t: t.view(10, 100)[3],
}


def result_types(t):
    """Return the type of each result or exception; printing such a tensor would crash."""
    found = {}
    for way, convert in TO_NUMPY.items():
        try:
            found[way] = type(convert(t))
        except Exception as error:
            found[way] = type(error)
    return found


@for_each("view", FREED)
def test_tensor_with_a_freed_storage_is_refused(view):
    t = torch.arange(1000.0)
    v = FREED[view](t)
    t.untyped_storage().resize_(0)
    supported, found = explain(v, "numpy").supported, result_types(v)
    assert not supported
    assert found == dict.fromkeys(TO_NUMPY, UnsupportedError)


@for_each("nbytes", [8, 3996])
def test_tensor_that_exceeds_its_storage_is_refused(nbytes):
    """The last elements of the tensor lie outside its storage."""
    t = torch.arange(1000.0)
    t.untyped_storage().resize_(nbytes)
    found = result_types(t)
    assert found == dict.fromkeys(TO_NUMPY, UnsupportedError)


def test_array_and_tensor_are_freed_on_other_threads(to_numpy):
    memory = [np.arange(1000.0) for _ in range(20)]
    ends = [weakref.ref(each) for each in memory]
    tensors = [torch.from_numpy(each) for each in memory]
    del memory
    arrays = [to_numpy(t) for t in tensors]

    def drop(things, other):
        while things:
            things.pop()
        other.wait()

    barrier = threading.Barrier(2)
    threads = [
        threading.Thread(target=drop, args=(things, barrier)) for things in (arrays, tensors)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [end() for end in ends] == [None] * 20


def test_array_made_on_one_thread_is_read_on_another(to_numpy):
    found = []
    thread = threading.Thread(target=lambda: found.append(to_numpy(torch.arange(1000.0))))
    thread.start()
    thread.join()
    kept = reuse_freed_memory()
    assert np.array_equal(found[0], np.arange(1000.0))
    assert kept
