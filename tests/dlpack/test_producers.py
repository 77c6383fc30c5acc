"""Objects with `__dlpack__` that return malformed capsules, or no capsule, or raise."""

from __future__ import annotations

import numpy as np
import pytest
from support.each import for_each
from support.exchange.dlpack import Producer, ScriptedProducer, Tensor
from support.exchange.importers import BY_PROTOCOL, EXPLAINERS, IMPORTERS
from support.exchange.malformed_tensors import MALFORMED, falsify, matrix
from support.ids import stable_repr

from numpack import InvalidValueError, NumpackError, UnsupportedError, ZeroCopyError
from numpack.io import from_dlpack


@for_each("importer", BY_PROTOCOL)
@for_each(
    "answer",
    [None, 0, "dltensor", b"dltensor", object(), (), np.zeros(3), ScriptedProducer],
    ids=stable_repr,
)
def test_producer_that_returns_no_capsule(answer, importer):
    with pytest.raises(InvalidValueError, match="expected a capsule named dltensor or"):
        BY_PROTOCOL[importer](ScriptedProducer(answer))


def refusal_of(importer: str, x: object, kind: type[NumpackError]) -> str:
    """Return the reason of a refusal, which `explain` returns and the others raise."""
    if importer in EXPLAINERS:
        route = EXPLAINERS[importer](x)
        assert not route.supported
        assert route.fix
        return route.reason
    with pytest.raises(kind) as caught:
        BY_PROTOCOL[importer](x)
    assert caught.value.__cause__ is x.answers[0]
    return str(caught.value)


@for_each("importer", BY_PROTOCOL)
def test_buffer_error_of_a_producer_is_a_refusal(importer):
    producer = ScriptedProducer(BufferError("not these"))
    assert "the producer refuses, not these" in refusal_of(importer, producer, ZeroCopyError)
    assert len(producer.asked) == 1


@for_each("importer", BY_PROTOCOL)
def test_producer_that_accepts_no_keyword_and_fails(importer):
    producer = ScriptedProducer(TypeError("my own fault"))
    assert "TypeError: my own fault" in refusal_of(importer, producer, UnsupportedError)
    assert issubclass(UnsupportedError, TypeError)
    assert producer.asked[-1] == {}


@for_each("importer", BY_PROTOCOL)
@for_each("error", [RuntimeError("x"), ValueError("x")], ids=repr)
def test_other_error_of_a_producer_is_a_refusal(error, importer):
    producer = ScriptedProducer(error)
    assert f"{type(error).__name__}: x" in refusal_of(importer, producer, UnsupportedError)
    assert len(producer.asked) == 1


@for_each("importer", BY_PROTOCOL)
@for_each("error", [KeyboardInterrupt(), SystemExit()], ids=repr)
def test_keyboard_interrupt_and_system_exit_propagate(error, importer):
    producer = ScriptedProducer(error)
    with pytest.raises(type(error)) as caught:
        BY_PROTOCOL[importer](producer)
    assert caught.value is error
    assert len(producer.asked) == 1


@for_each("importer", BY_PROTOCOL)
@for_each("attribute", [None, 3, "x"])
def test_producer_whose_dlpack_is_not_callable(attribute, importer):
    kind = type("Odd", (), {"__dlpack__": attribute, "__dlpack_device__": lambda self: (1, 0)})
    if importer in EXPLAINERS:
        assert not EXPLAINERS[importer](kind()).supported
    else:
        with pytest.raises(UnsupportedError):
            BY_PROTOCOL[importer](kind())


@for_each("importer", ["from_dlpack", "copy=False", "copy=True", "share", "wrapper"])
def test_producer_that_returns_the_same_capsule_twice(importer):
    tensor = matrix()
    producer = ScriptedProducer(tensor.capsule())
    a = IMPORTERS[importer](producer)
    with pytest.raises(InvalidValueError, match="was consumed already"):
        IMPORTERS[importer](producer)
    assert a.tolist() == [[0, 1, 2], [3, 4, 5]]
    del a
    assert tensor.deleted == 1


@for_each("case", MALFORMED)
def test_producer_of_a_malformed_capsule(case):
    tensor = matrix()
    falsify(tensor, **MALFORMED[case])
    producer = ScriptedProducer(tensor.capsule())
    for importer in BY_PROTOCOL.values():
        with pytest.raises(InvalidValueError):
            importer(producer)
    assert tensor.deleted == 0


def test_capsule_newer_than_requested_is_refused():
    tensor = matrix()
    falsify(tensor, major=2)
    producer = ScriptedProducer(tensor.capsule())
    with pytest.raises(InvalidValueError, match=r"ask its producer for max_version=\(1, 3\)"):
        from_dlpack(producer)
    assert producer.asked == [{"max_version": (1, 3)}]


def test_dlpack_device_is_ignored():
    """Only the device in the capsule counts."""
    tensor = matrix()
    assert (
        from_dlpack(ScriptedProducer(tensor.capsule(), device=(2, 0)), copy=False).sum() == 15
    )
    assert tensor.deleted == 1


@for_each("keywords", [(), ("max_version",), ("max_version", "copy")])
def test_malformed_old_producer_is_called_as_often_as_needed(keywords):
    tensor = Tensor(np.arange(3.0), versioned=bool(keywords))
    falsify(tensor, ndim=-1)
    producer = Producer(tensor, keywords)
    with pytest.raises(InvalidValueError):
        from_dlpack(producer)
    assert len(producer.asked) == (1 if keywords else 2)
    assert tensor.deleted == 0


@for_each("importer", BY_PROTOCOL)
def test_masked_array_keeps_its_mask_or_is_refused(importer):
    """NumPy's own `__dlpack__` drops the mask."""
    a = np.ma.array([1.0, 2.0], mask=[False, True])
    try:
        result = BY_PROTOCOL[importer](a)
    except UnsupportedError:
        return
    if importer in EXPLAINERS:
        assert result.supported == (importer == "explain")
    else:
        assert isinstance(result, np.ma.MaskedArray)
        assert result.mask.tolist() == [False, True]
