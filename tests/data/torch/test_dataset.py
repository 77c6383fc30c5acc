"""`Dataset` with torch as its target: tensors, collating, samplers."""

from __future__ import annotations

import pickle

import ml_dtypes
import numpy as np
import pytest
import torch
from support.each import for_each
from torch.utils.data import (
    BatchSampler,
    ConcatDataset,
    DataLoader,
    RandomSampler,
    SequentialSampler,
    Subset,
    WeightedRandomSampler,
    default_collate,
    random_split,
)
from torch.utils.data._utils.pin_memory import pin_memory

import numpack
from numpack import NumPack
from numpack.data import Dataset, collate
from numpack.data.dataset.torch_rows import TensorRow

X = np.arange(3000, dtype="f4").reshape(1000, 3)
Y = np.arange(1000)
HALF = X.astype(ml_dtypes.bfloat16)
COLLATES = [None, collate]


@pytest.fixture
def npk():
    with NumPack("s.npk") as store:
        store.save({"x": X, "y": Y, "bool": Y % 3 == 0, "half": HALF})
        yield store


def is_batch(batch, rows):
    return (
        torch.equal(batch["x"], torch.from_numpy(X)[rows])
        and torch.equal(batch["y"], torch.from_numpy(Y)[rows])
        and all(type(each) is torch.Tensor for each in batch.values())
    )


@for_each("collate_fn", COLLATES)
def test_loader_gives_every_row_once(npk, collate_fn):
    loader = DataLoader(
        Dataset(npk, ["x", "y"]), batch_size=256, shuffle=True, collate_fn=collate_fn
    )
    seen = []
    for batch in loader:
        assert type(batch) is dict
        assert is_batch(batch, batch["y"])
        seen += batch["y"].tolist()
    assert seen != sorted(seen)
    assert sorted(seen) == list(range(1000))


@for_each("collate_fn", COLLATES)
@for_each("name", ["x", "y", "bool", "half"])
def test_one_name_gives_tensors(npk, collate_fn, name):
    expected = numpack.share(npk.load(name), "torch")
    loader = DataLoader(Dataset(npk, name), batch_size=300, collate_fn=collate_fn)
    found = list(loader)
    assert all(type(each) is torch.Tensor for each in found)
    assert found[0].dtype == expected.dtype
    assert torch.equal(torch.cat(found), expected)
    assert torch.equal(loader.dataset[7], expected[7])


def test_default_collate_returns_the_gathered_memory(npk):
    for names in (["x", "y"], "x"):
        batch = Dataset(npk, names).__getitems__([3, 1])
        assert default_collate(batch) is batch.data
        assert collate(batch) is batch.data


def test_default_collate_equals_that_of_the_samples(npk):
    for names in (["x", "y", "bool"], "x", "y"):
        dataset = Dataset(npk, names)
        rows = [5, 999, 5, 0]
        samples = [dataset[row] for row in rows]
        batch = dataset.__getitems__(rows)
        rest = samples[1:]
        for listed in (
            samples,
            list(batch),
            batch[:],
            [*batch[:3], batch[3]],
            [batch[0], *rest],
        ):
            expected, found = default_collate(listed), default_collate(batch)
            if isinstance(names, str):
                expected, found = {"x": expected}, {"x": found}
            for name, tensor in expected.items():
                assert type(tensor) is torch.Tensor
                assert tensor.dtype == found[name].dtype
                assert torch.equal(tensor, found[name])


def as_pairs(batch):
    return batch["x"] / 2, batch["y"]


def test_transform_to_tuples(npk):
    dataset = Dataset(npk, ["x", "y"], transform=as_pairs)
    for x, y in DataLoader(dataset, batch_size=400, shuffle=True):
        assert torch.equal(x, torch.from_numpy(X)[y] / 2)
    batch = dataset.__getitems__([4, 2])
    for listed in ([dataset[4], dataset[2]], [batch[0], batch[1]], list(batch)):
        x, y = default_collate(listed)
        assert torch.equal(x, torch.from_numpy(X)[[4, 2]] / 2)
        assert y.tolist() == [4, 2]


def test_transform_to_numpy_is_collated_by_torch(npk):
    dataset = Dataset(npk, "x", transform=lambda batch: batch.numpy() + 1)
    (found,) = DataLoader(dataset, batch_size=1000)
    assert torch.equal(found, torch.from_numpy(X + 1))


def test_functions_of_users_see_samples(npk):
    seen = []

    def collate_fn(samples):
        first = samples[0]
        seen.append(sorted(first))
        return torch.stack([sample["x"] for sample in samples]).sum(), len(samples)

    loader = DataLoader(Dataset(npk, ["x", "y"]), batch_size=500, collate_fn=collate_fn)
    assert [count for _, count in loader] == [500, 500]
    assert seen == [["x", "y"]] * 2


