"""A result keeps its source alive, leaks nothing, and can be released anywhere."""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import threading
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from support.dlpack import Tensor
from support.routes import ROUTES, array

from numpack import NumPack, ZeroCopyArray, share
from numpack.io import (
    from_dlpack,
    numpy_to_arrow_zero_copy,
    numpy_to_torch_zero_copy,
    to_dlpack,
)


def measure(module: str, folder: Path) -> dict[str, list[int]]:
    """Return what each route leaks, measured in a new process."""
    paths = [str(Path(__file__).parents[1]), *filter(None, [os.environ.get("PYTHONPATH")])]
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", module],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def growth(tmp_path_factory) -> dict[str, list[int]]:
    return measure("support.routes", tmp_path_factory.mktemp("routes"))


@pytest.mark.parametrize("route", ROUTES)
def test_route_leaks_nothing(route, growth):
    """Objects, references, memory and resident size do not grow in 10,000 conversions."""
    objects, blocks, allocated, resident, references = growth[route]
    assert objects < 50
    assert blocks < 500
    assert allocated < 10_000 * 8  # the smallest allocation of malloc is 24 bytes
    assert resident < 2 * 2**20  # 10,000 leaked arrays take at least 20 MB
    assert references < 500


def test_routes_of_the_other_frameworks_leak_nothing(tmp_path):
    """Each route is run 2,000 times, all frameworks in one process."""
    limits = 50, 500, 2_000 * 8, 2 * 2**20, 500  # as in test_route_leaks_nothing
    found = measure("support.framework_routes", tmp_path)
    assert len(found) > 90
    leaking = {
        route: grown
        for route, grown in found.items()
        if any(each >= limit for each, limit in zip(grown, limits, strict=True))
    }
    assert leaking == {}


def test_lazy_routes_leak_no_mapping():
    with NumPack("leak.npk") as npk:
        npk.save({"x": np.arange(1000.0)})

        def routes():
            lazy = npk.load("x", lazy=True)
            return share(lazy, "torch"), share(lazy, "arrow"), torch.from_dlpack(lazy)

        for _ in range(100):
            routes()
        gc.collect()  # frees objects of earlier tests
        before = len(os.listdir("/proc/self/fd")), mapped_files("leak.npk")
        for _ in range(1000):
            routes()
        gc.collect()
        assert (len(os.listdir("/proc/self/fd")), mapped_files("leak.npk")) == before


def mapped_files(name: str) -> int:
    with open("/proc/self/maps") as table:
        return sum(name in line for line in table)


OWNERS = {
    "torch": (lambda a: numpy_to_torch_zero_copy(a), lambda t: t[5].item()),
    "arrow": (lambda a: numpy_to_arrow_zero_copy(a), lambda r: r[5].as_py()),
    "dlpack": (lambda a: to_dlpack(a), lambda b: torch.from_dlpack(b)[5].item()),
    "capsule": (lambda a: from_dlpack(to_dlpack(a).__dlpack__()), lambda b: b[5]),
    "wrapper": (lambda a: ZeroCopyArray(a), lambda d: d.to_arrow()[5].as_py()),
}


class Memory(bytearray):
    """Memory that supports weak references."""


@pytest.mark.parametrize("name", OWNERS)
def test_source_is_freed_with_the_result(name):
    convert, read = OWNERS[name]
    memory = Memory(array().tobytes())
    end = weakref.ref(memory)
    result = convert(np.frombuffer(memory))
    del memory
    gc.collect()
    assert end() is not None
    assert read(result) == 5
    del result
    gc.collect()
    assert end() is None


def test_results_outlive_a_closed_and_removed_store(tmp_path):
    import shutil

    npk = NumPack("gone.npk")
    npk.open()
    npk.save({"x": np.arange(1000.0)})
    lazy = npk.load("x", lazy=True)
    results = [share(lazy, target) for target in ("torch", "arrow", "dlpack", "numpy")]
    npk.close()
    shutil.rmtree("gone.npk")
    del npk, lazy
    gc.collect()
    t, r, d, a = results
    assert t[999].item() == r[999].as_py() == torch.from_dlpack(d)[999].item() == a[999] == 999


def test_deleter_runs_on_the_thread_that_releases_the_result():
    tensor = Tensor(np.arange(3.0))
    held = [from_dlpack(tensor.capsule())]
    thread = threading.Thread(target=held.clear)
    thread.start()
    thread.join()
    assert tensor.deleted == 1


def test_release_on_an_autograd_thread_without_the_gil(run_python):
    """autograd frees saved tensors on a thread of its own, without the GIL."""
    run_python(
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


def test_results_alive_at_interpreter_exit(run_python):
    run_python(
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


def test_results_released_in_a_forked_child(run_python):
    run_python(
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


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_data_loader_workers(method, tmp_path, run_python):
    (tmp_path / "rows.py").write_text(DATASET)
    run_python(
        """
import sys
sys.path.insert(0, ".")
import numpy as np, torch
from numpack import NumPack
from rows import Rows

if __name__ == "__main__":
    npk = NumPack("loader.npk"); npk.open()
    npk.save({"x": np.arange(600.0).reshape(100, 6)})
    loader = torch.utils.data.DataLoader(
        Rows(npk.load("x", lazy=True)), batch_size=10, num_workers=2,
        multiprocessing_context=sys.argv[1],
    )
    total = sum(float(sums.sum()) for _, sums in loader)
    assert total == np.arange(600.0).sum(), total
""",
        method,
    )
