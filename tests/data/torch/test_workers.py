"""`Dataset` in the workers of DataLoader: forked, spawned, beside a writer."""

from __future__ import annotations

from support.each import for_each

# Python and torch warn about forks of processes with threads.
FLAGS = ("-W", "ignore::DeprecationWarning")

LOADS = """
import multiprocessing, sys
import numpy as np, torch
from torch.utils.data import DataLoader
import numpack
from numpack import NumPack
from numpack.data import Dataset, collate
X, Y = np.arange(3000, dtype="f4").reshape(1000, 3), np.arange(1000)
def check(loader):
    seen = []
    for batch in loader:
        assert torch.equal(batch["x"], torch.from_numpy(X)[batch["y"]])
        assert all(type(each) is torch.Tensor for each in batch.values())
        seen += batch["y"].tolist()
    assert sorted(seen) == list(range(1000)), len(seen)
"""


@for_each("method", ["fork", "spawn", "forkserver"])
def test_workers_give_every_row_once_beside_a_writer(run_python, method):
    """Every pass has the rows of the construction, also in workers that start later."""
    run_python(
        LOADS
        + """
method, workers = sys.argv[1], 2 if sys.argv[1] == "fork" else 1
multiprocessing.set_forkserver_preload(["torch", "numpack.data"])
npk = NumPack("s.npk", mode="w")
npk.open()
npk.save({"x": X, "y": Y})
sources = [{"x": X, "y": npk.load("y", lazy=True)}, npk, "s.npk"]
for source in sources if method == "fork" else sources[2:]:
    npk.save({"x": X, "y": Y})
    dataset = Dataset(source, ["x", "y"])
    options = dict(batch_size=128, multiprocessing_context=method, num_workers=workers)
    kept = DataLoader(dataset, shuffle=True, persistent_workers=True, **options)
    check(kept)
    npk.append({"x": X[:5], "y": Y[:5]})
    npk.drop("y", [0, 3])
    check(kept)
    if source is not sources[0]:  # whose lazy array shows rows that are replaced
        npk.replace({"x": -X}, slice(None, 1000))
    npk.save({"y": Y[::-1].copy()})
    check(kept)
    del kept
npk.close()
check(DataLoader(dataset, collate_fn=collate, **options))
""",
        method,
        flags=FLAGS,
    )


def test_errors_of_workers_reach_the_consumer(run_python):
    run_python(
        LOADS
        + """
loader = DataLoader(Dataset({"x": X}), sampler=[0, 1000], batch_size=2, num_workers=1)
try:
    next(iter(loader))
except numpack.IndexRangeError as error:
    assert "1000" in str(error)
else:
    raise AssertionError
""",
        flags=FLAGS,
    )
