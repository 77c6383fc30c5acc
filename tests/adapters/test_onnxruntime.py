"""ONNX Runtime in both directions: what is shared, copied and refused, and known errors.

Expected results are derived from docs/exchange.md.
"""

from __future__ import annotations

import gc
import sys
import threading

import ml_dtypes
import numpy as np
import onnxruntime
import pytest
import torch
from adapters.conformance import COPY, REFUSE, SHARE, FromNumpy, ToNumpy
from onnxruntime import OrtValue
from support.arrays import (
    CONTIGUOUS,
    LOWPREC,
    NATIVE,
    aligned,
    elements,
    make,
    values,
)
from support.each import assert_each, for_each
from support.exchange import onnx
from support.memory import address
from support.oracles import oracle

from numpack import (
    CopyWarning,
    NumPack,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyError,
    explain,
    share,
)
from numpack.adapters import by_name

module = by_name("onnxruntime").module()
ORT = oracle("onnxruntime")
PACKED = ["int4", "uint4", "int2", "uint2", "float4_e2m1fn"]
FLOAT = onnx.tensor(onnx.FLOAT)


# Sub-byte values


@for_each("count", [0, 1, 5, 8, 13])
@for_each("name", PACKED)
def test_packed_values_round_trip(name, count):
    a = (np.arange(count) % 4 - 2 * name.startswith("int")).astype(getattr(ml_dtypes, name))
    with pytest.warns(CopyWarning, match="values of .* in a byte and NumPy stores one"):
        value = share(a, "onnxruntime")
    assert value.tensor_size_in_bytes() == explain(a, "onnxruntime").nbytes
    assert elements(ORT.values(value)) == elements(a)
    route = explain(value, "numpy")
    assert (route.shares_memory, route.nbytes) == (False, count)
    with pytest.warns(CopyWarning, match="from ONNX Runtime failed"):
        back = share(value, "numpy")
    assert elements(back) == elements(a)
    with pytest.raises(ZeroCopyError):
        share(value, "numpy", copy=False)
    assert explain(value, "jax").steps[1].action == ("copied" if count else "shared")


@pytest.mark.parametrize(("name", "opset"), [("int4", 21), ("int2", 25)])
def test_model_reads_packed_values(name, opset):
    a = np.array([-2, 1, 0, -1, 1], getattr(ml_dtypes, name))
    number = module._TYPE_NUMBERS[name]
    widen = onnx.session(
        "Cast",
        onnx.tensor(number),
        onnx.tensor(onnx.INT8),
        attribute=onnx.to_type(onnx.INT8),
        opset=opset,
    )
    [out] = widen.run_with_ort_values(None, {"x": share(a, "onnxruntime", copy=True)})
    assert out.numpy().tolist() == [-2, 1, 0, -1, 1]


# Silent errors of ONNX Runtime


def test_silent_errors_of_onnxruntime_are_avoided():
    """If one of these is fixed upstream, its workaround in the adapter can be removed."""
    big = np.arange(3, dtype=">f4")
    assert OrtValue.ortvalue_from_numpy(big).numpy().tolist() != big.tolist()
    strided = np.arange(6.0)[::2]
    assert OrtValue.ortvalue_from_numpy(strided).data_ptr() != address(strided)
    masked = np.ma.array([1.0, 2.0], mask=[True, False])
    assert OrtValue.ortvalue_from_numpy(masked).numpy().tolist() == [1, 2]
    frozen = np.zeros(2)
    frozen.flags.writeable = False
    assert OrtValue.ortvalue_from_numpy(frozen).numpy().flags.writeable
    codes = np.zeros(3, "u1")
    float8 = OrtValue.ortvalue_from_numpy_with_onnx_type(codes, 17)
    assert float8.numpy().dtype == np.uint8


def test_model_computes_on_shared_memory(tmp_path):
    double = onnx.session("Add", FLOAT, FLOAT, inputs=("x", "x"))
    for layout in ("c", "inside", "memmap_r", "zero_d"):
        a = make("float32", layout, tmp_path)
        [out] = double.run_with_ort_values(None, {"x": share(a, "onnxruntime", copy=False)})
        result = share(out, "numpy", copy=False)
        assert result.tolist() == (a + a).tolist()
        assert address(result) == out.data_ptr()


# Refusals


def test_optional_without_a_value_is_refused_without_a_crash():
    """Its data_type(), shape(), data_ptr() and numpy() crash with SIGSEGV (1.32)."""
    nothing = onnx.session(
        "Optional",
        FLOAT,
        onnx.optional(FLOAT),
        inputs=(),
        attribute=onnx.of_type(FLOAT),
        opset=18,
    )
    [value] = nothing.run_with_ort_values(None, {"x": ORT.make(np.zeros(1, "f4"))})
    assert value.is_tensor()
    assert explain(value, "torch").reason == "it has no value"
    with pytest.raises(UnsupportedError, match=r"ask value.has_value\(\) first"):
        share(value, "numpy")


