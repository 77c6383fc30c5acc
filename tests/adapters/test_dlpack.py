"""DLPack buffers, in C order and with the strides of the array."""

from __future__ import annotations

from types import MappingProxyType

from adapters.conformance import COPY, REFUSE, SHARE, FromNumpy
from support.arrays import CONTIGUOUS, LOWPREC, NATIVE, aligned, elements
from support.memory import address

from numpack.io import from_dlpack


class TestFromNumpy(FromNumpy):
    target = "dlpack"

    def expected(self, name, layout, array):
        if name not in (*NATIVE, *LOWPREC) or layout == "masked":
            return REFUSE
        if layout == "swapped" or not aligned(name, layout):
            return COPY
        return self.expected_order(layout, array)

    def expected_order(self, layout, array):
        return SHARE if layout in CONTIGUOUS or layout == "odd_bytes" else COPY

    def has_values(self, result, array):
        return elements(from_dlpack(result)) == elements(array)

    def shape(self, result):
        return result.array.shape

    def address(self, result):
        self.consumer = from_dlpack(result)  # which owns the memory
        return address(self.consumer)


class TestFromNumpyWithStrides(TestFromNumpy):
    options = MappingProxyType({"order": "K"})

    def expected_order(self, layout, array):
        return COPY if layout == "negative" else SHARE
