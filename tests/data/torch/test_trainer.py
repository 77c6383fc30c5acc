"""`Dataset` and `Loader` in the Trainer of transformers."""


def test_trainer_fits_and_resumes(run_python):
    """The default collator sees samples; with `collate`, batches are passed on as gathered."""
    run_python(
        """
import numpy as np, torch
from transformers import Trainer, TrainingArguments
from numpack import Loader, NumPack
from numpack.data import Dataset, collate

rng = np.random.default_rng(0)
x = rng.normal(size=(256, 4)).astype("f4")
with NumPack("s.npk") as npk:
    npk.save({"x": x, "labels": x @ np.array([[1], [-2], [3], [0.5]], "f4")})

class Linear(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = torch.nn.Linear(4, 1)
    def forward(self, x, labels=None):
        logits = self.layer(x)
        return {"loss": ((logits - labels) ** 2).mean(), "logits": logits}

dataset = Dataset("s.npk", ["x", "labels"])
for collator in (None, collate):
    def trainer():
        arguments = TrainingArguments(
            "out", num_train_epochs=4, per_device_train_batch_size=32, learning_rate=0.1,
            per_device_eval_batch_size=256, use_cpu=True, report_to=[], disable_tqdm=True,
            save_strategy="steps", save_steps=12, remove_unused_columns=collator is None,
        )
        return Trainer(
            Linear(), arguments, train_dataset=dataset, eval_dataset=dataset,
            data_collator=collator,
        )
    first = trainer()
    before = first.evaluate()["eval_loss"]
    first.train()
    assert first.state.global_step == 32
    assert first.evaluate()["eval_loss"] < 0.5 * before
    second = trainer()
    second.train(resume_from_checkpoint="out/checkpoint-12")
    pairs = zip(first.model.parameters(), second.model.parameters(), strict=True)
    assert all(torch.allclose(one, two) for one, two in pairs)

class WithLoader(Trainer):
    def get_train_dataloader(self):
        return Loader("s.npk", ["x", "labels"], batch_size=32)

arguments = TrainingArguments(
    "ours", num_train_epochs=3, learning_rate=0.1, use_cpu=True, report_to=[],
    disable_tqdm=True, save_strategy="no",
)
third = WithLoader(Linear(), arguments, eval_dataset=dataset)
third.train()
assert third.state.global_step == 24
assert third.evaluate()["eval_loss"] < before
""",
        flags=("-W", "ignore"),
    )
