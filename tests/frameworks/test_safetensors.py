"""safetensors files: mapped and shared, alignment reported, damage detected.

Expected results are derived from docs/exchange.md.
"""

from __future__ import annotations

import collections
import gc
import json
import os
import pickle
import random
import socket
import struct
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest
import torch
from safetensors import SafetensorError, deserialize, safe_open
from safetensors import numpy as upstream
from support.arrays import LOWPREC, NATIVE, OTHERS, TIMES, cells, elements, make, values
from support.memory import address, file_position, is_private_copy_on_write
from support.oracles import oracle

from numpack import (
    CopyWarning,
    InvalidValueError,
    NotFoundError,
    NumPack,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyArray,
    ZeroCopyError,
    explain,
    share,
)
from numpack.adapters import by_name
from numpack.io import SafetensorsFile, safetensors_to_numpy_zero_copy

module = by_name("safetensors").module()
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


@pytest.mark.parametrize("shape", [(4, 6), (), (3,), (0, 3), (2, 0, 1)])
@pytest.mark.parametrize("name", SUPPORTED)
def test_values_are_shared_by_dtype_and_shape(name, shape):
    file = ST.make(values(name, shape))
    route = explain(file, "numpy")
    assert (route.shares_memory, route.nbytes) == (True, 0)
    array = share(file, "numpy", copy=False)
    assert (array.dtype, array.shape) == (values(name).dtype, shape)
    assert elements(array) == elements(values(name, shape)) == elements(ST.values(file))
    assert not array.flags.writeable
    own = share(file, "numpy", copy=True)
    assert own.flags.writeable
    assert elements(own) == elements(array)
    if array.size:
        inode, position = file_position(address(array))
        assert inode == file.path.stat().st_ino
        assert file.path.read_bytes()[position:] == array.tobytes()
        assert address(own) != address(array)


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


def test_arrays_cannot_be_written():
    array = ST.make(values("float32"))["x"]
    with pytest.raises(ValueError, match="WRITEABLE"):
        array.flags.writeable = True
    with pytest.raises(ValueError, match="read-only"):
        array[0] = 0


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


# Selection of a tensor


def test_tensor_must_be_named():
    upstream.save_file({"weight": np.zeros(2), "bias": np.zeros(1)}, "two.safetensors")
    file = SafetensorsFile("two.safetensors")
    assert share(file, "numpy", tensor="bias").shape == (1,)
    assert explain(file, "torch", tensor="weight").shares_memory
    for verb in (share, explain):
        with pytest.raises(InvalidValueError, match="holds 2 tensors; name one of them with"):
            verb(file, "torch")
        with pytest.raises(NotFoundError, match="no tensor is called 'wieght'.*did you mean"):
            verb(file, "torch", tensor="wieght")
        with pytest.raises(WrongTypeError, match="tensor expects the name"):
            verb(file, "torch", tensor=0)
        with pytest.raises(WrongTypeError, match="options are: device, tensor"):
            verb(file, "torch", name="bias")
    assert file.get("nothing") is None
    with pytest.raises(KeyError):
        safetensors_to_numpy_zero_copy("two.safetensors", "nothing")
    with pytest.raises(KeyError):
        file[0]


def test_error_lists_a_limited_number_of_names():
    upstream.save_file({f"layer{n}": np.zeros(1) for n in range(500)}, "many.safetensors")
    with pytest.raises(NotFoundError, match=r"and 480 more; did you mean 'layer499'") as caught:
        SafetensorsFile("many.safetensors")["layers499"]
    assert len(str(caught.value)) < 600


def test_unusual_names_and_empty_files():
    names = ["", " ", "a/b.c", "é\n\t\"'", "\0", "__metadata", "你好", "x" * 5000]
    header = {name: entry("U8", [1], n, n + 1) for n, name in enumerate(names)}
    file = SafetensorsFile(write(header, bytes(range(len(names)))))
    assert [(name, file[name][0]) for name in file] == list(zip(names, range(8), strict=True))
    nothing = SafetensorsFile(write({}))
    assert (dict(nothing), nothing.metadata) == ({}, {})
    assert safetensors_to_numpy_zero_copy("hand.safetensors") == {}
    with pytest.raises(InvalidValueError, match="holds 0 tensors"):
        share(nothing, "numpy")


def test_empty_tensors_can_have_any_offset():
    header = {
        "z": entry("F64", [], 0, 8),
        "after": entry("F32", [0, 3], 8, 8),
        "before": entry("F32", [3, 0], 0, 0),
    }
    file = SafetensorsFile(write(header, struct.pack("<d", 2.5)))
    assert {name: file[name].shape for name in file} == {
        "z": (),
        "after": (0, 3),
        "before": (3, 0),
    }
    assert file["z"] == 2.5


@pytest.mark.parametrize(
    ("dtype", "count", "name"),
    [("F4", 2, "float4"), ("F6_E2M3", 3, "float6"), ("F6_E3M2", 3, "")],
)
def test_packed_tensors_are_refused(dtype, count, name):
    header = {"x": entry(dtype, [4], 0, count), "y": entry("U8", [1], count, count + 1)}
    file = SafetensorsFile(write(header, bytes([7] * count + [9])))
    assert file["y"].tolist() == [9]
    for copy in (None, False, True):
        with pytest.raises(UnsupportedError, match=f"{name}.*are packed across bytes"):
            share(file, "numpy", tensor="x", copy=copy)
    assert "buffer('x')" in explain(file, "torch", tensor="x").fix
    assert file.buffer("x").tolist() == [7] * count
    assert not file.buffer("x").flags.writeable


