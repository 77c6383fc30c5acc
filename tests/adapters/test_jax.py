"""JAX: what is shared, copied and refused, with and without 64-bit types."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from adapters.conformance import COPY, REFUSE, SHARE, FromNumpy, ToNumpy
from jax.experimental import sparse
from numpy.lib.array_utils import byte_bounds
from support.arrays import LOWPREC, NATIVE
from support.arrays import values as values_of
from support.each import for_each
from support.memory import address
from support.oracles import jax as oracle

from numpack import (
    CopyWarning,
    InvalidValueError,
    NumPack,
    UnsupportedError,
    WrongTypeError,
    ZeroCopyArray,
    ZeroCopyError,
    explain,
    share,
)
from numpack._core.memory import aligned_copy, aligned_empty

WIDE = {"int64": "int32", "uint64": "uint32", "float64": "float32", "complex128": "complex64"}


def aligned(name: str, shape: tuple[int, ...] = (4, 6)) -> np.ndarray:
    return aligned_copy(values_of(name, shape))


# NumPy to JAX


@pytest.mark.parametrize("axes", [(0, 2, 1), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_transposed_memory_round_trips_without_a_copy(axes):
    array = aligned("float32", (2, 3, 4)).transpose(axes)
    result = share(array, "jax", copy=False)
    back = share(result, "numpy", copy=False)
    assert explain(result, "numpy").shares_memory
    assert oracle.address(result) == address(array) == address(back)
    assert back.strides == array.strides
    assert back.tolist() == array.tolist()


@for_each("offset", range(4, 68, 4))
def test_unaligned_memory_is_copied(offset):
    array = np.ndarray((10,), "f4", aligned_empty((128,), np.dtype("u1")), offset)
    array[...] = 1
    assert explain(array, "jax").shares_memory is (offset == 64)
    assert share(array, "jax", copy=True).sum() == 10


@pytest.mark.parametrize(
    "change", [lambda a: a[::2], lambda a: a[:, ::-1], np.ndarray.byteswap]
)
def test_the_fix_in_the_message_copies_nothing(change):
    array = change(aligned("float32"))
    route = explain(array.view(array.dtype.newbyteorder()), "jax")
    assert "numpack.ZeroCopyArray(array, copy=True)" in route.fix
    assert explain(ZeroCopyArray(array, copy=True), "jax").shares_memory


# Modes and casts


@pytest.mark.parametrize("name", WIDE)
def test_narrowing_is_refused_unless_requested(name):
    array = aligned(name)
    for copy in (None, False, True):
        with pytest.raises(UnsupportedError, match=f"dtype='{WIDE[name]}'"):
            share(array, "jax", copy=copy)
    with pytest.warns(CopyWarning, match="has to be cast"):
        result = share(array, "jax", dtype=WIDE[name])
    assert (result.dtype.name, result.tolist()) == (WIDE[name], array.tolist())
    with pytest.raises(ZeroCopyError):
        share(array, "jax", dtype=WIDE[name], copy=False)


@pytest.mark.parametrize("name", WIDE)
def test_with_64_bits_everything_is_shared(name):
    array = aligned(name)
    with jax.enable_x64(True):
        result = share(array, "jax", copy=False)
    assert (oracle.address(result), result.dtype) == (address(array), array.dtype)
    back = share(result, "numpy", copy=False)
    assert (address(back), back.dtype) == (address(array), array.dtype)


REPRESENTABLE = [
    ([100, -3], "int8"),
    ([1, 2], "uint8"),
    ([2**31 - 1], "int32"),
    ([-8, 7], "int4"),
    ([True, False], "int32"),
    ([2**62 + 1], "float32"),
    ([1.1, np.nan, np.inf, -np.inf], "bfloat16"),
    ([1.1, np.nan], "float8_e4m3fn"),
    ([6.0, -0.5], "float4_e2m1fn"),
    ([1 + 2j], "complex64"),
]
NOT_REPRESENTABLE = [
    ([200], "int8"),
    ([-1], "uint32"),
    ([2**63], "int32"),
    ([8], "int4"),
    ([1], "bool"),
    ([1.0], "int32"),
    ([1e300], "float32"),
    ([70000.0], "float16"),
    ([np.inf], "float8_e4m3fn"),
    ([0.3], "float4_e2m1fn"),
    ([-1.0], "float8_e8m0fnu"),
    ([1j], "float32"),
    ([70000], "float16"),
]


@for_each(("numbers", "dtype"), REPRESENTABLE)
def test_cast_rounds_values(numbers, dtype):
    array = np.array(numbers)
    assert explain(array, "jax", dtype=dtype).nbytes == len(numbers) * np.dtype(dtype).itemsize
    result = share(array, "jax", dtype=dtype, copy=True)
    assert result.dtype.name == dtype
    wide = np.asarray(result).astype(complex), array.astype(dtype).astype(complex)
    np.testing.assert_array_equal(*wide)


@for_each(("numbers", "dtype"), NOT_REPRESENTABLE)
def test_cast_out_of_range_is_refused(numbers, dtype):
    array = np.array(numbers)
    assert not explain(array, "jax", dtype=dtype).supported
    with pytest.raises(UnsupportedError, match="cannot hold its values"):
        share(array, "jax", dtype=dtype, copy=True)


@pytest.mark.parametrize("name", ["longdouble", "float16", "int4", "float8_e3m4", "bool"])
def test_casts_accept_every_numeric_dtype(name):
    array = values_of(name)
    result = share(array, "jax", dtype=jnp.float32, copy=True)
    assert result.tolist() == array.astype("f4").tolist()


@for_each("name", ["m8[s]", "M8[s]", "U5", "object", "struct", "string"])
def test_casts_refuse_other_dtypes(name):
    with pytest.raises(UnsupportedError):
        share(values_of(name), "jax", dtype="int32", copy=True)


def test_a_mask_is_not_cast():
    with pytest.raises(UnsupportedError, match="no masks"):
        share(np.ma.array([1.0, 2.0], mask=[0, 1]), "jax", dtype="float32")


def test_an_unknown_dtype_is_reported():
    with pytest.raises(InvalidValueError, match="dtype must be"):
        share(np.ones(2), "jax", dtype="float33")


def test_a_cast_to_the_same_dtype_shares_memory():
    assert explain(aligned("float32"), "jax", dtype=jnp.float32).shares_memory


# JAX to NumPy


@pytest.mark.parametrize("end", ["donated", "deleted"])
def test_a_view_outlives_the_deleted_array(end):
    made = jnp.arange(1000.0) + 1
    view = share(made, "numpy", copy=False)
    if end == "deleted":
        made.delete()
    else:
        jax.jit(lambda x: x + 1, donate_argnums=0)(made).block_until_ready()
    _ = [jnp.arange(1000.0) + n for n in range(20)]
    assert view[:3].tolist() == [1, 2, 3]


REFUSED = {
    "keys": (lambda: jax.random.key(0), "key_data"),
    "sparse": (
        lambda: sparse.BCOO((jnp.ones(1), jnp.zeros((1, 2), int)), shape=(2, 2)),
        "todense",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_arrays_without_numbers_are_refused(kind):
    make_one, fix_for = REFUSED[kind]
    with pytest.raises(UnsupportedError, match=fix_for):
        share(make_one(), "numpy")
    assert not explain(make_one(), "numpy").supported


def test_deleted_arrays_are_refused():
    made = jnp.ones(3)
    made.delete()
    with pytest.raises(UnsupportedError, match="deleted"):
        share(made, "numpy")


@pytest.mark.parametrize("transform", [jax.jit, jax.vmap, lambda f: jax.grad(f)])
def test_tracers_are_refused(transform):
    with pytest.raises(UnsupportedError, match="outside of the function"):
        transform(lambda x: share(x, "numpy").sum())(jnp.ones(3))


def test_other_jax_objects_are_of_the_wrong_type():
    with pytest.raises(WrongTypeError, match=r"expects a jax\.Array"):
        share(jax.ShapeDtypeStruct((2,), jnp.float32), "numpy")


# Memory that must not be written, and lifetimes


def test_donation_does_not_write_to_shared_memory(tmp_path):
    (tmp_path / "a.bin").write_bytes(np.arange(4096, dtype="f4").tobytes())
    mapped = np.memmap("a.bin", "f4", "r")
    plus_one = jax.jit(lambda x: x.at[:].add(1), donate_argnums=0)
    same = jax.jit(lambda x: x, donate_argnums=0)
    for source in (mapped, aligned("float32", (4096,))):
        before = source[:3].tolist()
        assert plus_one(share(source, "jax", copy=False))[0] == before[0] + 1
        assert plus_one(same(share(source, "jax", copy=False)))[0] == before[0] + 1
        assert source[:3].tolist() == before


def test_an_array_of_a_store_is_shared():
    with NumPack("s.npk") as npk:
        npk.save({"a": np.arange(100, dtype="f4")})
        for array in (npk.load("a"), npk.load("a", lazy=True)):
            assert share(array, "jax", copy=False).sum() == 4950


UNSUPPORTED = ["float6_e2m3fn", "float6_e3m2fn", "int1", "uint1"]
PACKED = ["float4_e2m1fn", "int4", "uint4", "int2", "uint2"]
KNOWN = [name for name in [*NATIVE, *LOWPREC] if name not in WIDE and name not in UNSUPPORTED]


def is_compact(array: np.ndarray) -> bool:
    steps = [stride for n, stride in zip(array.shape, array.strides, strict=True) if n > 1]
    lowest, beyond = byte_bounds(array)
    return all(step > 0 for step in steps) and beyond - lowest == array.nbytes


def is_shareable(array: np.ndarray) -> bool:
    """Check the rule of docs/exchange.md: no gaps, native, 64-byte aligned; or empty."""
    if array.size == 0:
        return True
    is_aligned = is_compact(array) and array.dtype.isnative and address(array) % 64 == 0
    return is_aligned and array.dtype.name not in PACKED


class TestFromNumpy(FromNumpy):
    target = "jax"
    back_is_read_only = True

    def kinds(self, name):
        both = name in ("float32", "bfloat16", "float8_e5m2")  # the others are slow
        return super().kinds(name) if both else ("writable",)

    def expected(self, name, layout, array):
        if name not in KNOWN or layout == "masked":
            return REFUSE
        return SHARE if is_shareable(array) else COPY

    def refusal(self, name, layout):
        if name in WIDE and layout != "masked":
            return f"dtype='{WIDE[name]}'"
        return "filled" if name in KNOWN else "JAX has no such dtype|filled"


class TestToNumpy(ToNumpy):
    source = "jax"
    names = KNOWN

    def expected(self, name, shape):
        return COPY if name in PACKED and 0 not in shape else SHARE


def test_several_devices_in_a_fresh_process(run_python):
    """XLA splits the CPU into the requested number of devices."""
    run_python("""
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import jax, jax.numpy as jnp, numpy as np, pytest, torch, numpack
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from numpack import CopyWarning, ZeroCopyError, explain, share
from numpack._core.memory import aligned_empty

