"""safetensors files, against the safetensors package."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from safetensors.torch import load_file as load_torch
from safetensors.torch import save_file as save_torch
from support.each import assert_each
from support.formats.arrays import NUMBERS, OTHERS, TEXT, TIMES, assert_same, values
from support.formats.conformance import FormatConformance

from numpack import NumPack, UnsupportedError, convert, share
from numpack.errors import InvalidValueError

LOW = ["bfloat16", "float8_e4m3fn", "float8_e5m2"]


class TestSafetensors(FormatConformance):
    suffix = ".safetensors"
    label = "safetensors"
    holds_attributes = True
    refused_dtypes = frozenset({*TIMES, *TEXT, *OTHERS, "int4", "complex128"})
    unwritten_dtypes = frozenset({"float8_e4m3fn", "float8_e5m2", "bfloat16"})  # with NumPy

    def write(self, path, arrays):
        save_file(arrays, path)

    def read(self, path):
        return load_file(path)

    def several(self):
        return {"x": values("float32", (5,)), "y": values("int32", (5,))}  # in this order

    def check_read_in_spite_of_damage(self, name, shapes):
        assert not name.startswith("cut")  # neither values nor names have checksums
        found = [each.shape for each in self.stored(f"{name}.npk").values()]
        assert found == list(shapes.values())


def stored(path="s.npk"):
    with NumPack(path, mode="r") as store:
        return dict(store)


def raw_file(header, data=b""):
    text = json.dumps(header).encode()
    Path("x.safetensors").write_bytes(len(text).to_bytes(8, "little") + text + data)


def test_dtypes_of_ml_dtypes_against_torch():
    arrays = {name: values(name, (4, 3)) for name in LOW}
    save_torch(
        {name: share(each, "torch").clone() for name, each in arrays.items()}, "x.safetensors"
    )
    convert("x.safetensors", "s.npk")
    for name, array in stored().items():
        assert_same(array, arrays[name])
    convert("s.npk", "y.safetensors")
    for name, tensor in load_torch("y.safetensors").items():
        assert tensor.dtype == getattr(torch, name)
        assert tensor.view(torch.uint8).numpy().tobytes() == arrays[name].tobytes()


def test_the_bytes_are_those_of_the_package():
    arrays = {
        "b": values("float32", (4, 3)),
        "a": values("float32", (5,)),
        "z": values("int64", ()),
        "m": values("uint8", (3,)),
        "é": values("float16", (0, 3)),
        "c": values("complex64", (2,)),
        **{f"d{i}": values(name, (2,)) for i, name in enumerate(NUMBERS)},
    }
    save_file(arrays, "theirs.safetensors", metadata={"format": "pt"})
    with NumPack("s.npk") as store:
        store.save(arrays)
        store.attrs.store["format"] = "pt"
    convert("s.npk", "ours.safetensors")
    assert Path("ours.safetensors").read_bytes() == Path("theirs.safetensors").read_bytes()


def test_metadata_is_text_for_others_and_exact_for_us():
    with NumPack("s.npk") as store:
        store.save({"w": np.ones(3, "f4")})
        store.attrs.store.update(format="pt", step=7, nested={"a": [1, None]}, numpack="mine")
        store.attrs["w"]["dims"] = ["x"]
    convert("s.npk", "x.safetensors")
    with safe_open("x.safetensors", "np") as file:
        assert file.metadata()["format"] == "pt"
        assert set(file.metadata()) == {"format", "numpack"}
    convert("x.safetensors", "t.npk")
    with NumPack("s.npk") as store, NumPack("t.npk") as again:
        assert dict(again.attrs.store) == dict(store.attrs.store)
        assert dict(again.attrs["w"]) == dict(store.attrs["w"])


def test_metadata_of_others_called_numpack_is_kept():
    for text in ("not json", "[1]", '{"attrs": 5}', '{"arrays": [1]}', '{"attrs":{"x":NaN}}'):
        save_file(
            {"w": np.ones(3, "f4")}, "x.safetensors", metadata={"numpack": text, "a": "b"}
        )
        convert("x.safetensors", "s.npk")
        with NumPack("s.npk") as store:
            assert store.attrs.store["a"] == "b"
            assert not store.attrs["w"]


def test_tensors_that_are_packed_are_refused_when_they_are_chosen():
    header = {
        "packed": {"dtype": "F4", "shape": [4], "data_offsets": [0, 2]},
        "plain": {"dtype": "U8", "shape": [2], "data_offsets": [2, 4]},
    }
    raw_file(header, b"\1\2\3\4")
    with pytest.raises(UnsupportedError, match="'packed'.*4 bits.*leave it out"):
        convert("x.safetensors", "s.npk")
    convert("x.safetensors", "s.npk", arrays=["plain"])
    assert stored()["plain"].tolist() == [3, 4]


def test_hostile_headers_are_refused_without_allocating():
    entry = {"dtype": "F32", "shape": [2**60], "data_offsets": [0, 2**62]}
    headers = [
        {"x": entry},
        {"x": {**entry, "shape": [-1]}},
        {"x": {**entry, "shape": [1], "data_offsets": [4, 8]}},
        {"x": {**entry, "dtype": "F99"}},
        {"__metadata__": {"a": 1}},
    ]

    def check(header):
        raw_file(header, b"\0" * 4)
        with pytest.raises(InvalidValueError, match="x.safetensors|F99"):
            convert("x.safetensors", "s.npk")
        assert not Path("s.npk").exists()

    assert_each(headers, check)
    Path("x.safetensors").write_bytes((2**40).to_bytes(8, "little") + b"{}")
    with pytest.raises(InvalidValueError, match="header should take"):
        convert("x.safetensors", "s.npk")


def test_names_that_the_header_cannot_hold():
    for name in ("__metadata__", "\ud800"):
        with NumPack("s.npk", drop_if_exists=True) as store:
            store.save({name: np.arange(3)})
        with pytest.raises(UnsupportedError, match="rename="):
            convert("s.npk", "x.safetensors")
        convert("s.npk", "x.safetensors", rename={name: "w"})


def test_a_file_that_grows_shorter_is_named():
    save_file({"w": np.ones((1 << 20, 4), "f4")}, "x.safetensors")
    calls = []

    def progress(*_):
        calls.append(1)
        with open("x.safetensors", "r+b") as file:
            file.truncate(9 << 20)

    with pytest.raises(InvalidValueError, match="x.safetensors is damaged"):
        convert("x.safetensors", "s.npk", progress=progress)
    assert calls
