"""``.npy`` files, against NumPy's own reader and writer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.formats.arrays import LOWPREC, assert_same
from support.formats.conformance import FormatConformance

from numpack import NumPack, UnsupportedError, convert
from numpack.errors import InvalidValueError


class TestNpy(FormatConformance):
    suffix = ".npy"
    label = ".npy"
    one_array = True
    refused_dtypes = frozenset(LOWPREC)

    def write(self, path, arrays):
        [array] = arrays.values()
        np.save(path, array)

    def read(self, path):
        return {Path(path).stem: np.load(path)}


def stored(name="x"):
    with NumPack("s.npk", mode="r") as store:
        return store[name]


@pytest.mark.parametrize("shape", [(7, 3), (5, 2, 3), (0, 4), (3,)])
def test_fortran_order_and_other_byte_orders(shape):
    array = np.arange(np.prod(shape), dtype=">f8").reshape(shape)
    np.save("x.npy", np.asfortranarray(array))
    convert("x.npy", "s.npk")
    assert_same(stored(), array.astype("<f8"))


def test_a_large_array_in_fortran_order():
    array = np.arange(3 << 20, dtype="i4").reshape(-1, 3, order="F")
    np.save("x.npy", array)
    convert("x.npy", "s.npk")
    assert_same(stored(), array)


@pytest.mark.filterwarnings("ignore:Stored array in format 3.0:UserWarning")
def test_names_of_fields_in_any_script():
    array = np.ones(3, [("名", "f4"), ("é", "i2")])
    np.save("x.npy", array)  # in version 3 of the format
    convert("x.npy", "s.npk")
    assert_same(stored(), array)
    convert("s.npk", "y.npy")
    assert_same(np.load("y.npy"), array)


def test_versions_of_the_format():
    array = np.arange(3)
    with open("x.npy", "wb") as file:
        np.lib.format.write_array(file, array, version=(2, 0))
    convert("x.npy", "s.npk")
    assert_same(stored(), array)
    many = np.ones(2, [(f"field{number}", "i1") for number in range(4000)])
    convert({"x": many}, "many.npy")
    assert np.load("many.npy", max_header_size=200_000).dtype == many.dtype
    convert("many.npy", "s.npk")
    assert_same(stored("many"), many)


def test_pickles_are_never_loaded():
    class Evil:
        def __reduce__(self):
            return Path.touch, (Path("executed"),)

    for array in (
        np.array([Evil()], object),
        np.array([(Evil(), 1)], [("a", "O"), ("b", "i4")]),
    ):
        np.save("x.npy", array, allow_pickle=True)
        with pytest.raises(InvalidValueError, match="x.npy holds Python objects, .* unpickled"):
            convert("x.npy", "s.npk")
        assert not Path("executed").exists()


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f8', 'fortran_order': False, 'shape': (-1,)}",
        "{'descr': '<f8', 'fortran_order': False, 'shape': (1 << 40,)}",
        f"{{'descr': '<f8', 'fortran_order': False, 'shape': ({1 << 62}, {1 << 62})}}",
        "{'descr': '<f8', 'fortran_order': 0, 'shape': ()}",
        "{'descr': 'nothing', 'fortran_order': False, 'shape': ()}",
        "__import__('os').mkdir('executed')",
        "{" * 5000,
    ],
)
def test_hostile_headers_are_refused(header):
    text = header.encode()
    with open("x.npy", "wb") as file:
        file.write(b"\x93NUMPY\2\0" + len(text).to_bytes(4, "little") + text + bytes(64))
    with pytest.raises(InvalidValueError, match=r"x\.npy"):
        convert("x.npy", "s.npk")
    assert not Path("executed").exists()


def test_a_header_that_claims_much_memory_is_refused_at_once():
    with open("x.npy", "wb") as file:
        file.write(b"\x93NUMPY\3\0" + (0xFFFFFFFF).to_bytes(4, "little"))
    with pytest.raises(InvalidValueError, match=r"x\.npy"):
        convert("x.npy", "s.npk")


def test_fields_that_overlap_are_refused():
    dtype = np.dtype({"names": ["a", "b"], "formats": ["i4", "i2"], "offsets": [0, 2]})
    with pytest.raises(UnsupportedError, match="'x' is .* fields that overlap"):
        convert({"x": np.zeros(2, dtype)}, "x.npy")


def test_several_arrays_in_a_file_are_refused():
    with open("x.npy", "wb") as file:
        np.save(file, np.arange(3))
        np.save(file, np.arange(4))
    with pytest.raises(InvalidValueError, match="160 bytes after its array"):
        convert("x.npy", "s.npk")


def test_the_name_of_the_array():
    np.save("x.npy", np.arange(3))
    convert("x.npy", "s.npk", name="ids")
    assert_same(stored("ids"), np.arange(3))
