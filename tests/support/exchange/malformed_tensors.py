"""DLPack tensors with fields that no tensor may have, or that NumPy cannot represent."""

from __future__ import annotations

import numpy as np

from numpack._dlpack import importing
from support.exchange.dlpack import Tensor

I64 = 2**63 - 1


def falsify(tensor: Tensor, **fields) -> None:
    """Set fields of a tensor: of its dtype, its shape and strides, its header, or itself."""
    inner = tensor.managed.tensor
    for field, value in fields.items():
        if field in ("code", "bits", "lanes"):
            setattr(inner.dtype, field, value)
        elif field in ("extents", "steps"):
            target = tensor.shape if field == "extents" else tensor.strides
            for axis, each in enumerate(value):
                target[axis] = each
        elif field in ("major", "minor", "flags"):
            setattr(tensor.managed, field, value)
        else:
            setattr(inner, field, value)


def matrix(*, versioned: bool = True) -> Tensor:
    return Tensor(np.arange(6.0).reshape(2, 3), versioned=versioned)


MALFORMED = {  # no tensor may have these
    "ndim -1": {"ndim": -1},
    "ndim least": {"ndim": -(2**31)},
    "ndim 65": {"ndim": 65},
    "ndim most": {"ndim": 2**31 - 1},
    "no shape": {"shape": None},
    "no shape, no strides": {"shape": None, "strides": None},
    "extent -1": {"extents": (-1, 3)},
    "extent -1, last": {"extents": (2, -1)},
    "extents -1 and -1": {"extents": (-1, -1)},
    "extents -1 and 0": {"extents": (-1, 0)},
    "extents 0 and -1": {"extents": (0, -1)},
    "extent least": {"extents": (-(2**63), 3)},
    "extent most": {"extents": (I64, 3), "steps": (0, 0)},
    "extent 2**61": {"extents": (2**61, 3), "steps": (0, 0)},
    "extents whose product is 2**64": {"extents": (2**32, 2**32)},
    "extents whose product is 2**64 + 6": {"extents": (2**33, 2**31), "steps": (0, 0)},
    "extents whose bytes are 2**64": {"extents": (2**31, 2**30)},
    "extents of 2**63 bytes without strides": {"extents": (2**30, 2**30), "strides": None},
    "stride 2**60": {"steps": (2**60, 1)},
    "stride most": {"steps": (I64, 1)},
    "stride -2**60": {"steps": (-(2**60), 1)},
    "stride least": {"steps": (-(2**63), 1)},
    "stride least, last": {"steps": (3, -(2**63))},
    "strides that cancel out": {"steps": (2**60, -(2**60))},
    "stride whose bytes are 2**64": {"steps": (2**61, 1)},
    "stride whose bytes are 2**64, negative": {"steps": (-(2**61), 1)},
    "stride that leaves memory at the end": {"extents": (2**30, 3), "steps": (2**30, 1)},
    "no data": {"data": None},
    "no data, offset": {"data": None, "byte_offset": 4096},
    "no data, one element": {"data": None, "extents": (1, 1)},
}


ANOTHER_MAJOR = {f"major {major}": {"major": major} for major in (0, 2, 3, 2**32 - 1)}


UNKNOWN_DTYPES = {  # valid, but unknown to NumPy
    "code 3, an opaque handle": {"code": 3},
    "code 18": {"code": 18},
    "code 99": {"code": 99},
    "code 255": {"code": 255},
    "no lanes": {"lanes": 0},
    "2 lanes": {"lanes": 2},
    "65535 lanes": {"lanes": 65535},
    "2 lanes of half the width": {"bits": 32, "lanes": 2},
    "0 bits": {"bits": 0},
    "1 bit": {"code": 0, "bits": 1},
    "7 bits": {"bits": 7},
    "9 bits": {"bits": 9},
    "24 bits": {"bits": 24},
    "63 bits": {"bits": 63},
    "80 bits": {"bits": 80},
    "128 bits": {"bits": 128},
    "255 bits": {"bits": 255},
    "float of 4 bits": {"bits": 4},
    "float of 8 bits": {"bits": 8},
    "integer of 128 bits": {"code": 0, "bits": 128},
    "unsigned of 256 bits less one": {"code": 1, "bits": 255},
    "bool of 1 bit": {"code": 6, "bits": 1},
    "bool of 64 bits": {"code": 6, "bits": 64},
    "complex of 32 bits": {"code": 5, "bits": 32},
    "complex of 256 bits less one": {"code": 5, "bits": 255},
    "bfloat of 32 bits": {"code": 4, "bits": 32},
    "float8 of 16 bits": {"code": 10, "bits": 16},
    "packed int4": {"code": 0, "bits": 4},
    "packed uint2": {"code": 1, "bits": 2},
    "packed float4": {"code": 17, "bits": 4},
    "packed float6": {"code": 15, "bits": 6},
}


PADDED = {  # and packed differently from what the flag says
    "padded bool of 1 bit": {"code": 6, "bits": 1, "flags": importing.PADDED},
    "padded integer of 3 bits": {"code": 0, "bits": 3, "flags": importing.PADDED},
    "padded integer of 0 bits": {"code": 0, "bits": 0, "flags": importing.PADDED},
    "two padded int4": {"code": 0, "bits": 4, "lanes": 2, "flags": importing.PADDED},
    "padded float4 of 6 bits": {"code": 17, "bits": 6, "flags": importing.PADDED},
    "padded float64 of 7 bits": {"code": 2, "bits": 7, "flags": importing.PADDED},
}


OTHER_DEVICES = {
    f"device {device}": {"device_type": device}
    for device in (0, 2, 4, 7, 8, 9, 10, 12, 14, 15, 16, 17, 18, -1, 2**31 - 1, -(2**31))
}

REFUSED = MALFORMED | ANOTHER_MAJOR | UNKNOWN_DTYPES | PADDED | OTHER_DEVICES


def malformed(case: str, *, versioned: bool = True) -> Tensor:
    """Make the tensor of a case of these tables."""
    tensor = matrix(versioned=versioned)
    falsify(tensor, **REFUSED[case])
    return tensor
