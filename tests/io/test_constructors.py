"""`ZeroCopyArray` and `DLPackBuffer`: arguments, errors, subclasses and copies."""

from __future__ import annotations

import inspect
import pickle
import warnings

import numpy as np
import pytest
import torch
from support.arrays import LOWPREC, NATIVE, cells, make
from support.each import for_each
from support.memory import address

from numpack import (
    CopyWarning,
    InvalidValueError,
    NumpackError,
    WrongTypeError,
    ZeroCopyArray,
    ZeroCopyError,
)
from numpack.io import DLPackBuffer

CLASSES = {"ZeroCopyArray": ZeroCopyArray, "DLPackBuffer": DLPackBuffer}


@pytest.fixture(params=CLASSES)
def cls(request):
    return CLASSES[request.param]


def test_type_of_an_instance(cls):
    made = cls(np.zeros(3))
    assert type(made) is cls
    assert isinstance(made, cls)
    assert not isinstance(np.zeros(3), cls)


@pytest.mark.parametrize("order", ["C", "K"])
def test_options_of_the_constructor(cls, order):
    a = np.arange(6.0).reshape(2, 3).T
    if order == "K":
        assert cls(a, order="K").array is a
    else:
        with pytest.warns(CopyWarning, match="not C-contiguous"):
            made = cls(a, order=order)
        assert made.array.flags.c_contiguous
    with pytest.raises(ZeroCopyError, match="not C-contiguous"):
        cls(a, copy=False)
    assert cls(np.zeros(3), copy=True).array.ctypes.data % 64 == 0
    b = np.zeros(3)
    assert cls(b).array is cls(b, order=order).array is cls(b, copy=False).array is b
    assert cls(array=b).array is b


WRONG_CALLS = {
    "nothing": (lambda c: c(), TypeError, "missing 1 required positional argument: 'array'"),
    "two": (lambda c: c(np.zeros(3), "K"), TypeError, "takes 2 positional arguments but 3"),
    "an unknown keyword": (lambda c: c(np.zeros(3), x=1), TypeError, "unexpected keyword.*'x'"),
    "only a keyword": (lambda c: c(order="K"), TypeError, "missing 1 required positional"),
    "array twice": (
        lambda c: c(np.zeros(3), array=np.zeros(3)),
        TypeError,
        "multiple values for argument 'array'",
    ),
    "a list": (lambda c: c([1.0]), WrongTypeError, "expects a numpy.ndarray, got list"),
    "None": (lambda c: c(None), WrongTypeError, "expects a numpy.ndarray, got NoneType"),
    "a tensor": (
        lambda c: c(torch.zeros(1)),
        WrongTypeError,
        "got torch.Tensor; numpack.share",
    ),
    "a scalar": (lambda c: c(np.float64(1)), WrongTypeError, "got numpy.float64"),
    "another order": (lambda c: c(np.zeros(3), order="F"), InvalidValueError, "order must be"),
    "another copy": (lambda c: c(np.zeros(3), copy="x"), InvalidValueError, "copy must be"),
}


@for_each("call", WRONG_CALLS)
def test_errors_of_the_constructor(cls, call):
    run, error, message = WRONG_CALLS[call]
    with pytest.raises(error, match=message):
        run(cls)


def test_constructor_has_the_signature_of_its_init(cls):
    assert list(inspect.signature(cls).parameters) == ["array", "order", "copy"]


def test_subclass_runs_its_own_init(cls):
    class Named(cls):
        def __init__(self, array, name="none", **options):
            super().__init__(array, **options)
            self.name = name

    assert Named(np.zeros(3)).name == "none"
    made = Named(np.zeros(3), name="x", order="K")
    assert type(made) is Named
    assert made.name == "x"
    assert made.array.shape == (3,)


def test_subclass_runs_its_own_new(cls):
    class Counting(cls):
        made = 0

        def __new__(cls, *args, **kwargs):
            Counting.made += 1
            return super().__new__(cls)

    assert type(Counting(np.zeros(3))) is Counting
    assert Counting.made == 1


def test_subclass_without_init_and_new(cls):
    class Sub(cls):
        pass

    a = np.zeros(3)
    made = Sub(a)
    assert type(made) is Sub
    assert made.array is a
    made.note = "it has a dictionary"
    with pytest.raises(WrongTypeError):
        Sub([1.0])


def test_subclass_with_a_metaclass_runs_its_call(cls):
    class Meta(type):
        def __call__(cls, *args, **kwargs):
            made = super().__call__(*args, **kwargs)
            made.seen = True
            return made

    class Sub(cls, metaclass=Meta):
        pass

    assert Sub(np.zeros(3)).seen


def test_subclass_with_a_mixin(cls):
    class Mixin:
        def __init__(self, array):
            super().__init__(array)
            self.mixed = True

    class Sub(Mixin, cls):
        pass

    made = Sub(np.zeros(3))
    assert made.mixed
    assert made.array.size == 3


def test_init_can_be_called_again(cls):
    made = cls(np.zeros(3))
    made.__init__(np.ones(2))
    assert made.array.tolist() == [1, 1]
    with pytest.raises(TypeError):
        made.array = [1, 2]


def test_unknown_attribute_cannot_be_set(cls):
    made = cls(np.zeros(3))
    with pytest.raises(AttributeError):
        made.nonsense = 1


def test_instance_can_be_pickled_and_copied(cls):
    import copy

    made = cls(np.arange(3.0))
    for again in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert type(again) is cls
        assert again.array.tolist() == [0, 1, 2]
        assert address(again.array) != address(made.array)
    assert copy.copy(made).array is made.array


@for_each("name", [*NATIVE, *LOWPREC, "M8[s]", "object", "struct", "string"])
def test_fast_and_full_constructor_agree(cls, name, tmp_path):
    """An explicit ``order="C"`` runs the full constructor; the array or error is the same."""
    for _, layout in cells([name]):
        a = make(name, layout, tmp_path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fast, full = (
                result_or_error(lambda a=a: cls(a)),
                result_or_error(lambda a=a: cls(a, order="C")),
            )
        assert type(fast) is type(full), layout
        if isinstance(fast, Exception):
            assert str(fast) == str(full), layout
        else:
            assert (fast.array is a) == (full.array is a), layout
            assert fast.array.flags.c_contiguous, layout


def result_or_error(call):
    try:
        return call()
    except NumpackError as error:
        return error
