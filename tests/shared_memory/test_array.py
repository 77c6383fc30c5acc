"""Shared arrays in one process: ndarrays, whose views are pickled by reference."""

from __future__ import annotations

import copy
import gc
import os
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest
from support.each import for_each
from support.memory import address

from numpack import (
    NoMemoryError,
    SharedArray,
    SharedMemoryError,
    UnsupportedError,
    explain,
    share,
    share_memory,
)
from numpack.errors import InvalidValueError, WrongTypeError

DTYPES = ["?", "i1", "f2", "f8", ">f4", "c16", "S3", "U2", "M8[ns]", "m8[s]", "V5", "g"]
DTYPES += [[("a", "i4"), ("b", "f8", 2)]]
VIEWS = {
    "rows": lambda a: a[2:5],
    "columns": lambda a: a[:, 1:3],
    "every second": lambda a: a[::2],
    "reversed": lambda a: a[::-1, ::-2],
    "transposed": lambda a: a.T,
    "reshaped": lambda a: a.reshape(-1),
    "one": lambda a: a[1, 2:3],
    "0-d": lambda a: a[1, 2, ...],
    "broadcast": lambda a: np.broadcast_to(a[:1], (9, 4), subok=True),
    "other dtype": lambda a: a.view("i4"),
    "empty": lambda a: a[3:3],
}


def roundtrip(array):
    return pickle.loads(pickle.dumps(array))


def filled() -> SharedArray:
    array = SharedArray((6, 4))
    array[:] = np.arange(24).reshape(6, 4)
    return array


def descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def mappings() -> int:
    return Path("/proc/self/maps").read_text().count("memfd:numpack")


@for_each("shape", [(), (3,), 5, (2, 3, 4), (0,), (0, 3), [2, 2], np.int64(4)])
@for_each("dtype", DTYPES)
def test_new_arrays_are_zeros_of_the_shape_and_dtype(dtype, shape):
    array, expected = SharedArray(shape, dtype), np.zeros(shape, dtype)
    assert (type(array), array.shape, array.dtype) == (
        SharedArray,
        expected.shape,
        expected.dtype,
    )
    assert array.flags.c_contiguous
    assert array.flags.writeable
    assert address(array) % 4096 == 0 or not array.nbytes
    assert array.tobytes() == expected.tobytes()
    assert (roundtrip(array).dtype, roundtrip(array).shape) == (array.dtype, array.shape)


def test_dtype_is_float64_by_default_and_subarrays_are_axes():
    assert SharedArray(2).dtype == np.float64
    assert SharedArray(2, ("f4", (3,))).shape == (2, 3)


@for_each("name", VIEWS)
@for_each("writable", [True, False])
def test_views_are_pickled_as_the_same_part_of_the_memory(name, writable):
    array = filled()
    view = VIEWS[name](array)
    if not writable:
        view.flags.writeable = False
    again = roundtrip(view)
    assert type(again) is type(view) is SharedArray
    assert (again.shape, again.dtype) == (view.shape, view.dtype)
    assert np.array_equal(again, view)
    assert again.flags.writeable == view.flags.writeable
    if view.size:
        assert again.strides == view.strides
        assert address(again) == address(view)


