"""JAX: what is shared, copied and refused, with and without 64-bit types."""

from __future__ import annotations

import gc
import sys
import threading

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
from jax.experimental import sparse
from numpy.lib.array_utils import byte_bounds
from support.arrays import LOWPREC, NATIVE, OTHERS, TIMES, cells, elements, make
from support.arrays import values as values_of
from support.memory import address, shares_pages
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
UNSUPPORTED = ["float6_e2m3fn", "float6_e3m2fn", "int1", "uint1"]
PACKED = ["float4_e2m1fn", "int4", "uint4", "int2", "uint2"]
KNOWN = [name for name in [*NATIVE, *LOWPREC] if name not in WIDE and name not in UNSUPPORTED]


def aligned(name: str, shape: tuple[int, ...] = (4, 6)) -> np.ndarray:
    return aligned_copy(values_of(name, shape))


def references(array: np.ndarray) -> int:
    """Count the references to the array and to the buffer that it views."""
    return sys.getrefcount(array) + sys.getrefcount(array.base)


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


# NumPy to JAX


@pytest.mark.parametrize(
    ("name", "layout", "readonly"),
    [(*cell, False) for cell in cells(KNOWN)]
    + [(*cell, True) for cell in cells(["float32", "bfloat16"])],
)
def test_conversion_by_dtype_and_layout(name, layout, readonly, tmp_path):
    array = make(name, layout, tmp_path, readonly=readonly)
    route = explain(array, "jax")
    if layout == "masked":
        assert not route.supported
        with pytest.raises(UnsupportedError, match="filled"):
            share(array, "jax")
        return
    assert route.shares_memory is is_shareable(array)
    if route.shares_memory:
        result = share(array, "jax", copy=False)
        assert array.size == 0 or shares_pages(address(array), oracle.address(result))
    else:
        assert route.nbytes == array.nbytes
        with pytest.raises(ZeroCopyError):
            share(array, "jax", copy=False)
        with pytest.warns(CopyWarning):
            result = share(array, "jax")
    assert (result.dtype.name, result.shape) == (name, array.shape)
    assert elements(oracle.values(result)) == elements(array)


@pytest.mark.parametrize("shape", [(4, 6), (1,), (), (0, 3), (2, 0)])
@pytest.mark.parametrize("name", [name for name in KNOWN if name not in PACKED])
def test_aligned_memory_round_trips_without_a_copy(name, shape):
    array = aligned(name, shape)
    result = share(array, "jax", copy=False)
    back = share(result, "numpy", copy=False)
    assert array.size == 0 or oracle.address(result) == address(array) == address(back)
    assert (back.dtype, back.shape) == (array.dtype, array.shape)
    assert not back.flags.writeable
    assert explain(result, "numpy").shares_memory


@pytest.mark.parametrize("axes", [(0, 2, 1), (1, 2, 0), (2, 0, 1), (2, 1, 0)])
def test_transposed_memory_round_trips_without_a_copy(axes):
    array = aligned("float32", (2, 3, 4)).transpose(axes)
    result = share(array, "jax", copy=False)
    back = share(result, "numpy", copy=False)
    assert explain(result, "numpy").shares_memory
    assert oracle.address(result) == address(array) == address(back)
    assert back.strides == array.strides
    assert back.tolist() == array.tolist()


@pytest.mark.parametrize("offset", range(4, 68, 4))
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


@pytest.mark.parametrize("name", [*UNSUPPORTED, *TIMES, *OTHERS])
def test_unknown_dtypes_are_refused(name):
    array = values_of(name)
    assert not explain(array, "jax").supported
    for copy in (None, False, True):
        with pytest.raises(UnsupportedError, match="JAX has no such dtype"):
            share(array, "jax", copy=copy)


def test_a_copy_is_independent():
    array = aligned("float32")
    result = share(array, "jax", copy=True)
    other = share(result, "numpy", copy=True)
    assert len({address(array), oracle.address(result), address(other)}) == 3
    assert other.flags.writeable


def test_a_write_through_numpy_is_visible():
    array = aligned("float32")
    result = share(array, "jax")
    array[0, 0] = 77
    assert result[0, 0] == 77


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


@pytest.mark.parametrize(("numbers", "dtype"), REPRESENTABLE)
def test_cast_rounds_values(numbers, dtype):
    array = np.array(numbers)
    assert explain(array, "jax", dtype=dtype).nbytes == len(numbers) * np.dtype(dtype).itemsize
    result = share(array, "jax", dtype=dtype, copy=True)
    assert result.dtype.name == dtype
    wide = np.asarray(result).astype(complex), array.astype(dtype).astype(complex)
    np.testing.assert_array_equal(*wide)


@pytest.mark.parametrize(("numbers", "dtype"), NOT_REPRESENTABLE)
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


@pytest.mark.parametrize("name", ["m8[s]", "M8[s]", "U5", "object", "struct", "string"])
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


@pytest.mark.parametrize("name", KNOWN)
def test_arrays_that_jax_made_are_shared(name):
    made = oracle.make(values_of(name))
    route = explain(made, "numpy")
    assert route.shares_memory is (name not in PACKED)
    if name in PACKED:
        with pytest.warns(CopyWarning, match="sub-byte"):
            array = share(made, "numpy")
    else:
        array = share(made, "numpy", copy=False)
        assert address(array) == oracle.address(made)
    assert elements(array) == elements(values_of(name))
    assert array.flags.writeable is (name in PACKED)
    if name in PACKED:  # the copy is independent of JAX's cached value
        array[...] = 0
        assert elements(share(made, "numpy", copy=True)) == elements(values_of(name))


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
    "sparse": (lambda: sparse.BCOO.fromdense(jnp.eye(2)), "todense"),
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


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float8_e5m2"])
def test_memory_is_freed_with_the_last_reference(name):
    array = aligned(name, (1000,))
    before = references(array)
    made = share(array, "jax", copy=False)
    held = [share(made, "numpy", copy=False)]
    assert references(array) > before
    del made
    gc.collect()
    assert elements(held[0]) == elements(array)
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    gc.collect()
    assert references(array) == before


def test_repeated_conversions_leak_nothing():
    array = aligned("float32")
    before = references(array)
    for _ in range(1000):
        share(share(array, "jax"), "numpy")
    gc.collect()
    assert references(array) == before


def test_several_devices_and_64_bits_in_a_fresh_process(run_python):
    out = run_python(
        """
import os
os.environ["XLA_FLAGS"] = "--xla_force_host_platform_device_count=2"
import numpy as np, jax, jax.numpy as jnp, numpack
from numpack._core.memory import aligned_empty
jax.config.update("jax_enable_x64", True)
a = aligned_empty((6,), np.dtype("f8")); a[...] = np.arange(6)
assert numpack.share(a, "jax", copy=False).unsafe_buffer_pointer() == a.ctypes.data
spread = jax.sharding.NamedSharding(jax.make_mesh((2,), ("x",)), jax.P("x"))
b = jax.device_put(jnp.arange(6.0), spread)
route = numpack.explain(b, "numpy")
assert (route.nbytes, "addressable_data" in route.fix) == (48, True)
print(numpack.share(b, "numpy", copy=True).tolist())
print(numpack.share(b.addressable_data(1), "numpy", copy=False).tolist())
""",
    )
    assert out.splitlines() == ["[0.0, 1.0, 2.0, 3.0, 4.0, 5.0]", "[3.0, 4.0, 5.0]"]


def test_ml_dtypes_keep_their_names():
    array = np.array([1, 2], ml_dtypes.float8_e4m3fn)
    assert share(share(array, "jax", copy=True), "numpy").dtype == array.dtype
