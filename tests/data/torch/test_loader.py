"""Loader with torch: tensors, DataLoader with workers, distributed ranks, devices."""

from __future__ import annotations

import copy
import io

import ml_dtypes
import numpy as np
import pytest
import torch
from support.each import assert_each
from torch.utils.data import DataLoader, IterableDataset

from numpack import InvalidValueError, Loader, NumPack, UnsupportedError

N = 103


@pytest.fixture
def path():
    with NumPack("s.npk") as npk:
        npk.save({"x": np.arange(4 * N, dtype="f4").reshape(-1, 4), "y": np.arange(N)})
    return "s.npk"


def loader(source, names=("x", "y"), **options):
    return Loader(source, list(names), **{"batch_size": 4, **options})


def same(found, expected):
    found, expected = list(found), list(expected)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert all(torch.equal(one[name], other[name]) for name in ("x", "y"))


def test_batches_are_tensors_over_aligned_memory_that_is_used_again(path):
    seen = set()
    for batch in loader(path):
        x, y = batch["x"], batch["y"]
        assert (type(x), x.dtype, y.dtype) == (torch.Tensor, torch.float32, torch.int64)
        assert x.data_ptr() % 64 == 0
        assert torch.equal(x[:, 0], 4 * y.float())
        x.mul_(0)
        seen.add(x.data_ptr())
    assert len(seen) <= 5
    kept = [batch["x"][1:].T for batch in loader(path)]
    assert len({each.data_ptr() for each in kept}) == len(kept)
    values = np.sort(np.concatenate([each.numpy()[0] for each in kept]))
    assert len(np.unique(values)) == len(values)


def test_tensors_that_autograd_keeps_are_not_overwritten(path):
    weight, losses = torch.ones(4, requires_grad=True), []
    for batch in loader(path):
        losses.append(((batch["x"] * weight) ** 2).sum())
    torch.stack(losses).sum().backward()
    expected = 2 * (np.arange(4 * N, dtype="f8").reshape(-1, 4) ** 2).sum(0)
    assert torch.allclose(weight.grad.double(), torch.from_numpy(expected), rtol=1e-5)


def test_batches_in_order_are_tensors_over_the_file_and_writes_stay_private(path):
    for batch in loader(path, shuffle=False):
        batch["x"].zero_()
    with NumPack(path) as npk:
        assert npk.load("x").sum() > 0
        assert npk.verify()
    assert all(batch["x"].sum() > 0 for batch in loader(path, shuffle=False))


def test_dtypes_of_torch():
    values = np.random.default_rng(0).random((N, 3))
    for dtype in (ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, "f2", "bool", "c8", "u2"):
        array = values.astype(dtype)
        for batch in Loader({"v": array, "n": np.arange(N)}, batch_size=10):
            found, expected = batch["v"], array[batch["n"].numpy()]
            assert found.contiguous().view(torch.uint8).numpy().tobytes() == expected.tobytes()
    with pytest.raises(UnsupportedError, match="torch"):
        Loader({"v": np.array(["a", "b"])})


def test_a_loader_in_a_dataloader(path):
    def check(workers, method, prefetch):
        expected = list(loader(path))
        given = loader(path, prefetch=prefetch)
        assert isinstance(given, IterableDataset)
        context = method if workers else None
        outer = DataLoader(
            given, batch_size=None, num_workers=workers, multiprocessing_context=context
        )
        assert len(outer) == len(given)
        same(outer, expected)

    cells = [
        (0, None, 2),
        (1, "fork", 2),
        (2, "fork", 0),
        (2, "spawn", 2),
        (2, "forkserver", 1),
    ]
    assert_each(cells, check)


def test_epochs_of_workers_are_set_in_the_main_process_or_follow_in_workers_that_persist(path):
    given, plain = loader(path), loader(path)
    epochs = [list(plain) for _ in range(3)]
    for epoch in (1, 0, 2):
        given.set_epoch(epoch)
        same(DataLoader(given, batch_size=None, num_workers=2), epochs[epoch])
    given.set_epoch(0)
    outer = DataLoader(given, batch_size=None, num_workers=2, persistent_workers=True)
    for epoch in range(3):
        same(outer, epochs[epoch])


