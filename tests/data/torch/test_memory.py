"""Memory of workers: it does not grow with the rows that they read."""

from __future__ import annotations


def test_workers_share_the_pages_of_the_file(run_python):
    """A worker has little memory of its own, however many rows it has read."""
    run_python(
        """
import pathlib, re
import numpy as np, torch
from torch.utils.data import DataLoader
from numpack import NumPack
from numpack.data import Dataset

MIB = 1 << 20
def anonymous(batch):
    status = pathlib.Path("/proc/self/status").read_text()
    return batch, int(re.search(r"RssAnon:\\s+(\\d+)", status)[1]) << 10

with NumPack("s.npk") as npk:
    npk.save({"x": np.ones((16 * 1024, 4096), "u1")})  # 64 MiB
dataset = Dataset("s.npk", "x", transform=anonymous)
loader = DataLoader(dataset, 64, shuffle=True, num_workers=2, persistent_workers=True)
sizes = [size for _ in range(3) for batch, size in loader]
assert len(sizes) == 768
assert max(sizes[8:]) - min(sizes[:8]) < 8 * MIB, (min(sizes[:8]), max(sizes))
""",
        flags=("-W", "ignore::DeprecationWarning"),
    )
