"""`Dataset` and `Loader` in Lightning's `Trainer`."""


def test_trainer_fits_validates_and_resumes(run_python):
    run_python(
        """
import lightning as L, numpy as np, torch
from torch.utils.data import DataLoader
from numpack import Loader, NumPack
from numpack.data import Dataset

rng = np.random.default_rng(0)
x = rng.normal(size=(512, 4)).astype("f4")
with NumPack("s.npk") as npk:
    npk.save({"x": x, "y": x @ np.array([[1], [-2], [3], [0.5]], "f4")})

class Linear(L.LightningModule):
    def __init__(self):
        super().__init__()
        self.layer, self.losses = torch.nn.Linear(4, 1), []
    def loss(self, batch):
        return ((self.layer(batch["x"]) - batch["y"]) ** 2).mean()
    def training_step(self, batch, index):
        return self.loss(batch)
    def validation_step(self, batch, index):
        self.losses.append(float(self.loss(batch)))
    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)

dataset, model = Dataset("s.npk", ["x", "y"]), Linear()
trainer = L.Trainer(
    max_epochs=5, accelerator="cpu", logger=False, enable_checkpointing=False,
    enable_progress_bar=False, enable_model_summary=False,
)
trainer.fit(model, DataLoader(dataset, 32, shuffle=True), DataLoader(dataset, 512))
assert model.losses[-1] < 0.01 * model.losses[0], model.losses

class Recorded(Linear):
    def __init__(self):
        super().__init__()
        self.seen = []
    def training_step(self, batch, index):
        self.seen.append(float(batch["y"].sum()))
        return self.loss(batch)

def fit(steps, **options):
    torch.manual_seed(0)
    model = Recorded()
    trainer = L.Trainer(
        max_steps=steps, accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )
    trainer.fit(model, Loader("s.npk", ["x", "y"], batch_size=32), **options)
    return trainer, model

_, unbroken = fit(40)
assert len(set(unbroken.seen)) == 40  # every epoch has another order
trainer, first = fit(21)
trainer.save_checkpoint("c.ckpt")
_, second = fit(40, ckpt_path="c.ckpt")
assert first.seen + second.seen == unbroken.seen
assert torch.equal(unbroken.layer.weight, second.layer.weight)
""",
        flags=("-W", "ignore"),
    )
