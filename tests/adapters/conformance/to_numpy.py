"""Conversions to NumPy, under every policy."""

from __future__ import annotations

import gc
from collections.abc import Sequence
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support.arrays import (
    LOWPREC,
    NATIVE,
    elements,
    values,
)
from support.each import assert_each
from support.memory import address
from support.oracles import oracle

from numpack import (
    CopyWarning,
    ZeroCopyError,
    explain,
    share,
)

from .verdicts import COPY, SHARE, in_another_thread, recorded, verdict


class ToNumpy:
    """Conversions to NumPy of what a framework made: dtype × shape × policy."""

    source: str
    names: Sequence[str] = (*NATIVE, *LOWPREC)
    shapes: Sequence[tuple[int, ...]] = ((4, 6), (), (3,), (0, 3), (2, 0, 1))
    writable = False  # whether the memory may be written through NumPy
    keeps_shape = True
    stays_read_only = True  # even if its owner asks for more

    @property
    def oracle(self) -> ModuleType:
        return oracle(self.source)

    def expected(self, name: str, shape: tuple[int, ...]) -> str:
        """Return the verdict that docs/exchange.md promises."""
        return SHARE

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        if "name" in metafunc.fixturenames:
            metafunc.parametrize("name", self.names)

    def test_every_dtype_and_shape(self, name):
        assert_each([(shape,) for shape in self.shapes], lambda shape: self.check(name, shape))

    def check(self, name: str, shape: tuple[int, ...]) -> None:
        wanted = values(name, shape)
        made = self.oracle.make(wanted)
        expected = self.expected(name, shape)
        route = explain(made, "numpy")
        assert verdict(route) == expected, route
        assert bool(route.reason) == bool(route.fix) == (expected != SHARE)
        if expected == SHARE:
            array, caught = recorded(made, "numpy", copy=False)
            assert caught == []
            assert route.nbytes == 0
            self.check_shared(made, array)
        else:
            with pytest.raises(ZeroCopyError, match="Zero-copy conversion from .* failed"):
                share(made, "numpy", copy=False)
            array, caught = recorded(made, "numpy")
            assert [each.category for each in caught] == [CopyWarning]
        own, caught = recorded(made, "numpy", copy=True)
        assert caught == []
        assert own.flags.writeable
        for each in (array, own):
            assert each.dtype == wanted.dtype
            assert each.shape == (shape if self.keeps_shape else (wanted.size,))
            assert elements(each) == elements(wanted) == elements(self.oracle.values(made))
        if wanted.size:
            assert address(own) != address(array)
            own[...] = own.flat[-1]
            assert elements(array) == elements(wanted)
            if expected == COPY:
                array[...] = array.flat[-1]
            assert elements(self.oracle.values(made)) == elements(wanted)

    def check_shared(self, made: Any, array: np.ndarray) -> None:
        assert not array.size or address(array) == self.oracle.address(made)
        assert not array.size or array.flags.writeable == self.writable
        if self.writable and array.size:
            last = array.copy()
            array[...] = array.flat[-1]
            assert elements(self.oracle.values(made)) == elements(array)
            array[...] = last
        elif array.size:
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 0
            if self.stays_read_only:
                with pytest.raises(ValueError, match="WRITEABLE"):
                    array.flags.writeable = True

    def test_array_keeps_its_source_alive(self):
        wanted = values("float32", (1000,))
        box = [share(self.oracle.make(wanted), "numpy", copy=False)]
        gc.collect()
        junk = [self.oracle.make(wanted * 0 - 1) for _ in range(20)]
        assert elements(box[0]) == elements(wanted)
        del junk
        in_another_thread(box.clear)
