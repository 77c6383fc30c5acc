"""The conformance suite itself: it covers every adapter and layout, and detects errors."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from adapters.conformance import COPY, SHARE, FromNumpy, ToNumpy
from support.arrays import LAYOUTS, NEEDS_BYTES, elements

from numpack.adapters import FRAMEWORKS

# These have no array type of their own, need a device, or are files.
UNTESTED = {"numpy", "cuda_array_interface", "scipy", "cupy", "safetensors"}


def test_every_adapter_is_tested():
    text = "".join(path.read_text() for path in Path(__file__).parent.rglob("test_*.py"))
    targets = set(re.findall(r'^    target = "(\w+)"$', text, re.MULTILINE))
    assert targets == {each.name for each in FRAMEWORKS} - UNTESTED
    sources = set(re.findall(r'^    source = "(\w+)"$', text, re.MULTILINE))
    assert targets - sources == {"dlpack", "duckdb"}  # their results are tested by `FromNumpy`


def test_every_layout_is_tested():
    assert {"masked", "swapped", *NEEDS_BYTES} < set(LAYOUTS)


class Wrong(FromNumpy):
    """A suite for torch that expects too much, or reads wrong values."""

    target = "torch"

    def __init__(self, verdict, wrong_value=False):
        self.verdict, self.wrong_value = verdict, wrong_value

    def expected(self, name, layout, array):
        return self.verdict

    def has_values(self, result, array):
        return elements(self.oracle.values(result)) == elements(array + self.wrong_value)


@pytest.mark.parametrize(
    ("suite", "message"),
    [
        (Wrong(COPY), r"38 of 46 cells"),
        (Wrong(SHARE), r"\[negative, writable\]"),
        (Wrong(SHARE, wrong_value=True), r"\[c, writable\]"),
    ],
    ids=["verdict", "layouts", "values"],
)
def test_errors_are_detected(suite, message, tmp_path):
    with pytest.raises(AssertionError, match=message):
        suite.test_every_dtype_and_layout("float32", tmp_path)


def test_copies_are_detected():
    suite = Wrong(SHARE)
    array = np.arange(3.0)
    assert suite.is_shared(array, suite.oracle.make(array)) is False


def test_a_wrong_verdict_of_a_source_is_detected():
    class Copied(ToNumpy):
        source = "torch"

        def expected(self, name, shape):
            return COPY

    with pytest.raises(AssertionError, match="5 of 5 cells"):
        Copied().test_every_dtype_and_shape("float32")
