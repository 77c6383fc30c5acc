"""Tensors of safetensors files: mapped and shared, alignment reported.

Expected results are derived from docs/exchange.md.
"""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from adapters.conformance import ToNumpy
from safetensors import numpy as upstream
from safetensors import safe_open
from support.arrays import LOWPREC, NATIVE, OTHERS, TIMES, cells, elements, make, values
from support.each import assert_each
from support.memory import address, file_position, is_private_copy_on_write
from support.oracles import oracle

from numpack import (
    CopyWarning,
    NumPack,
    UnsupportedError,
    ZeroCopyArray,
    ZeroCopyError,
    explain,
    share,
)
from numpack.io import SafetensorsFile, safetensors_to_numpy_zero_copy

ST = oracle("safetensors")
SUPPORTED = [name for name in NATIVE if name != "complex128"]
SUPPORTED += ["bfloat16", "float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz"]
SUPPORTED += ["float8_e8m0fnu"]


def entry(dtype: str, shape: list[int], start: int, stop: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def write(header: dict | bytes, data: bytes = b"", *, pad: int = 0, name="hand.safetensors"):
    """Write a file with `pad` spaces after the header, aligned or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * pad
    Path(name).write_bytes(struct.pack("<Q", len(text)) + text + data)
    return name


def misaligned(count: int = 3) -> SafetensorsFile:
    """Write a file whose float64 values start at an odd offset."""
    header = {"x": entry("F64", [count], 0, 8 * count)}
    pad = 1 - len(json.dumps(header)) % 2
    return SafetensorsFile(write(header, np.arange(float(count)).tobytes(), pad=pad))


# Sharing


def test_all_tensors_in_the_order_of_the_file():
    tensors = {"bias": np.ones(3, "f4"), "weight": np.zeros((2, 2)), "odd": np.ones(3, "u1")}
    upstream.save_file(tensors, "model.safetensors", metadata={"format": "np"})
    found = safetensors_to_numpy_zero_copy("model.safetensors", copy=False)
    with safe_open("model.safetensors", "np") as theirs:
        assert list(found) == theirs.offset_keys()
    assert all(elements(found[name]) == elements(tensors[name]) for name in tensors)
    assert not any(array.flags.writeable for array in found.values())
    own = safetensors_to_numpy_zero_copy(Path("model.safetensors"), copy=True)
    assert all(array.flags.writeable for array in own.values())
    file = SafetensorsFile("model.safetensors")
    assert file.metadata == {"format": "np"}
    assert (len(file), set(file), "bias" in file, "x" in file) == (3, set(tensors), True, False)
    assert repr(file) == "SafetensorsFile('model.safetensors', 3 tensors)"
    one = safetensors_to_numpy_zero_copy(file, "weight", copy=False)
    assert address(one) == address(file["weight"])
    assert address(found["weight"]) != address(one)  # a separate mapping of the same pages
    assert file_position(address(found["weight"])) == file_position(address(one))


def test_torch_maps_the_pages_copy_on_write():
    file = ST.make(values("float32"))
    before = file.path.read_bytes()
    assert [s.action for s in explain(file, "torch").steps] == [
        "shared",
        "mapped copy-on-write",
    ]
    tensor = share(file, "torch", copy=False)
    assert is_private_copy_on_write(tensor.data_ptr())
    tensor.zero_()
    assert file.path.read_bytes() == before
    assert elements(file["x"]) == elements(values("float32"))
    bfloat = share(ST.make(values("bfloat16")), "torch", copy=False)
    assert bfloat.dtype == torch.bfloat16


def test_more_than_four_gibibytes():
    count = 5 * 2**30
    header = {
        "low": entry("U8", [count], 0, count),
        "high": entry("F32", [2], count, count + 8),
    }
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open("big.safetensors", "wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        out.truncate(8 + len(text) + count)
        out.seek(0, os.SEEK_END)
        out.write(np.array([1.5, 2.5], "<f4").tobytes())
    file = SafetensorsFile("big.safetensors")
    assert file["high"].tolist() == [1.5, 2.5]
    assert (file["low"].shape, file["low"][-1]) == ((count,), 0)
    assert share(file, "torch", tensor="high", copy=False).tolist() == [1.5, 2.5]


# Alignment


def test_misaligned_tensor_is_copied_with_a_warning():
    file = misaligned()
    assert not file["x"].flags.aligned
    assert file["x"].tolist() == [0, 1, 2]
    route = explain(file, "numpy")
    assert (route.verdict, route.reason) == (
        "copies 24 bytes",
        "its writer did not align it to the size of its values",
    )
    with pytest.warns(CopyWarning, match="save_file, which aligns all tensors"):
        copied = share(file, "numpy")
    for array in (copied, share(file, "numpy", copy=True)):
        assert array.flags.aligned
        assert array.flags.writeable
        assert array.tolist() == [0, 1, 2]
    for call in (
        lambda: share(file, "torch", copy=False),
        lambda: safetensors_to_numpy_zero_copy(file, "x", copy=False),
    ):
        with pytest.raises(ZeroCopyError, match="conversion from safetensors failed"):
            call()
    with pytest.warns(CopyWarning) as caught:
        safetensors_to_numpy_zero_copy(file)
    assert [w.filename for w in caught] == [__file__]


def test_fix_for_misalignment_avoids_the_copy():
    upstream.save_file(dict(misaligned()), "again.safetensors")
    again = SafetensorsFile("again.safetensors")
    assert share(again, "numpy", copy=False).tolist() == [0, 1, 2]


def test_explain_reports_the_route_after_a_copy():
    assert [s.action for s in explain(misaligned(), "torch").steps] == ["copied", "shared"]


def test_jax_requires_more_alignment_than_the_format():
    header = {"x": entry("F32", [4], 0, 16)}
    for shift in (0, 8):
        pad = (56 + shift - len(json.dumps(header))) % 64
        file = SafetensorsFile(write(header, np.ones(4, "f4").tobytes(), pad=pad))
        route = explain(file, "jax")
        assert route.shares_memory == (address(file["x"]) % 64 == 0) == (shift == 0)
        assert ("64-byte aligned" in route.reason) == bool(shift)
    with pytest.warns(CopyWarning, match="64-byte aligned"):
        share(file, "jax")
    assert explain(ZeroCopyArray(file["x"], copy=True), "jax").shares_memory


# To safetensors


def test_the_fix_avoids_a_silent_error_of_save_file():
    """`save_file` ignores the strides and assumes C order (0.8)."""
    a = np.arange(6.0).reshape(2, 3).T
    upstream.save_file({"x": a}, "wrong.safetensors")
    assert SafetensorsFile("wrong.safetensors")["x"].tolist() != a.tolist()


def test_store_saves_the_tensors_of_a_file():
    with NumPack("from.npk") as npk:
        npk.save(dict(ST.make(values("bfloat16"))))
        assert npk.load("x").dtype == ml_dtypes.bfloat16


class TestToNumpy(ToNumpy):
    source = "safetensors"
    names = SUPPORTED

    def check_shared(self, made, array):
        assert not array.flags.writeable
        if not array.size:
            return
        inode, position = file_position(address(array))
        assert inode == made.path.stat().st_ino
        assert made.path.read_bytes()[position:] == array.tobytes()
        with pytest.raises(ValueError, match="WRITEABLE"):
            array.flags.writeable = True
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.parametrize("name", [*NATIVE, *LOWPREC, *TIMES, *OTHERS])
def test_conversion_to_safetensors_is_refused(name, tmp_path):
    path = tmp_path / "x.safetensors"

    def check(layout):
        a = make(name, layout, tmp_path)
        route = explain(a, "safetensors")
        assert not route.supported
        for copy in (None, False, True):
            with pytest.raises(UnsupportedError):
                share(a, "safetensors", copy=copy)
        if layout == "masked":
            assert "filled" in route.fix
            return
        assert (name in SUPPORTED) == ("save_file" in route.fix)
        if name in SUPPORTED:  # the fix of the message
            upstream.save_file({"x": np.asarray(a, order="C")}, path)
            assert elements(SafetensorsFile(path)["x"]) == elements(a)

    assert_each([layout for _, layout in cells([name])], check)
