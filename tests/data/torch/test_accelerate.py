"""`Dataset` in a DataLoader that Accelerate prepares, and `Loader` beside it."""


def test_prepared_loaders_train_and_resume(run_python):
    run_python(
        """
import numpy as np, torch
from accelerate import Accelerator
from accelerate.data_loader import DataLoaderShard, skip_first_batches
from torch.utils.data import DataLoader
from numpack import Loader, NumPack
from numpack.data import Dataset

rng = np.random.default_rng(0)
x = rng.normal(size=(512, 4)).astype("f4")
with NumPack("s.npk") as npk:
    npk.save({"x": x, "y": x @ np.array([[1], [-2], [3], [0.5]], "f4")})

accelerator, model = Accelerator(cpu=True), torch.nn.Linear(4, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
loader = DataLoader(Dataset("s.npk", ["x", "y"]), 32, shuffle=True)
model, optimizer, loader = accelerator.prepare(model, optimizer, loader)
assert isinstance(loader, DataLoaderShard)
losses = []
for epoch in range(5):
    for batch in loader:
        loss = ((model(batch["x"]) - batch["y"]) ** 2).mean()
        accelerator.backward(loss)
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(loss))
assert len(losses) == 80
assert losses[-1] < 0.01 * losses[0], losses
assert len(list(skip_first_batches(loader, 10))) == 6

ours = accelerator.prepare(Loader("s.npk", ["x", "y"], batch_size=32))
accelerator.register_for_checkpointing(ours)
batches = iter(ours)
for _ in range(5):
    next(batches)
accelerator.save_state("state")
rest = [batch["y"] for batch in batches]
accelerator.load_state("state")
assert all(torch.equal(a, b["y"]) for a, b in zip(rest, ours, strict=True))
""",
        flags=("-W", "ignore"),
    )
