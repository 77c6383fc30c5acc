"""Values read back as they were saved, and saving again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.arrays import FIXED, LAYOUTS, cells, elements, make, values
from support.each import for_each
from support.files import contents

from numpack import NumPack

ROWS = np.arange(12.0).reshape(6, 2)
MASKED = [(name, "masked") for name in FIXED]
STORED = [cell for cell in cells(FIXED) if cell not in MASKED]
UNUSUAL = {
    "titled": np.dtype([(("Title", "a"), "<i4"), ("b", "<f8")]),
    "padded": np.dtype({"names": ["a", "b"], "formats": ["u1", "<i8"]}, align=True),
    "overlapping": np.dtype(
        {"names": ["a", "b"], "formats": ["<i4", "<i2"], "offsets": [0, 0]}
    ),
    "reordered": np.dtype(
        {"names": ["a", "b"], "formats": ["<i4", "u1"], "offsets": [8, 0], "itemsize": 20}
    ),
    "nested": np.dtype([("é", [("b", "<i4"), ("c", "<M8[us]", (2,))], (3,)), ("s", "S3")]),
    "no fields": np.dtype([]),
    "empty void": np.dtype("V0"),
    "empty bytes": np.dtype("S0"),
    "empty text": np.dtype("U0"),
    "empty field": np.dtype([("a", "S0"), ("b", "<i4")]),
}


def raw(dtype: np.dtype, count: int) -> np.ndarray:
    """Return elements of a dtype over bytes that all differ."""
    memory = np.arange(1, 1 + max(1, count * dtype.itemsize), dtype=np.uint8)
    return np.ndarray((count,), dtype, buffer=memory)


@pytest.mark.parametrize("name", FIXED)
@for_each("layout", LAYOUTS)
def test_save_and_load_every_dtype_and_layout(store, tmp_path, name, layout):
    if (name, layout) not in STORED:
        return
    array = make(name, layout, tmp_path)
    store.save({"x": array})
    with NumPack("s.npk") as other:
        loaded, lazy = other.load("x"), other.load("x", lazy=True)
        assert other.get_shape("x") == array.shape
    for result in (loaded, np.asarray(lazy)):
        assert type(result) is np.ndarray
        assert result.dtype == array.dtype.newbyteorder("=")
        assert result.shape == array.shape
        assert result.flags.c_contiguous
        assert elements(result) == elements(array)
    assert lazy.dtype == loaded.dtype


@for_each("name", FIXED)
def test_append_every_dtype(store, name):
    array = values(name)
    store.save({"x": array[:1]})
    store.append({"x": array[1:].astype(array.dtype.newbyteorder(">"))})
    with NumPack("s.npk") as other:
        assert elements(other.load("x")) == elements(array)


@for_each("name", UNUSUAL)
def test_save_and_load_unusual_dtypes(store, name):
    array = raw(UNUSUAL[name], 3)
    store.save({"x": array})
    with NumPack("s.npk") as other:
        for result in (other.load("x"), np.asarray(other.load("x", lazy=True))):
            assert (result.dtype, result.shape) == (array.dtype, array.shape)
            assert result.tobytes() == array.tobytes()


@for_each("name", UNUSUAL)
def test_append_unusual_dtypes(store, name):
    array = raw(UNUSUAL[name], 3)
    store.save({"x": array[:1]})
    store.append({"x": array[1:]})
    with NumPack("s.npk") as other:
        assert other.load("x").tobytes() == array.tobytes()
        assert other.get_shape("x") == (3,)


def test_padding_of_structs_is_zero(store):
    swapped = np.dtype({"names": ["a"], "formats": [">i2"], "itemsize": 64})
    np.full(4096, 0xAB, np.uint8)  # freed memory that the next allocation may reuse
    store.save({"x": np.zeros(64, swapped)})
    file = store.get_metadata()["arrays"]["x"]["data_file"]
    assert (Path("s.npk") / file).read_bytes() == bytes(64 * 64)


@pytest.mark.parametrize("value", [np.float32(1.5), np.datetime64("2024-02-29"), np.str_("é")])
def test_numpy_scalars_are_stored_as_0d_arrays(store, value):
    store.save({"x": value})
    loaded = store.load("x")
    assert (loaded.shape, loaded.dtype, loaded[()]) == ((), value.dtype, value)


@pytest.mark.parametrize("dtype", ["<f8", ">f8"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_larger_than_a_conversion_block(store, dtype, order):
    array = np.asarray(np.arange(3_000_000).reshape(3, 500, 2000), dtype, order=order)
    store.save({"x": array})
    store.append({"x": array[::-1]})
    assert np.array_equal(store.load("x"), np.concatenate([array, array[::-1]]))


@pytest.mark.parametrize("dtype", ["u1", "<i2", ">f8", "S3", "<U2"])
def test_data_file_is_in_c_order_and_little_endian(store, dtype):
    array = np.asfortranarray(np.arange(12).reshape(3, 4).astype(dtype))
    store.save({"x": array})
    file = store.get_metadata()["arrays"]["x"]["data_file"]
    little = array.astype(array.dtype.newbyteorder("<"))
    assert (Path("s.npk") / file).read_bytes() == little.tobytes("C")


@for_each("shape", [(1,), (3,), (1, 7), (1000, 3), (5, 0), ()])
@for_each("dtype", ["u1", "S5", "f8"])
def test_loaded_array_is_aligned_writable_and_independent(store, shape, dtype):
    store.save({"x": np.ones(shape, dtype)})
    loaded = store.load("x")
    assert loaded.ctypes.data % 64 == 0 or loaded.size == 0
    assert loaded.flags.writeable
    before = contents()
    loaded[...] = 0
    assert (store.load("x") == np.ones(shape, dtype)).all()
    assert contents() == before


def test_saved_arrays_are_copied(store):
    array = ROWS.copy()
    store.save({"x": array})
    array[:] = -1
    assert np.array_equal(store.load("x"), ROWS)


def test_saving_again_replaces_dtype_shape_and_rows(store):
    store.save({"x": ROWS, "y": ROWS})
    store.save({"x": np.array(["a", "é"])})
    with NumPack("s.npk") as other:
        assert other.load("x").tolist() == ["a", "é"]
        assert other.get_member_list() == ["x", "y"]
        assert np.array_equal(other.load("y"), ROWS)


def test_replaced_and_dropped_data_files_are_removed(store):
    store.save({"x": ROWS, "y": ROWS, "z": ROWS})
    store.save({"x": ROWS})
    store.drop("y")
    live = {each["data_file"] for each in store.get_metadata()["arrays"].values()}
    assert {name for name in contents() if name.startswith("data")} == live


def test_save_a_lazy_array_under_its_own_and_another_name(store):
    store.save({"x": ROWS})
    lazy = store.load("x", lazy=True)
    store.save({"x": lazy, "y": lazy})
    store.append({"x": store.load("x", lazy=True)})
    assert np.array_equal(store.load("x"), np.concatenate([ROWS, ROWS]))
    assert np.array_equal(store.load("y"), ROWS)


def test_calls_that_change_nothing_make_no_commit(store):
    before = contents()
    store.save({})
    store.append({})
    store.drop([])
    store.drop("absent")
    assert contents() == before


def read_back(name: str = "x") -> np.ndarray:
    with NumPack("s.npk", mode="r") as other:
        return other.load(name, verify=True)


class Foreign:
    """An array of a framework unknown to NumPy, which exports DLPack only."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack__(self, **options: object) -> object:
        return self.array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self.array.__dlpack_device__()


def test_save_append_and_replace_accept_dlpack_producers(store):
    store.save({"x": Foreign(ROWS)})
    store.append({"x": Foreign(ROWS[:1])})
    store.replace({"x": Foreign(-ROWS[:2])}, [0, -1])
    expected = np.concatenate([ROWS, ROWS[:1]])
    expected[[0, -1]] = -ROWS[:2]
    assert np.array_equal(read_back(), expected)