def test_optional_with_a_value_is_a_tensor():
    some = onnx.session("Optional", FLOAT, onnx.optional(FLOAT), opset=18)
    [value] = some.run_with_ort_values(None, {"x": ORT.make(np.ones(2, "f4"))})
    assert share(value, "numpy", copy=False).tolist() == [1, 1]


def test_values_other_than_tensors_are_refused():
    pair = onnx.session("SequenceConstruct", FLOAT, onnx.sequence(FLOAT), inputs=("x", "x"))
    [sequence] = pair.run_with_ort_values(None, {"x": ORT.make(np.ones(2, "f4"))})
    with pytest.raises(UnsupportedError, match="seq.*it is not a tensor; .*session.run"):
        share(sequence, "numpy")
    coo = onnxruntime.SparseTensor.sparse_coo_from_numpy(
        np.array([3, 3]),
        np.ones(2, "f4"),
        np.array([0, 4]),
        onnxruntime.OrtDevice.make("cpu", 0),
    )
    with pytest.raises(WrongTypeError, match="got onnxruntime.*SparseTensor"):
        share(coo, "numpy")
    assert coo.values().tolist() == [1, 1]
    sparse = OrtValue.ort_value_from_sparse_tensor(coo)
    with pytest.raises(UnsupportedError, match=r"as_sparse_tensor\(\)"):
        share(sparse, "numpy")
    assert sparse.as_sparse_tensor().values().tolist() == [1, 1]


@pytest.mark.parametrize("wrong", [ORT.make(np.zeros(1))._ortvalue, onnxruntime.RunOptions()])
def test_other_objects_of_onnxruntime_are_refused(wrong):
    with pytest.raises(
        WrongTypeError, match="expects an onnxruntime.OrtValue, got onnxruntime"
    ):
        share(wrong, "numpy")


@for_each(
    ("array", "out"),
    [
        (np.array([1 + 2j]), lambda x: np.stack([x.real, x.imag], -1)),
        (np.zeros(2, "M8[s]"), lambda x: x.view("i8")),
        (np.zeros(2, "m8[s]"), lambda x: x.view("i8")),
        (np.zeros(2, "g"), lambda x: x.astype(np.float64)),
        (np.zeros(2, "V3"), lambda x: x.view("u1")),
        (np.zeros(2, [("a", "i4"), ("b", "f4")]), lambda x: np.ascontiguousarray(x["a"])),
        (np.zeros(2, ml_dtypes.float8_e3m4), lambda x: x.astype(np.float32)),
        (np.zeros(2, ml_dtypes.float6_e2m3fn), lambda x: x.astype(np.float32)),
        (np.ma.array([1, 2], mask=[0, 1]), lambda x: x.filled(0)),
    ],
    ids=lambda x: str(getattr(x, "dtype", "")),
)
def test_fixes_of_refusals_work(array, out):
    assert not explain(array, "onnxruntime").supported
    assert share(out(array), "onnxruntime", copy=False).shape()


@pytest.mark.parametrize(
    "strings",
    [
        np.array(["é", "b", ""]),
        np.array(["a\0b", "c\0"], object),
        np.array([b"a", b"b"]),
        np.array(["x"], np.dtypes.StringDType()),
    ],
    ids=["U", "O", "S", "T"],
)
def test_strings_are_passed_to_the_session(strings):
    """ONNX Runtime reads past fixed-width bytes and truncates str at a NUL (1.32)."""
    assert "InferenceSession.run" in explain(strings, "onnxruntime").fix
    text = onnx.tensor(onnx.STRING)
    same = onnx.session("Identity", text, text)
    objects = (strings.astype("U") if strings.dtype.kind == "S" else strings).astype(object)
    [out] = same.run(None, {"x": objects})
    assert out.tolist() == objects.tolist()


def test_strings_of_a_model_are_copied():
    spell = onnx.session(
        "Cast", FLOAT, onnx.tensor(onnx.STRING), attribute=onnx.to_type(onnx.STRING)
    )
    [value] = spell.run_with_ort_values(None, {"x": ORT.make(np.array([1, 2], "f4"))})
    assert explain(value, "numpy").nbytes == 16
    with pytest.warns(CopyWarning, match="its strings are C"):
        assert share(value, "numpy").tolist() == ["1", "2"]
    with pytest.raises(ZeroCopyError):
        share(value, "numpy", copy=False)
    with pytest.warns(CopyWarning):
        assert share(value, "arrow").to_pylist() == ["1", "2"]


class DeviceValue(OrtValue):
    """A value that claims to be on a device, which a CPU build cannot create."""

    def device_name(self):
        return "cuda"


def test_device_memory_is_copied():
    value = DeviceValue(ORT.make(np.arange(3.0))._ortvalue)
    assert explain(value, "numpy").reason == "its memory is on cuda"
    with pytest.warns(CopyWarning, match="bind the output to the CPU"):
        assert share(value, "numpy").tolist() == [0, 1, 2]
    with pytest.raises(ZeroCopyError):
        share(value, "numpy", copy=False)
    narrow = ORT.make(np.zeros(2, ml_dtypes.bfloat16))
    with pytest.raises(UnsupportedError, match="does not copy it from cuda"):
        share(DeviceValue(narrow._ortvalue, narrow._numpy_obj), "numpy")