def test_first_sample_behaves_as_a_tensor(npk):
    row = Dataset(npk, "x").__getitems__([3, 1])[0]
    assert isinstance(row, torch.Tensor)
    for result in (row + 1, row[:2], torch.stack([row, row]), row.clone(), row.numpy()):
        assert type(result) in (torch.Tensor, np.ndarray)
    again = pickle.loads(pickle.dumps(row))
    assert type(again) is torch.Tensor
    assert torch.equal(again, row)
    assert type(row) is TensorRow


def test_samplers_and_wrappers(npk):
    dataset = Dataset(npk, ["x", "y"])
    first, second = random_split(dataset, [0.25, 0.75], torch.Generator().manual_seed(0))
    for part, size in ((first, 250), (second, 750), (Subset(dataset, range(990, 1000)), 10)):
        batches = list(DataLoader(part, batch_size=100))
        assert all(is_batch(batch, batch["y"]) for batch in batches)
        assert sum(len(batch["y"]) for batch in batches) == len(part) == size
    weights = [0.0] * 500 + [1.0] * 500
    for batch in DataLoader(dataset, 64, sampler=WeightedRandomSampler(weights, 200)):
        assert is_batch(batch, batch["y"])
        assert int(batch["y"].min()) >= 500
    (batch,) = DataLoader(ConcatDataset([Subset(dataset, [1]), Subset(dataset, [7])]), 2)
    assert is_batch(batch, [1, 7])


def test_loader_without_automatic_batching(npk):
    dataset = Dataset(npk, ["x", "y"])
    sampler = BatchSampler(SequentialSampler(dataset), 300, drop_last=False)
    batches = list(DataLoader(dataset, batch_size=None, sampler=sampler))
    assert [len(batch["y"]) for batch in batches] == [300, 300, 300, 100]
    assert all(is_batch(batch, batch["y"]) for batch in batches)
    first = next(iter(DataLoader(dataset, batch_size=None)))
    assert is_batch(first, 0)


def test_one_gather_for_each_batch(npk, monkeypatch):
    calls = []
    take = numpack.data.dataset.dataset.take_rows
    monkeypatch.setattr(
        numpack.data.dataset.dataset,
        "take_rows",
        lambda array, rows: calls.append(len(rows)) or take(array, rows),
    )
    for _ in DataLoader(Dataset(npk, ["x", "y"]), batch_size=400, shuffle=True):
        pass
    assert calls == [400, 400, 400, 400, 200, 200]


def test_tensors_and_indexes_of_torch(npk):
    dataset = Dataset({"x": torch.from_numpy(X), "y": Y})
    assert is_batch(dataset[torch.tensor([4, 2])], [4, 2])
    assert is_batch(dataset[torch.tensor(4)], 4)
    assert dataset[4]["y"].shape == ()
    seed = torch.Generator().manual_seed(1)
    rows = list(RandomSampler(dataset, generator=seed))
    assert is_batch(collate(dataset.__getitems__(rows)), rows)


def test_batches_are_pinned(npk, monkeypatch):
    pinned = []
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda t: pinned.append(t) or t.clone())
    for names in (["x", "y"], "x"):
        found = pin_memory(default_collate(Dataset(npk, names).__getitems__([1, 2])))
        found = {"x": found} if names == "x" else found
        assert torch.equal(found["x"], torch.from_numpy(X)[[1, 2]])
        assert all(type(each) is torch.Tensor for each in found.values())
    assert len(pinned) == 3


@pytest.mark.gpu
def test_loader_pins_batches(npk):
    for batch in DataLoader(Dataset(npk, ["x", "y"]), 100, pin_memory=True):
        assert batch["x"].is_pinned()
        assert is_batch(batch, batch["y"])


def test_what_torch_cannot_hold_is_refused_at_construction(npk):
    npk.save({"text": Y.astype("U4"), "fields": np.zeros(1000, [("a", "i4")])})
    for name in ("text", "fields"):
        with pytest.raises(numpack.UnsupportedError):
            Dataset(npk, ["x", name])


def test_other_targets_with_torch_loader(npk):
    npk.save({"text": Y.astype("U4")})
    dataset = Dataset(npk, ["y", "text"], target="numpy")
    (batch,) = DataLoader(dataset, batch_size=1000, collate_fn=collate)
    assert np.array_equal(batch["text"], Y.astype("U4"))
    (batch,) = DataLoader(dataset, batch_size=1000)
    assert torch.equal(batch["y"], torch.from_numpy(Y))
    assert batch["text"] == [str(row) for row in range(1000)]
