"""ONNX models of one node, encoded here so that no package is needed to make them.

Source: onnx.proto, whose field numbers these are; Protocol Buffers, wire types 0 and 2.
"""

from __future__ import annotations

import onnxruntime

FLOAT, UINT8, INT8, STRING = 1, 2, 3, 8
_INT, _TYPE = 2, 13  # AttributeProto.AttributeType


def _varint(number: int) -> bytes:
    low, rest = number & 127, number >> 7
    return bytes([low]) if not rest else bytes([low | 128]) + _varint(rest)


def _number(field: int, number: int) -> bytes:
    return _varint(field << 3) + _varint(number)


def _message(field: int, content: bytes | str) -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return _varint(field << 3 | 2) + _varint(len(raw)) + raw


def tensor(element: int) -> bytes:
    """TypeProto of a tensor."""
    return _message(1, _number(1, element))


def sequence(element: bytes) -> bytes:
    """TypeProto of a sequence."""
    return _message(4, _message(1, element))


def optional(element: bytes) -> bytes:
    """TypeProto of an optional value."""
    return _message(9, _message(1, element))


def to_type(element: int) -> bytes:
    """Encode the attribute of Cast."""
    return _message(5, _message(1, "to") + _number(3, element) + _number(20, _INT))


def of_type(kind: bytes) -> bytes:
    """Encode the attribute of Optional."""
    return _message(5, _message(1, "type") + _message(14, kind) + _number(20, _TYPE))


def session(
    operator: str,
    given: bytes,
    result: bytes,
    *,
    inputs: tuple[str, ...] = ("x",),
    attribute: bytes = b"",
    opset: int = 21,
) -> onnxruntime.InferenceSession:
    """Make a session of one node, from the value x to the value y."""
    node = b"".join(_message(1, name) for name in inputs)
    node += _message(2, "y") + _message(4, operator) + attribute
    graph = _message(1, node) + _message(2, "graph")
    graph += _message(11, _message(1, "x") + _message(2, given))
    graph += _message(12, _message(1, "y") + _message(2, result))
    model = _number(1, 10) + _message(7, graph)
    model += _message(8, _message(1, "") + _number(2, opset))
    return onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
