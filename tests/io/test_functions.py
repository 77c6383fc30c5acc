"""The conversion functions: calls and their errors, introspection, pickling."""

from __future__ import annotations

import inspect
import pickle
import pydoc
import subprocess
import sys
import typing
import weakref
from collections.abc import Callable

import numpy as np
import pytest
import torch
from support.each import for_each
from support.memory import address

import numpack
from numpack import ZeroCopyArray, explain, share
from numpack.adapters import _options
from numpack.io import (
    arrow_to_numpy_zero_copy,
    from_dlpack,
    numpy_to_arrow_zero_copy,
    numpy_to_torch_zero_copy,
    table_to_numpy_zero_copy,
    to_dlpack,
    torch_to_numpy_zero_copy,
    wrap_for_zero_copy,
)

FUNCTIONS = {
    each.__name__: each
    for each in (
        arrow_to_numpy_zero_copy,
        from_dlpack,
        numpy_to_arrow_zero_copy,
        numpy_to_torch_zero_copy,
        table_to_numpy_zero_copy,
        to_dlpack,
        torch_to_numpy_zero_copy,
        wrap_for_zero_copy,
        share,
        explain,
    )
}


METHODS = ("to_torch", "to_arrow", "to_numpy", "to_dlpack")


@pytest.fixture(params=FUNCTIONS)
def function(request):
    return FUNCTIONS[request.param]


def argument_of(name: str) -> object:
    import pyarrow as pa

    if name.startswith("torch"):
        return torch.zeros(3)
    if name.startswith("arrow"):
        return pa.array([1.0])
    if name.startswith("table"):
        return pa.table({"x": [1.0]})
    return np.zeros(3)


def undecorated(function):
    """Return the function without its fast path."""
    return inspect.unwrap(function)


def outcome(call):
    try:
        return type(call())
    except Exception as error:
        return type(error), str(error)


CALLS = {
    "nothing": lambda f, x: f(),
    "two": lambda f, x: f(x, x, x),
    "copy by position": lambda f, x: f(x, None, None, None),
    "an unknown keyword": lambda f, x: f(x, nonsense=1),
    "copy and an unknown keyword": lambda f, x: f(x, copy=None, nonsense=1),
    "an unknown keyword and copy": lambda f, x: f(x, nonsense=1, copy=None),
    "the argument twice": lambda f, x: f(x, **{first_parameter(f): x}),
    "copy twice": lambda f, x: f(x, copy=None, COPY=None),
    "copy alone": lambda f, x: f(copy=None),
    "copy of a wrong kind": lambda f, x: f(x, copy="yes"),
    "copy=0": lambda f, x: f(x, copy=0),
    "copy=1": lambda f, x: f(x, copy=1),
    "None": lambda f, x: f(None),
    "a list": lambda f, x: f([1.0, 2.0]),
    "a type": lambda f, x: f(np.ndarray),
    "a scalar": lambda f, x: f(np.float64(3)),
}


def first_parameter(function) -> str:
    return next(iter(inspect.signature(function).parameters))


@for_each("call", CALLS)
def test_call_errors_match_the_undecorated_function(function, call):
    x = argument_of(function.__name__)
    expected = outcome(lambda: CALLS[call](undecorated(function), x))
    assert outcome(lambda: CALLS[call](function, x)) == expected


def test_first_argument_can_be_a_keyword(function):
    x = argument_of(function.__name__)
    if function in (share, explain):
        assert undecorated(function)(x=x, target="numpy") is not None
        assert function(x=x, target="numpy") is not None
    else:
        assert type(function(**{first_parameter(function): x})) is type(function(x))


@for_each("copy", [None, False, True])
def test_copy_values(copy):
    a = np.arange(3.0)
    t = numpy_to_torch_zero_copy(a, copy=copy)
    assert (t.data_ptr() == address(a)) is not bool(copy)
    b = torch_to_numpy_zero_copy(t, copy=copy)
    assert (address(b) == t.data_ptr()) is not bool(copy)
    assert (address(from_dlpack(t, copy=copy)) == t.data_ptr()) is not bool(copy)
    assert (share(t, "numpy", copy=copy) is None) is False
    assert (to_dlpack(a, copy=copy).array is a) is not bool(copy)
    assert (wrap_for_zero_copy(a, copy=copy).array is a) is not bool(copy)
    assert (address(ZeroCopyArray(a, copy=copy).array) == address(a)) is not bool(copy)


