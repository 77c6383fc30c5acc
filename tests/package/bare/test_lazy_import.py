"""The store is imported on first use."""

from __future__ import annotations


def test_store_is_imported_on_first_use(run_python):
    out = run_python(
        """
import sys, numpack
early = {name for name in sys.modules if name.startswith("numpack.store")}
assert {"NumPack", "LazyArray"} <= set(numpack.__all__)
from numpack import LazyArray, NumPack
assert numpack.NumPack is NumPack is sys.modules["numpack.store"].NumPack
try:
    numpack.Numpack
except AttributeError as error:
    assert "has no attribute 'Numpack'" in str(error)
print(len(early))
"""
    )
    assert out.strip() == "0"


def test_plain_arrays_do_not_import_masked_ones(run_python):
    """A process that has changed its user may not read NumPy's files any more."""
    run_python(
        """
import sys, numpy as np
before = "numpy.ma" in sys.modules
from numpack import NumPack
with NumPack("x.npk") as npk:
    npk.save({"x": np.arange(10)})
    npk.attrs["x"]["scale"] = np.array([1, 2])
    npk.replace({"x": np.array([7])}, [0])
    assert npk.getitem("x", [0, 9]).tolist() == [7, 9]
    assert npk.load("x", lazy=True)[[1]].tolist() == [1]
    npk.load("x")
assert ("numpy.ma" in sys.modules) == before
"""
    )
