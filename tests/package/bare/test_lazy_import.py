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