def test_workers_resume_a_state_of_the_main_process(path):
    given = loader(path)
    batches = iter(given)
    for _ in range(5):
        next(batches)
    again = loader(path)
    again.load_state_dict(given.state_dict())
    same(DataLoader(again, batch_size=None, num_workers=2), batches)


def test_workers_have_one_commit(path):
    with NumPack(path) as npk:
        given = loader(npk)
        npk.append({"x": np.zeros((5, 4), "f4"), "y": np.zeros(5, int)})
        rows = sum(len(b["y"]) for b in DataLoader(given, batch_size=None, num_workers=2))
        assert rows == N
        list(given)  # the main process sees the next commit
        rows = sum(len(b["y"]) for b in DataLoader(given, batch_size=None, num_workers=2))
        assert rows == N + 5


def test_states_go_through_torch_save(path):
    given = loader(path)
    next(batches := iter(given))
    file = io.BytesIO()
    torch.save(given.state_dict(), file)
    file.seek(0)
    again = loader(path)
    again.load_state_dict(torch.load(file, weights_only=True))
    same(again, batches)


def test_a_copy_is_a_loader_of_its_own(path):
    given = loader(path)
    again = copy.deepcopy(given)
    same(again, given)
    assert again.epoch == given.epoch == 1


def test_ranks_of_torch_distributed(run_with_torch, path):
    script = """
import sys
import numpy as np, torch, torch.distributed as dist, torch.multiprocessing as mp
from numpack import Loader

def work(rank, folder):
    before = Loader(folder + "/s.npk", ["y"], batch_size=4)
    url = f"file://{folder}/init"
    dist.init_process_group("gloo", init_method=url, rank=rank, world_size=2)
    loader = Loader(folder + "/s.npk", ["y"], batch_size=4)
    assert len(loader) == len(before) == 13 and loader.padding == 1
    mine = torch.cat([batch["y"] for batch in loader])
    all_rows = [torch.empty_like(mine) for _ in range(2)]
    dist.all_gather(all_rows, mine)
    values, counts = torch.cat(all_rows).unique(return_counts=True)
    assert values.tolist() == list(range(103)) and counts.sum() == 104
    dist.destroy_process_group()

if __name__ == "__main__":
    import os
    folder = os.getcwd()
    context = mp.get_context("fork")
    both = [context.Process(target=work, args=(rank, folder)) for rank in (0, 1)]
    for each in both: each.start()
    for each in both: each.join(120)
    assert [each.exitcode for each in both] == [0, 0]
"""
    run_with_torch(script)


def test_devices_without_cuda(path):
    batch = next(iter(loader(path, device="cpu")))
    assert batch["x"].device.type == "cpu"
    batch = next(iter(loader(path, device="meta")))
    assert (batch["x"].device.type, batch["x"].shape) == ("meta", (4, 4))
    with pytest.raises(InvalidValueError, match="device"):
        loader(path, device="nothing")
    if not torch.cuda.is_available():
        with pytest.raises(InvalidValueError, match="device='cpu'"):
            loader(path, device="cuda")


@pytest.mark.gpu
def test_batches_on_a_cuda_device_are_gathered_into_pinned_memory(path):
    given = loader(path, device="cuda", batch_size=8)
    expected = list(loader(path, batch_size=8))
    for _ in range(3):
        given.set_epoch(0)
        found = []
        for batch in given:
            assert batch["x"].device.type == "cuda"
            torch.cuda._sleep(1_000_000)  # the consumer's stream lags behind
            found.append({name: tensor + 0 for name, tensor in batch.items()})
        same([{n: t.cpu() for n, t in batch.items()} for batch in found], expected)


@pytest.mark.gpu
def test_a_large_batch_on_a_cuda_device_is_complete_on_the_consumers_stream():
    source = np.arange(1 << 26, dtype="f4").reshape(-1, 1 << 12)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        for batch in Loader({"x": source, "n": np.arange(len(source))}, device="cuda"):
            first = batch["n"].float() * (1 << 12)
            assert torch.equal(batch["x"][:, 0], first)
            assert torch.equal(
                batch["x"][:, -1] - batch["x"][:, 0], torch.full_like(first, 4095)
            )
