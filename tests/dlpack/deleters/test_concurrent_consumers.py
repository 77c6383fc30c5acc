"""A capsule that several threads or finalizers consume at once is consumed by one."""

from __future__ import annotations

import gc
import threading

import numpy as np
import pytest
from support.exchange.dlpack import Tensor
from support.native import pointer_in

from numpack import InvalidValueError
from numpack._dlpack import importing
from numpack.io import from_dlpack


@pytest.mark.parametrize("versioned", [False, True])
def test_only_one_of_several_threads_consumes_a_capsule(versioned, busy_switching):
    n = 6
    for _ in range(60):
        tensor, start = Tensor(np.arange(3.0), versioned=versioned), threading.Barrier(n)
        capsule, taken, refused = tensor.capsule(), [], []

        def race(capsule=capsule, start=start, taken=taken, refused=refused):
            start.wait()
            try:
                taken.append(from_dlpack(capsule))
            except InvalidValueError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=race) for _ in range(n)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(taken) == 1
        assert all("was consumed already" in message for message in refused)
        assert taken[0].tolist() == [0, 1, 2]
        assert tensor.deleted == 0
        taken.clear()
        assert tensor.deleted == 1


@pytest.mark.parametrize("shape", [(3,), (0, 3), (2, 0, 3)], ids=str)
@pytest.mark.parametrize(
    "consume", [importing.try_consume_capsule, importing.consume_capsule, from_dlpack]
)
def test_finalizer_consumes_the_capsule_being_consumed(consume, shape, manual_collection):
    """A garbage collection may start wherever Python objects are created, and run any code."""
    won = {"collector": 0, "caller": 0}
    for allowance in range(1, 30):
        tensor = Tensor(np.zeros(shape))
        capsule = tensor.capsule()
        taken = []

        class Garbage:
            def __init__(self):
                self.cycle = self

            def __del__(self, capsule=capsule, taken=taken):
                gc.disable()
                try:
                    taken.append(consume(capsule))
                except InvalidValueError:
                    taken.append(None)

        gc.collect()
        Garbage()
        gc.set_threshold(allowance)
        gc.enable()
        try:
            mine = consume(capsule)
        except InvalidValueError:
            mine = None
        finally:
            gc.disable()
            gc.collect()
        (theirs,) = taken
        assert (mine is None) != (theirs is None), f"both have it, allowance {allowance}"
        won["caller" if theirs is None else "collector"] += 1
        assert tensor.deleted == (0 if 0 not in shape else 1)
        del mine, theirs
        taken.clear()
        assert tensor.deleted == 1
    assert won["caller"]


@pytest.mark.parametrize("shape", [(3,), (0, 3)], ids=str)
@pytest.mark.parametrize(
    "consume", [importing.try_consume_capsule, importing.consume_capsule, from_dlpack]
)
def test_finalizer_consumes_and_frees_the_tensor_being_consumed(
    consume, shape, manual_collection
):
    """Memory that the producer has freed may hold anything and must not be read."""
    for allowance in range(1, 30):
        tensor = Tensor(np.zeros(shape))
        capsule = tensor.capsule()

        class Garbage:
            def __init__(self):
                self.cycle = self

            def __del__(self, capsule=capsule, tensor=tensor):
                gc.disable()
                try:
                    consume(capsule)
                except InvalidValueError:
                    return
                tensor.shape[0] = -7
                tensor.managed.tensor.ndim = -7
                tensor.managed.major = 7

        gc.collect()
        Garbage()
        gc.set_threshold(allowance)
        gc.enable()
        try:
            assert consume(capsule).shape == shape
        except InvalidValueError as error:
            said = str(error)
        else:
            said = "was consumed already"
        finally:
            gc.disable()
            gc.collect()
        assert "was consumed already" in said
        assert tensor.deleted == 1


def test_pointer_of_a_consumed_capsule_is_not_read():
    """The producer may free the tensor at once, and its memory may be reused."""
    tensor = Tensor(np.arange(3.0))
    capsule = tensor.capsule()
    del_me = from_dlpack(capsule)
    assert pointer_in(capsule)
    tensor.managed.tensor.ndim = -7
    tensor.managed.major = 9
    with pytest.raises(InvalidValueError, match="was consumed already"):
        from_dlpack(capsule)
    assert del_me.tolist() == [0, 1, 2]
