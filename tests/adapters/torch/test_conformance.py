"""What torch shares, copies and refuses, in both directions."""

from __future__ import annotations

import torch
from adapters.conformance import COPY, REFUSE, SHARE, FromNumpy, ToNumpy
from support.arrays import LOWPREC, NATIVE, aligned, values
from support.oracles import torch as oracle

SUB_BYTE = ("int4", "uint4", "int2", "uint2", "int1", "uint1")  # torch defines these names


class TestFromNumpy(FromNumpy):
    target = "torch"
    cautions = True
    back_is_read_only = False

    def expected(self, name, layout, array):
        if not isinstance(getattr(torch, name, None), torch.dtype) or name == "object":
            return REFUSE
        if name in SUB_BYTE or layout == "masked":
            return REFUSE
        if layout in ("swapped", "negative") or not aligned(name, layout):
            return COPY
        return SHARE

    def check_own(self, own, array):
        if array.size:
            own.view(-1).view(torch.uint8)[0] ^= 1  # it is writable


class TestToNumpy(ToNumpy):
    source = "torch"
    names = tuple(n for n in (*NATIVE, *LOWPREC) if oracle.make(values(n)) is not None)
    writable = True
