"""Safetensors files: names of tensors, special files, and lifetimes."""

from __future__ import annotations

import gc
import json
import os
import pickle
import socket
import struct
from pathlib import Path

import numpy as np
import pytest
from safetensors import numpy as upstream
from support.arrays import elements, values
from support.oracles import oracle

from numpack import (
    InvalidValueError,
    NotFoundError,
    UnsupportedError,
    WrongTypeError,
    explain,
    share,
)
from numpack.io import SafetensorsFile, safetensors_to_numpy_zero_copy

ST = oracle("safetensors")


def entry(dtype: str, shape: list[int], start: int, stop: int) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [start, stop]}


def write(header: dict | bytes, data: bytes = b"", *, pad: int = 0, name="hand.safetensors"):
    """Write a file with `pad` spaces after the header, aligned or not."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    text += b" " * pad
    Path(name).write_bytes(struct.pack("<Q", len(text)) + text + data)
    return name


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


def test_safetensors_is_imported_lazily(run_python):
    run_python(
        "import sys, numpack.io\n"
        "assert 'safetensors' not in sys.modules\n"
        "assert not hasattr(numpack.io, 'Safetensors')\n"
        "from numpack.io import SafetensorsFile\n"
        "assert 'safetensors' in sys.modules\n"
    )
