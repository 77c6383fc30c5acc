"""The resident size does not grow when 100 MB of a store are shared between frameworks."""


def test_resident_size_grows_only_when_memory_is_read(run_with_torch):
    out = run_with_torch(
        """
import numpy as np, pyarrow, torch
from numpack import NumPack, share
from support.memory import resident_bytes

rows = 25_000
with NumPack("big.npk") as npk:
    npk.save({"x": np.zeros((rows, 1000), "f4"), "small": np.zeros((2, 2), "f4")})

def chain(npk, name):
    lazy = npk.load(name, lazy=True)
    array = np.asarray(lazy)
    tensor = share(array, "torch", copy=False)
    table = share(tensor, "arrow", copy=False)
    back = share(table, "numpy", copy=False)
    return lazy, array, tensor, table, back

with NumPack("big.npk") as npk:
    chain(npk, "small")  # imports and first calls
    before = resident_bytes()
    lazy, array, tensor, table, back = chain(npk, "x")
    grown = resident_bytes() - before
    assert array.nbytes == 100_000_000
    assert tensor.data_ptr() == table.buffers()[1].address == back.ctypes.data
    assert float(tensor[::1000].sum()) == 0
    touched = resident_bytes() - before
print(grown, touched)
"""
    )
    grown, touched = map(int, out.split())
    assert grown < 2 * 2**20
    assert touched > grown  # the measurement sees pages that are read
