"""Conversions from NumPy, under every policy."""

from __future__ import annotations

import ctypes
import gc
import itertools
import sys
from collections.abc import Mapping, Sequence
from types import MappingProxyType, ModuleType
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from support.arrays import (
    LOWPREC,
    NATIVE,
    cells,
    elements,
    make,
    values,
)
from support.each import assert_each
from support.exchange.cells import same_values
from support.exchange.subclasses import Owned, owned
from support.memory import address, is_private_copy_on_write, shares_pages
from support.oracles import oracle

from numpack import (
    CopyWarning,
    NumPack,
    ReadOnlyWarning,
    UnsupportedError,
    ZeroCopyError,
    explain,
    share,
)
from numpack._core.memory import aligned_copy

from .verdicts import ALL, COPY, REFUSE, SHARE, in_another_thread, recorded, verdict

# Of the layouts of support.arrays, in memory aligned to 64 bytes, as some frameworks need it.
ALIGNED = (
    ("c", (4, 6)),
    ("c", (1,)),
    ("zero_d", ()),
    ("empty_first", (0, 3)),
    ("empty_last", (2, 0)),
    ("transposed", (2, 3, 4)),
    ("fortran", (2, 3)),
)


def references(array: np.ndarray) -> int:
    """Count the references to an array and to the object that it views."""
    return sys.getrefcount(array) + sys.getrefcount(array.base)


def is_read_only_map(array: np.ndarray) -> bool:
    """Whether the array views a file that is mapped for reading only."""
    maps = [each for each in (array, array.base) if isinstance(each, np.memmap)]
    return bool(maps) and all(each.mode == "r" for each in maps)