@for_each("copy", [np.False_, np.True_, np.bool_(0)])
def test_copy_accepts_numpy_bool(copy):
    a = np.arange(3.0)
    assert (numpy_to_torch_zero_copy(a, copy=copy).data_ptr() == address(a)) is not bool(copy)


def test_signature_matches_the_undecorated_function(function):
    assert inspect.signature(function) == inspect.signature(undecorated(function))
    parameters = inspect.signature(function).parameters
    if function is not explain:
        assert parameters["copy"].kind is inspect.Parameter.KEYWORD_ONLY


def test_function_has_name_module_and_docstring(function):
    name = next(key for key, each in FUNCTIONS.items() if each is function)
    assert function.__name__ == function.__qualname__ == name
    assert function.__module__.startswith("numpack.io")
    assert getattr(sys.modules[function.__module__], name) is function
    assert "Parameters" in function.__doc__
    assert name in repr(function)
    assert inspect.getdoc(function) == inspect.getdoc(undecorated(function))
    assert inspect.getsource(function) == inspect.getsource(undecorated(function))
    assert function.__annotations__ == undecorated(function).__annotations__


def test_help_shows_signature_and_documentation(function):
    page = pydoc.plain(pydoc.render_doc(function))
    assert f"{function.__name__}(" in page
    assert "Parameters" in page


def test_function_is_callable_and_a_routine(function):
    assert callable(function)
    assert isinstance(function, Callable)
    assert inspect.isroutine(function)
    assert function.__call__ is not None


@for_each("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_function_is_pickled_by_name(function, protocol):
    import copy

    assert pickle.loads(pickle.dumps(function, protocol)) is function
    assert copy.copy(function) is copy.deepcopy(function) is function
    assert hash(function) == hash(function)
    assert weakref.ref(function)() is function


def test_pickled_function_runs_in_another_process():
    script = "import pickle, sys; print(pickle.load(sys.stdin.buffer)())"
    from functools import partial

    call = pickle.dumps(partial(share, np.arange(3.0), "numpy"))
    done = subprocess.run(
        [sys.executable, "-c", script], input=call, capture_output=True, check=True
    )
    assert done.stdout.decode() == "[0. 1. 2.]\n"


@pytest.mark.parametrize("name", METHODS)
def test_method_supports_introspection_and_pickle(name):
    wrapper = ZeroCopyArray(np.arange(3.0))
    bound, unbound = getattr(wrapper, name), getattr(ZeroCopyArray, name)
    assert bound.__self__ is wrapper
    assert bound.__name__ == name
    assert unbound.__qualname__ == f"ZeroCopyArray.{name}"
    assert bound() is not None
    assert unbound(wrapper) is not None
    assert "self" not in inspect.signature(bound).parameters
    assert "self" in inspect.signature(unbound).parameters
    assert pickle.loads(pickle.dumps(unbound)) is unbound
    assert pickle.loads(pickle.dumps(bound))() is not None
    page = pydoc.plain(pydoc.render_doc(ZeroCopyArray))
    assert f"{name}(self" in page


@pytest.mark.parametrize("name", METHODS)
@for_each("call", [lambda f: f(1), lambda f: f(nonsense=1), lambda f: f(copy="yes")])
def test_method_errors_name_the_method(name, call):
    with pytest.raises((TypeError, ValueError), match=f"{name}|copy must be"):
        call(getattr(ZeroCopyArray(np.zeros(3)), name))


def test_type_hints_are_resolved(function):
    """`typing.get_type_hints` follows `__wrapped__` to the undecorated function."""
    hints = typing.get_type_hints(undecorated(function), localns=vars(numpack) | NAMES)
    assert typing.get_type_hints(function, localns=vars(numpack) | NAMES) == hints


NAMES = {"pa": __import__("pyarrow"), "torch": torch, "Array": np.ndarray, **vars(_options)}