@for_each("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
def test_pickles_take_less_than_300_bytes(protocol):
    large = SharedArray((1 << 15, 1 << 15), "f4")  # 4 GiB, of which no page is used
    for view in (large, large[5:, ::3], large.T):
        assert len(pickle.dumps(view, protocol)) < 300
    assert pickle.loads(pickle.dumps(large, protocol)).shape == large.shape


def test_memory_is_mapped_once_in_a_process():
    array = filled()
    pickled = pickle.dumps(array)
    before = descriptors()
    others = [pickle.loads(pickled) for _ in range(10)]
    assert {address(each) for each in others} == {address(array)}
    assert descriptors() == before
    others[0][0, 0] = 99
    assert array[0, 0] == 99


def test_unpickled_array_keeps_the_memory_and_is_pickled_again():
    array = filled()
    again = roundtrip(array[1:])
    del array
    gc.collect()
    assert np.array_equal(roundtrip(again), np.arange(4, 24).reshape(5, 4))


def test_results_and_copies_are_plain_arrays():
    a = filled()
    results = [a + 1, 1 + a, -a, a == a, a[[0, 2]], a[a > 3], a.copy(), a.astype("f4")]
    results += [a.flatten(), a.T.ravel(), a.T.reshape(-1), a.take([1], 0), a.mean(axis=0)]
    results += [copy.copy(a), copy.deepcopy(a), np.concatenate([a, a]), np.where(a > 1, a, 0)]
    results += [a @ a.T, a.repeat(2), a.byteswap(), np.stack([a, a])]
    assert {type(each) for each in results} == {np.ndarray}
    assert not any(np.shares_memory(a, each) for each in results)
    assert type(a.sum()) is type(a[0, 0]) is type(np.max(a)) is np.float64


def test_operators_in_place_keep_the_memory():
    a = filled()
    before, where = a, address(a)
    a += 1
    a[2:] *= 2
    assert a is before
    assert address(a) == where
    assert np.add(a, 1, out=a) is a
    assert a[0, 0] == 2


def test_arrays_of_the_type_with_other_memory_are_pickled_by_value():
    like = np.ones_like(filled())
    again = roundtrip(like)
    assert type(again) is np.ndarray
    assert np.array_equal(again, like)
    assert np.array_equal(roundtrip(np.asarray(filled())), filled())


def test_every_target_that_needs_numpy_alone_views_the_memory():
    array = filled()
    assert share(array, "numpy") is array
    for target in ("dlpack", "buffer", "array_interface"):
        assert explain(array, target).shares_memory
        shared = share(array, target, copy=False)
        other = np.from_dlpack(shared) if target == "dlpack" else np.asarray(shared)
        array[0, 0] += 1
        assert other[0, 0] == array[0, 0]


def test_share_memory_copies_any_array():
    base = np.arange(12.0).reshape(3, 4)
    for values in (base, base.T, base[::-1], np.float32(base), base[:0], np.array(3)):
        shared = share_memory(values)
        assert (type(shared), shared.dtype) == (SharedArray, values.dtype)
        assert np.array_equal(shared, values)
        assert not np.shares_memory(shared, values)
    assert share_memory(shared := filled()) is shared
    assert type(share_memory(np.ones_like(shared))) is SharedArray
    assert share_memory(memoryview(b"abc")).tolist() == [97, 98, 99]


def test_share_memory_keeps_read_only_and_structured_values():
    frozen = np.array([(1, 2.5)], [("a", "i4"), ("b", "f8")])
    frozen.flags.writeable = False
    assert share_memory(frozen) == frozen
    assert share_memory(frozen).flags.writeable


@for_each(
    ("call", "error", "words"),
    [
        (lambda: SharedArray(3, object), UnsupportedError, "refer to memory of this process"),
        (lambda: SharedArray(3, [("a", object)]), UnsupportedError, "fixed size"),
        (lambda: share_memory(np.array(["a", None], object)), UnsupportedError, "fixed size"),
        (lambda: SharedArray(-1), InvalidValueError, r"\(-1,\)"),
        (lambda: SharedArray("ab"), WrongTypeError, "tuple of ints"),
        (lambda: SharedArray(2.5), WrongTypeError, "tuple of ints"),
        (lambda: SharedArray(3, "no dtype"), WrongTypeError, "NumPy says"),
        (lambda: SharedArray(1 << 50), NoMemoryError, "9,007,199,254,740,992 bytes"),
        (lambda: SharedArray((1 << 62, 1 << 62)), NoMemoryError, "cannot be allocated"),
        (lambda: share_memory([1, 2]), WrongTypeError, "np.asarray"),
        (
            lambda: share_memory(np.ma.MaskedArray([1, 2], [True, False])),
            UnsupportedError,
            "masks",
        ),
    ],
    ids=["object", "field", "objects", "negative", "text", "float", "dtype", "huge"]
    + ["overflow", "list", "mask"],
)
def test_errors_name_the_cause(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_no_descriptor_is_left_for_another_array():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    kept = [SharedArray(1)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors() + 2, limits[1]))
    try:
        with pytest.raises(SharedMemoryError, match="ulimit -n"):
            kept += [SharedArray(1) for _ in range(1000)]  # other threads close some meanwhile
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    kept.append(SharedArray(1))


def test_nothing_leaks():
    SharedArray(5000)
    gc.collect()
    before = descriptors(), mappings()
    for _ in range(1000):
        array = SharedArray(5000)
        view = roundtrip(array[5:])
        view[0] = 1
        roundtrip(roundtrip(view).reshape(-1, 5))
        share_memory(array)
    del array, view
    gc.collect()
    assert (descriptors(), mappings()) == before
    assert not [name for name in os.listdir("/dev/shm") if "numpack" in name]


def test_last_view_keeps_the_memory():
    view = filled()[2:3]
    gc.collect()
    assert mappings() >= 1
    assert roundtrip(view).tolist() == [[8, 9, 10, 11]]
    kept = np.asarray(view)
    before = mappings()
    del view
    gc.collect()
    assert mappings() == before
    assert kept.tolist() == [[8, 9, 10, 11]]