class FromNumpy:
    """Conversions from NumPy: dtype × layout × writability × policy."""

    target: str
    options: Mapping[str, Any] = MappingProxyType({})
    dtypes: Sequence[str] = ALL
    keeps_shape = True
    cautions = False  # of writes to read-only memory
    back_is_read_only: bool | None = None  # of the array that NumPy gets back from it

    # What a framework states

    def kinds(self, name: str) -> Sequence[str]:
        """Return which arrays of a dtype are converted: writable, read-only or both."""
        return ("writable", "read-only")

    def expected(self, name: str, layout: str, array: np.ndarray) -> str:
        """Return the verdict that docs/exchange.md promises."""
        raise NotImplementedError

    def refusal(self, name: str, layout: str) -> str:
        """Return a pattern of the message of a refusal."""
        return "Zero-copy conversion to"

    def copied_bytes(self, name: str, array: np.ndarray) -> int:
        """Return the size of a copy."""
        return array.nbytes

    def address(self, result: Any) -> int | None:
        """Return the address of the first value; ``None`` if the framework does not tell."""
        return self.oracle.address(result)

    def place(self, result: Any, array: np.ndarray) -> int | None:
        """Return the address of the first value, if it has one, as that of the array."""
        return self.address(result) if array.nbytes else None

    def has_values(self, result: Any, array: np.ndarray) -> bool:
        """Check the values, in C order."""
        return elements(self.oracle.values(result)) == elements(array)

    def shape(self, result: Any) -> tuple[int, ...]:
        """Return the shape of a result."""
        return tuple(result.shape)

    def check_result(self, result: Any, array: np.ndarray) -> None:
        """Check more of a result that shares memory."""

    def check_own(self, own: Any, array: np.ndarray) -> None:
        """Check more of a copy."""

    # The tests

    @property
    def oracle(self) -> ModuleType:
        return oracle(self.target)

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "name" in metafunc.fixturenames:
            metafunc.parametrize("name", self.dtypes)

    def test_every_dtype_and_layout(self, name, tmp_path):
        """`share` does under each policy what `explain` and docs/exchange.md promise."""

        def check(layout: str, kind: str) -> None:
            array = make(name, layout, tmp_path, readonly=kind == "read-only")
            self.check(name, layout, array)

        layouts = [layout for _, layout in cells([name])]
        assert_each(itertools.product(layouts, self.kinds(name)), check)

        def check_aligned(layout: str, shape: tuple[int, ...], kind: str) -> None:
            array = aligned_copy(values(name, shape))
            array.flags.writeable = kind == "writable"
            self.check(name, layout, array.T if layout in ("transposed", "fortran") else array)

        if name not in ("object", "string"):
            assert_each(
                [(*cell, kind) for cell in ALIGNED for kind in self.kinds(name)], check_aligned
            )

    def check(self, name: str, layout: str, array: np.ndarray) -> None:
        before = elements(array)
        expected = self.expected(name, layout, array)
        route = explain(array, self.target, **self.options)
        assert verdict(route) == expected, route
        assert bool(route.reason) == bool(route.fix) == (expected != SHARE)
        if expected == REFUSE:
            self.check_refused(array, route, self.refusal(name, layout))
            return
        assert route.nbytes == (self.copied_bytes(name, array) if expected == COPY else 0)
        result = self.check_default(array, expected, route)
        self.check_without_copy(array, expected, route)
        self.check_copied(array)
        assert elements(array) == before
        if expected == SHARE:
            self.check_result(result, array)
            self.check_back(result, array)

    def check_refused(self, array: np.ndarray, route: Any, message: str) -> None:
        for copy in (None, False, True):
            with pytest.raises(UnsupportedError, match=message) as caught:
                share(array, self.target, copy=copy, **self.options)
            assert caught.value.fix == route.fix

    def check_default(self, array: np.ndarray, expected: str, route: Any) -> Any:
        result, caught = recorded(array, self.target, **self.options)
        cautions = [str(each.message) for each in caught if each.category is ReadOnlyWarning]
        copies = [each for each in caught if each.category is CopyWarning]
        assert len(cautions) + len(copies) == len(caught)
        assert len(copies) == (expected == COPY)
        assert cautions == list(route.cautions)
        assert bool(cautions) == (expected == SHARE and self.is_cautioned(array))
        self.check_contents(result, array)
        if array.nbytes:
            assert self.is_shared(array, result) in (None, expected == SHARE)
        return result

    def is_cautioned(self, array: np.ndarray) -> bool:
        """Whether the framework could write to memory that the array may not write."""
        protected = array.nbytes > 0 and not array.flags.writeable
        return protected and self.cautions and not is_read_only_map(array)

    def check_contents(self, result: Any, array: np.ndarray) -> None:
        assert self.has_values(result, array)
        if self.keeps_shape:
            assert self.shape(result) == array.shape
        else:
            assert np.prod(self.shape(result), dtype=int) in (array.size, *array.shape[:1])

    def check_without_copy(self, array: np.ndarray, expected: str, route: Any) -> None:
        if expected == COPY:
            message = (
                f"Zero-copy conversion to .* failed: .*; a copy takes {route.nbytes:,} bytes; "
            )
            with pytest.raises(ZeroCopyError, match=message):
                share(array, self.target, copy=False, **self.options)
            return
        result, caught = recorded(array, self.target, copy=False, **self.options)
        assert [str(each.message) for each in caught] == list(route.cautions)
        assert self.has_values(result, array)
        assert not array.nbytes or self.is_shared(array, result) in (None, True)

    def check_copied(self, array: np.ndarray) -> None:
        own, caught = recorded(array, self.target, copy=True, **self.options)
        assert caught == []
        self.check_contents(own, array)
        self.check_own(own, array)
        place = self.place(own, array)
        if place is not None:
            assert not self.is_shared(array, own)
            if array.dtype.kind in "biufcmM":  # not pointers
                ctypes.memset(place, 0xFF, 1)  # `check` looks whether it reaches the array

    def is_shared(self, array: np.ndarray, result: Any) -> bool | None:
        """Whether the result has the memory of the array; ``None`` if it cannot be told.

        A read-only file is mapped again for a framework that could write to it.
        """
        source, found = address(array), self.place(result, array)
        if found is None or found == source:
            return None if found is None else True
        if not is_read_only_map(array):
            return False
        return shares_pages(source, found) and is_private_copy_on_write(found)

    def check_back(self, result: Any, array: np.ndarray) -> None:
        if self.back_is_read_only is None or (self.cautions and not array.flags.writeable):
            return  # without read-only memory, or not told that it is
        back = share(result, "numpy", copy=False)
        assert (back.dtype, back.shape) == (array.dtype, array.shape)
        assert elements(back) == elements(array)
        assert not array.nbytes or address(back) == self.address(result)
        writable = array.flags.writeable and not self.back_is_read_only
        assert not array.nbytes or back.flags.writeable == writable

    def one(self, shape: tuple[int, ...] = (24,)) -> np.ndarray:
        """Return an aligned array that every framework can share."""
        return aligned_copy(values("float32", shape))

    def test_write_through_numpy_is_visible(self):
        array = self.one()
        result = share(array, self.target, copy=False, **self.options)
        own = share(array, self.target, copy=True, **self.options)
        before = array.copy()
        array[...] = 77
        assert self.has_values(result, array)
        assert self.has_values(own, before)

    @pytest.mark.parametrize("kind", [Owned, np.ndarray], ids=["subclass", "plain"])
    def test_result_keeps_only_its_source_alive(self, kind):
        """The memory is that of the array object, and is overwritten when it is destroyed."""
        for shape in ((1, 16), (4, 16)):
            gone: list[str] = []
            array = owned(gone, shape, kind)
            expected = np.array(array)
            box = [share(array, self.target, copy=False, **self.options)]
            del array
            gc.collect()
            assert not gone
            assert self.has_values(box[0], expected)
            if self.back_is_read_only is not None:  # what is made of it keeps it alive as well
                box[0] = share(box[0], "numpy", copy=False)
                gc.collect()
                assert not gone
                assert box[0].tobytes() == expected.tobytes()
            in_another_thread(box.clear)
            gc.collect()
            self.after_release()
            assert gone

    def after_release(self) -> None:
        """Do what makes a framework release memory with a delay."""

    def test_repeated_conversions_leave_no_references(self):
        array = self.one()
        before = references(array)
        for _ in range(100):
            result = share(array, self.target, copy=False, **self.options)
            if self.back_is_read_only is not None:
                share(result, "numpy", copy=False)
        del result
        gc.collect()
        self.after_release()
        assert references(array) == before

    def test_lazy_array_is_shared_and_protected_from_writes(self):
        """Some frameworks write to read-only memory: the write is private."""
        times = [f"{kind}8[{unit}]" for kind in "Mm" for unit in ("s", "ms", "us", "ns")]
        whole = {name: values(name).ravel() for name in [*NATIVE, *LOWPREC, *times]}
        names = [n for n, array in whole.items() if self.expected(n, "c", array) != REFUSE]
        with NumPack("lazy.npk") as npk:
            npk.save({name: whole[name] for name in names})
        with NumPack("lazy.npk") as npk:
            assert_each(names, lambda name: self.check_lazy(npk.load(name, lazy=True)))
        with NumPack("lazy.npk") as npk:
            assert npk.verify().ok
            for name in names:
                assert elements(npk.load(name)) == elements(whole[name]), name

    def check_lazy(self, lazy: Any) -> None:
        route = explain(lazy, self.target, **self.options)
        result, caught = recorded(lazy, self.target, **self.options)
        assert route.supported
        assert route.shares_memory or (route.reason and route.fix)
        assert len(caught) == (not route.shares_memory)
        assert all(each.category is CopyWarning for each in caught)
        place = self.address(result)
        if place is not None:
            pages = shares_pages(np.asarray(lazy).ctypes.data, place)
            assert pages == route.shares_memory, route
            ctypes.memset(place, 0xFF, 1)


class FromNumpyToColumns(FromNumpy):
    """Conversions to the columns of a framework that uses Arrow."""

    def kinds(self, name: str) -> Sequence[str]:
        return ("read-only",)  # its values cannot be written

    def listed(self, result: Any) -> pa.Array | pa.ChunkedArray:
        """Return a result as a column of pyarrow, by the framework's own calls."""
        return pa.chunked_array(result)

    def has_values(self, result: Any, array: np.ndarray) -> bool:
        return same_values(self.listed(result), array)

    def check_contents(self, result: Any, array: np.ndarray) -> None:
        assert self.has_values(result, array)

    def place(self, result: Any, array: np.ndarray) -> int | None:
        return None if array.dtype.kind in "OUT" else super().place(result, array)
