"""Damage of safetensors files is found when they are opened."""

from __future__ import annotations

import collections
import json
import os
import random
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors import SafetensorError, deserialize
from safetensors import numpy as upstream
from support.arrays import values
from support.oracles import oracle

from numpack import (
    InvalidValueError,
)
from numpack.adapters import by_name
from numpack.io import SafetensorsFile, safetensors_to_numpy_zero_copy

module = by_name("safetensors").module()
ST = oracle("safetensors")


def entry(dtype: str, shape: list[int], start: int, stop: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def write(header: dict | bytes, data: bytes = b"", *, pad: int = 0, name="hand.safetensors"):
    """Write a file with `pad` spaces after the header, aligned or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * pad
    Path(name).write_bytes(struct.pack("<Q", len(text)) + text + data)
    return name


OK = {"x": entry("F32", [2], 0, 8)}
DAMAGE = {
    "cut short": (OK, bytes(7), "not fully covered"),
    "too long": (OK, bytes(9), "not fully covered"),
    "hole": (OK | {"y": entry("F32", [1], 12, 16)}, bytes(16), "invalid offset"),
    "overlap": (OK | {"y": entry("F32", [2], 4, 12)}, bytes(12), "invalid offset"),
    "size": ({"x": entry("F32", [3], 0, 8)}, bytes(8), "invalid shape"),
    "negative": ({"x": entry("F32", [-2], 0, 8)}, bytes(8), "invalid shape"),
    "overflow": ({"x": entry("F32", [2**62, 2**62], 0, 8)}, bytes(8), "overflow"),
    "no JSON": (b"{nothing", b"", "invalid JSON"),
    "no text": (b"\xff\xfe", b"", "header begins with"),
    "no UTF-8": (b'{"\xff": 1}', b"", "invalid UTF-8"),
    "a surrogate": (b'{"\\ud800": {}}', b"", "surrogate"),
    "NaN": (b'{"x": NaN}', b"", "NaN is not a number"),
    "deep": (b'{"x":' + b"[" * 200_000, b"", "nested too deeply"),
    "a name twice": (
        (
            b'{"x":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},'
            b'"x":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}'
        ),
        bytes(2),
        "names 'x' twice",
    ),
    "a member twice": (
        b'{"x":{"dtype":"U8","dtype":"I8","shape":[1],"data_offsets":[0,1]}}',
        bytes(1),
        "names 'dtype' twice",
    ),
    "no members": ({"x": {}}, b"", "'x' lacks one of"),
    "no tensor": ({"x": 3}, b"", "'x' lacks one of"),
    "metadata": ({"__metadata__": {"x": 1}}, b"", "__metadata__ is invalid"),
    "metadata that are a list": ({"__metadata__": ["x"]}, b"", "__metadata__ is invalid"),
    "65 dimensions": ({"x": entry("U8", [1] * 65, 0, 1)}, b"1", "up to 64 extents"),
    "float": ({"x": entry("F32", [2.0], 0, 8)}, bytes(8), "invalid shape"),
    "bool": ({"x": entry("F32", [True, 2], 0, 8)}, bytes(8), "invalid shape"),
    "shape is text": ({"x": entry("F32", "2", 0, 8)}, bytes(8), "invalid shape"),
    "beyond the file": ({"x": entry("U8", [2**62], 0, 2**62)}, b"", "not fully covered"),
    "empty and endless": ({"x": entry("U8", [0, 2**62, 2**62], 0, 0)}, b"", "overflow"),
    "more digits than memory": (
        b'{"x":{"dtype":"U8","shape":[1' + b"0" * 5000 + b'],"data_offsets":[0,1]}}',
        b"1",
        "invalid",
    ),
    "offsets back": ({"x": entry("U8", [1], 1, 0)}, b"1", "invalid offset"),
    "offsets of floats": ({"x": entry("U8", [1], 0.0, 1.0)}, b"1", "invalid offset"),
    "half a byte": ({"x": entry("F4", [3], 0, 1)}, b"1", "takes 12 bits and has 1 bytes"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_found_when_opening(damage):
    header, data, found = DAMAGE[damage]
    name = write(header, data)
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(InvalidValueError, match=rf"hand\.safetensors is not a .*{found}"):
        SafetensorsFile(name)
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("raw", [b"", b"abc", b"\0" * 8, b"\xff" * 8, b"\xff" * 7 + b"\x7f{}"])
def test_other_files_are_refused(raw):
    Path("raw").write_bytes(raw)
    with pytest.raises(InvalidValueError, match="is not a complete safetensors file"):
        safetensors_to_numpy_zero_copy("raw")


def test_every_truncation_is_found():
    whole = ST.make(values("float64")).path.read_bytes()
    for length in range(0, len(whole), 7):
        Path("cut").write_bytes(whole[:length])
        with pytest.raises(InvalidValueError):
            SafetensorsFile("cut")


@pytest.mark.parametrize("dtype", ["Q4", "f32", "", "F32\0", 3, None, ["F32"], {}])
def test_unknown_type_is_refused(dtype):
    with pytest.raises(InvalidValueError, match="does not support safetensors' type"):
        SafetensorsFile(write({"x": entry(dtype, [2], 0, 8)}, bytes(8)))


def test_headers_that_claim_more_than_the_file_are_refused_at_once(run_python):
    """Nothing of the claimed size is read, mapped or allocated."""
    for length in (2**63, 2**64 - 1, 10**8, 9):
        Path(f"length{length}").write_bytes(struct.pack("<Q", length) + b"{}")
    with open("sparse", "wb") as out:  # a sparse header
        out.write(struct.pack("<Q", 90_000_000) + b"{")
        out.truncate(2**40)
    with open("tensor", "wb") as out:
        header = json.dumps({"x": entry("U8", [2**61], 0, 2**61)}).encode()
        out.write(struct.pack("<Q", len(header)) + header)
    run_python(
        """
import glob, resource, time
from numpack import InvalidValueError
from numpack.io import SafetensorsFile
SafetensorsFile
room = int(open("/proc/self/statm").read().split()[0]) * 4096 + 400_000_000
resource.setrlimit(resource.RLIMIT_AS, (room, room))
for path in (*glob.glob("length*"), "sparse", "tensor"):
    began = time.process_time()
    try:
        SafetensorsFile(path)
    except InvalidValueError as error:
        assert "not a complete safetensors file" in str(error), error
    else:
        raise AssertionError(path)
    assert time.process_time() - began < 2, path
"""
    )


def test_random_headers_agree_with_the_safetensors_package():
    """Both refuse a modified header, or both read the same values."""
    rng, agreed = random.Random(4), collections.Counter()
    times = 3000 if "CRASH" in os.environ else 1000
    data = bytes(range(24))
    for _ in range(times):
        places = {"x": entry("F32", [2], 0, 8), "y": entry("I64", [2, 1], 8, 24)}
        claim = rng.choice(list(places.values()))
        value = rng.choice([0, 1, 2, 3, 4, 8, 16, 24, -1, 2**63, 2.0, True, None, "F64", [2]])
        match rng.randrange(4):
            case 0:
                claim["dtype"] = rng.choice([*module.INFO_BY_CODE, "F128", value])
            case 1:
                claim["shape"] = rng.choice([value, [value], [value, 2], [0, 2**62, 2**62]])
            case 2:
                claim["data_offsets"][rng.randrange(2)] = value
            case 3:
                claim[rng.choice(["extra", "shape"])] = value
        name = write(places, data[: rng.choice([24, 24, 24, 8, 16, 25, 0])])
        raw = Path(name).read_bytes()
        try:
            theirs = {name: bytes(each["data"]) for name, each in deserialize(raw)}
        except SafetensorError:
            theirs = None
        try:
            file = SafetensorsFile(name)
            ours = {name: file.buffer(name).tobytes() for name in file}
        except InvalidValueError:
            ours = None
        agreed[ours is None] += 1
        if ours != theirs:  # NumPy does not support the shape
            assert ours is None, places
            assert any(2**62 in each["shape"] for each in places.values()), places
    assert min(agreed[True], agreed[False]) > times // 10


def test_file_replaced_while_it_is_opened(monkeypatch):
    """The file that was opened is read, not the one that replaced it."""
    read = module.read_header

    def replacing(path, descriptor):
        upstream.save_file({"y": np.zeros(2)}, "other.safetensors")
        os.replace("other.safetensors", path)
        return read(path, descriptor)

    monkeypatch.setattr(module, "read_header", replacing)
    file = SafetensorsFile(write(OK, np.ones(2, "f4").tobytes()))
    assert file["x"].tolist() == [1, 1]


def test_file_truncated_while_it_is_opened(monkeypatch):
    read = module.read_header

    def cutting(path, descriptor):
        found = read(path, descriptor)
        os.truncate(path, 20)
        return found

    monkeypatch.setattr(module, "read_header", cutting)
    with pytest.raises(InvalidValueError, match="was truncated while it was opened"):
        SafetensorsFile(write(OK, bytes(8)))