# Damage

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


def test_special_files_are_refused_without_blocking():
    os.mkfifo("fifo")
    Path("to_fifo").symlink_to("fifo")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind("socket")
        for path in ("fifo", "to_fifo", "socket", "/dev/zero", "/dev/null"):
            with pytest.raises(InvalidValueError, match="is not a regular file"):
                SafetensorsFile(path)
    with pytest.raises(InvalidValueError, match="NUL"):
        SafetensorsFile("x\0")


def test_symbolic_link_to_a_file_is_followed():
    upstream.save_file({"x": np.arange(3)}, "blob")
    Path("model.safetensors").symlink_to("blob")
    assert SafetensorsFile("model.safetensors")["x"].tolist() == [0, 1, 2]


def test_random_headers_agree_with_the_safetensors_package():
    """Both refuse a modified header, or both read the same values."""
    rng, agreed = random.Random(4), collections.Counter()
    data = bytes(range(24))
    for _ in range(3000):
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
    assert min(agreed[True], agreed[False]) > 300


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


def test_missing_file_and_wrong_arguments():
    with pytest.raises(FileNotFoundError):
        SafetensorsFile("missing.safetensors")
    with pytest.raises(IsADirectoryError):
        SafetensorsFile(".")
    for wrong in (b"bytes of a file", 3, None, np.zeros(2)):
        with pytest.raises(WrongTypeError, match="SafetensorsFile expects a path"):
            safetensors_to_numpy_zero_copy(wrong)
    with pytest.raises(InvalidValueError, match="copy must be"):
        safetensors_to_numpy_zero_copy("missing.safetensors", copy="no")
    with pytest.raises(WrongTypeError, match=r"numpack.io.SafetensorsFile\(x\)"):
        share(Path("missing.safetensors"), "numpy")


# Lifetimes


def test_arrays_outlive_the_file(tmp_path):
    expected = values("float32").tolist()
    with ST.make(values("float32")) as file:
        array, tensor = file["x"], share(file, "torch", copy=False)
    with pytest.raises(InvalidValueError, match="is closed; open it again"):
        file["x"]
    path = file.path.rename(tmp_path / "moved")
    later = share(array, "torch", copy=False)  # mapped again after the file was moved
    path.unlink()
    del file
    gc.collect()
    assert array.tolist() == tensor.tolist() == later.tolist() == expected
    assert share(array, "torch", copy=False).tolist() == expected


def test_file_replaced_by_renaming_is_still_read():
    file = ST.make(values("float32"))
    upstream.save_file({"x": np.zeros(3)}, "new")
    os.replace("new", file.path)
    assert elements(file["x"]) == elements(values("float32"))
    assert SafetensorsFile(file.path)["x"].shape == (3,)


def test_relative_path_after_a_change_of_directory(tmp_path, monkeypatch):
    upstream.save_file({"x": np.arange(3)}, "here.safetensors")
    file = SafetensorsFile("here.safetensors")
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path / "sub")
    assert share(file, "torch", copy=False).tolist() == [0, 1, 2]
    assert pickle.loads(pickle.dumps(file))["x"].tolist() == [0, 1, 2]


def test_pickle_contains_only_the_path():
    file = ST.make(np.zeros(100_000))
    assert len(pickle.dumps(file)) < 1000


def test_descriptors_and_mappings_are_released():
    path = ST.make(values("float32")).path
    gc.collect()
    before = (
        len(os.listdir("/proc/self/fd")),
        Path("/proc/self/maps").read_text().count(str(path)),
    )
    for _ in range(100):
        safetensors_to_numpy_zero_copy(path)
        share(SafetensorsFile(path), "torch")
    gc.collect()
    after = (
        len(os.listdir("/proc/self/fd")),
        Path("/proc/self/maps").read_text().count(str(path)),
    )
    assert after == before


# To safetensors


@pytest.mark.parametrize(("name", "layout"), cells([*NATIVE, *LOWPREC, *TIMES, *OTHERS]))
def test_conversion_to_safetensors_is_refused(name, layout, tmp_path):
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
        path = tmp_path / "x.safetensors"
        upstream.save_file({"x": np.asarray(a, order="C")}, path)
        assert elements(SafetensorsFile(path)["x"]) == elements(a)


def test_the_fix_avoids_a_silent_error_of_save_file():
    """`save_file` ignores the strides and assumes C order (0.8)."""
    a = np.arange(6.0).reshape(2, 3).T
    upstream.save_file({"x": a}, "wrong.safetensors")
    assert SafetensorsFile("wrong.safetensors")["x"].tolist() != a.tolist()


def test_store_saves_the_tensors_of_a_file():
    with NumPack("from.npk") as npk:
        npk.save(dict(ST.make(values("bfloat16"))))
        assert npk.load("x").dtype == ml_dtypes.bfloat16


def test_safetensors_is_imported_lazily(run_python):
    run_python(
        "import sys, numpack.io\n"
        "assert 'safetensors' not in sys.modules\n"
        "assert not hasattr(numpack.io, 'Safetensors')\n"
        "from numpack.io import SafetensorsFile\n"
        "assert 'safetensors' in sys.modules\n"
    )