first, second = jax.devices()
x = jax.device_put(jnp.arange(64.0), second)
assert explain(x, "numpy").shares_memory
a = share(x, "numpy", copy=False)
assert a.ctypes.data == x.unsafe_buffer_pointer() and a.tolist() == list(range(64))
assert np.shares_memory(share(a, "numpy"), a)
with pytest.warns(numpack.ReadOnlyWarning):
    t = share(x, "torch")
assert t.data_ptr() == x.unsafe_buffer_pointer()

mesh = Mesh(np.array([first, second]), ("i",))
spread = jax.device_put(jnp.arange(64.0), NamedSharding(mesh, PartitionSpec("i")))
route = explain(spread, "numpy")
assert (route.nbytes, "addressable_data" in route.fix) == (256, True)
with pytest.warns(CopyWarning, match="spread over 2 devices"):
    assert share(spread, "numpy").tolist() == list(range(64))
with pytest.raises(ZeroCopyError, match="addressable_data"):
    share(spread, "torch", copy=False)
for target in ("numpy", "torch"):
    assert share(spread, target, copy=True).tolist() == list(range(64))
for part in range(2):
    one = spread.addressable_data(part)
    found = share(one, "numpy", copy=False)
    assert found.ctypes.data == one.unsafe_buffer_pointer()
    assert found.tolist() == list(range(32 * part, 32 * part + 32))

twice = jax.device_put(jnp.arange(64.0), NamedSharding(mesh, PartitionSpec()))
assert not explain(twice, "numpy").shares_memory
assert share(twice, "numpy", copy=True).tolist() == list(range(64))

jax.config.update("jax_enable_x64", True)  # for the whole process
a = aligned_empty((6,), np.dtype("f8")); a[...] = np.arange(6)
assert share(a, "jax", copy=False).unsafe_buffer_pointer() == a.ctypes.data
""")
