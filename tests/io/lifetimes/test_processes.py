"""Results released on threads of torch, at exit, in forked children and in workers."""

from __future__ import annotations


def test_release_on_an_autograd_thread_without_the_gil(run_with_torch):
    """autograd frees saved tensors on a thread of its own, without the GIL."""
    run_with_torch(
        """
import ml_dtypes, numpy as np, torch
from numpack.io import numpy_to_torch_zero_copy, to_dlpack
for _ in range(200):
    x = numpy_to_torch_zero_copy(np.ones(1000, "f4")).requires_grad_()
    y = torch.from_dlpack(to_dlpack(np.ones(1000, "f4")))
    z = torch.from_dlpack(to_dlpack(np.ones(1000, ml_dtypes.bfloat16)))
    loss = (x * y * z.float()).sum()
    del y, z
    loss.backward()
    del x, loss
"""
    )


def test_results_alive_at_interpreter_exit(run_with_torch):
    run_with_torch(
        """
import atexit, ml_dtypes, numpy as np, pyarrow as pa, torch
from numpack import NumPack, ZeroCopyArray, share
from numpack.io import *
a = np.arange(10.0)
b = np.ones(10, ml_dtypes.bfloat16)
npk = NumPack("exit.npk"); npk.open(); npk.save({"x": a})
lazy = npk.load("x", lazy=True)
keep = [f(v) for f in (numpy_to_torch_zero_copy, to_dlpack, ZeroCopyArray) for v in (a, b)]
keep += [numpy_to_arrow_zero_copy(a), arrow_to_numpy_zero_copy(pa.array(a))]
keep += [torch_to_numpy_zero_copy(torch.ones(3)), from_dlpack(torch.ones(3))]
keep += [share(lazy, "torch"), torch.from_dlpack(lazy)]
keep += [from_dlpack(to_dlpack(b).__dlpack__(max_version=(1, 0))), to_dlpack(b).__dlpack__()]
cycle = [keep]; cycle.append(cycle)
torch.kept_to_the_very_end = keep
atexit.register(lambda: [str(each) for each in keep[:4]])
"""
    )


def test_results_released_in_a_forked_child(run_with_torch):
    run_with_torch(
        """
import os, ml_dtypes, numpy as np, pyarrow, torch
from numpack import NumPack, share
from numpack.io import *
npk = NumPack("fork.npk"); npk.open(); npk.save({"x": np.arange(1000.0)})
lazy = npk.load("x", lazy=True)
kept = [from_dlpack(torch.ones(3)), torch.from_dlpack(to_dlpack(np.ones(3)))]
kept += [share(lazy, "torch")]
kept += [from_dlpack(to_dlpack(np.ones(3, ml_dtypes.bfloat16)).__dlpack__())]
child = os.fork()
if child == 0:
    kept[2][0] = 5
    kept.clear()
    assert npk.load("x")[999] == 999 and share(lazy, "torch")[0] == 0
    npk.append({"x": np.ones(1)})
    os._exit(0)
_, status = os.waitpid(child, 0)
assert status == 0, status
assert npk.get_shape("x") == (1001,) and kept[2][0] == 0
"""
    )


DATASET = """
import numpy as np, torch
from numpack import NumPack

class Rows(torch.utils.data.Dataset):
    def __init__(self, rows):
        self.rows = rows
    def __len__(self):
        return len(self.rows)
    def __getitem__(self, i):
        return torch.from_dlpack(self.rows)[i].clone(), self.rows[i].sum()
"""


def test_data_loader_workers(tmp_path, run_with_torch):
    (tmp_path / "rows.py").write_text(DATASET)
    run_with_torch(
        """
import sys
sys.path.insert(0, ".")
import numpy as np, torch
from numpack import NumPack
from rows import Rows

if __name__ == "__main__":
    npk = NumPack("loader.npk"); npk.open()
    npk.save({"x": np.arange(600.0).reshape(100, 6)})
    for method, workers in (("fork", 2), ("spawn", 1)):
        loader = torch.utils.data.DataLoader(
            Rows(npk.load("x", lazy=True)), batch_size=10, num_workers=workers,
            multiprocessing_context=method,
        )
        total = sum(float(sums.sum()) for _, sums in loader)
        assert total == np.arange(600.0).sum(), (method, total)
"""
    )