def test_dtype_that_an_older_version_lacks(monkeypatch):
    """Versions up to 1.26 raise RuntimeError for float8_e8m0fnu."""

    def refusing(shape, element_type):
        raise RuntimeError(f"tensor type {element_type} is not supported")

    module._is_known.cache_clear()
    monkeypatch.setattr(OrtValue, "ortvalue_from_shape_and_type", refusing)
    a = np.zeros(2, ml_dtypes.float8_e8m0fnu)
    assert explain(a, "onnxruntime").reason == "no OrtValue holds this dtype"
    module._is_known.cache_clear()


# Lifetimes


def test_every_result_keeps_the_memory_alive():
    a = np.full(1000, 7.0)
    count = sys.getrefcount(a)
    value = share(a, "onnxruntime", copy=False)
    theirs, ours = value.numpy(), share(value, "numpy", copy=False)
    del value
    gc.collect()
    assert sys.getrefcount(a) > count
    assert theirs.sum() == ours.sum() == 7000
    last = [theirs, ours]
    del theirs, ours
    dropping = threading.Thread(target=last.clear)
    dropping.start()
    dropping.join()
    gc.collect()
    assert sys.getrefcount(a) == count


def test_bound_value_is_kept_alive():
    """A value that ONNX Runtime itself makes over NumPy memory would dangle."""
    same = onnx.session("Identity", FLOAT, FLOAT)
    out, binding = np.zeros(1000, "f4"), same.io_binding()
    binding.bind_ortvalue_input("x", share(np.ones(1000, "f4"), "onnxruntime", copy=False))
    binding.bind_ortvalue_output("y", share(out, "onnxruntime", copy=False))
    gc.collect()
    np.zeros(1000, "f4")
    same.run_with_iobinding(binding)
    assert (out == 1).all()


# Read-only memory


def test_writes_do_not_reach_a_file(tmp_path):
    mapped = make("float32", "memmap_r", tmp_path)
    before = mapped.tolist()
    with NumPack("store.npk") as npk:
        npk.save({"x": values("float32")})
        for frozen in (mapped, npk.load("x", lazy=True)):
            value = share(frozen, "onnxruntime", copy=False)
            value.update_inplace(np.zeros((4, 6), "f4"))
            share(value, "numpy")[...] = 1
            assert np.asarray(frozen).tolist() == before


def test_value_over_a_read_only_array_gives_a_read_only_array(tmp_path):
    """`OrtValue.numpy` returns a writable array, and a write to it crashes."""
    mapped = make("float32", "memmap_r", tmp_path)
    value = OrtValue.ortvalue_from_numpy(mapped)
    assert not share(value, "numpy", copy=False).flags.writeable
    tensor = share(value, "torch", copy=False)
    tensor.zero_()
    assert mapped.tolist() == values("float32").tolist()
    assert share(value, "numpy", copy=True).flags.writeable


def test_torch_round_trip_shares_memory():
    tensor = torch.arange(6, dtype=torch.bfloat16).reshape(2, 3)
    value = share(tensor, "onnxruntime", copy=False)
    assert value.data_ptr() == tensor.data_ptr()
    back = share(value, "torch", copy=False)
    assert back.data_ptr() == tensor.data_ptr()
    assert torch.equal(back, tensor)
    with pytest.warns(CopyWarning, match="not C-contiguous"):
        share(tensor.t(), "onnxruntime")


WHOLE = [name for name in NATIVE if not name.startswith("complex")]
WHOLE += [name for name in LOWPREC if ORT.make(values(name)) is not None]


class TestFromNumpy(FromNumpy):
    target = "onnxruntime"
    cautions = True
    back_is_read_only = False

    def expected(self, name, layout, array):
        if name not in (*WHOLE, *PACKED) or layout == "masked":
            return REFUSE
        in_place = layout in CONTIGUOUS or layout == "odd_bytes"
        if name in PACKED or not in_place or not aligned(name, layout):
            return COPY
        return SHARE

    def copied_bytes(self, name, array):
        if name not in PACKED:
            return array.nbytes
        values_in_a_byte = 8 // (2 if name.endswith("2") else 4)
        return -(-array.size // values_in_a_byte)

    def shape(self, result):
        return tuple(result.shape())

    def check_own(self, own, array):
        if array.nbytes and array.dtype.name not in PACKED:
            assert own.data_ptr() % 64 == 0


class TestToNumpy(ToNumpy):
    source = "onnxruntime"
    names = WHOLE
    writable = True


def test_versions_before_1_32_share_memory(monkeypatch):
    monkeypatch.setattr(module, "_OWNS_MEMORY", False)
    arrays = {name: values(name) for name in WHOLE}
    made = {name: share(a, "onnxruntime", copy=False) for name, a in arrays.items()}

    def check(name):
        assert elements(ORT.values(made[name])) == elements(values(name))

    for name, array in arrays.items():
        assert ORT.address(made[name]) == address(array)
        check(name)
    arrays.clear()
    del array
    gc.collect()
    assert_each(WHOLE, check)
