"""Train a small language model on windows of a stored token array.

The licence of Python, a text of some 14,000 characters, goes into a store as an array of one
token per character. A transformer of one block learns to predict each character from those
before it, as nanoGPT does; a part of the text is kept for validation. It fails if the loss of
the model does not fall on both parts.

Run it with ``make demo``, or ``python examples/tokens.py``.
"""

from __future__ import annotations

import inspect
import sys
import sysconfig
import tempfile
import textwrap
from pathlib import Path

import numpy as np
import torch
from torch import nn

from numpack import Loader, NumPack

BLOCK = 64  # characters that the model sees
WIDTH, HEADS = 64, 4
STEPS = 300


def find_text() -> str:
    """Return the licence of Python, or where it is not installed, a module's source."""
    path = Path(sysconfig.get_path("stdlib")) / "LICENSE.txt"
    return path.read_text("utf-8") if path.exists() else inspect.getsource(textwrap)


def write_store(path: Path) -> list[str]:
    """Save the text as tokens; return the character of each."""
    text = find_text()
    characters = sorted(set(text))
    token = {character: number for number, character in enumerate(characters)}
    with NumPack(path, drop_if_exists=True) as npk:
        npk.save({"tokens": np.array([token[each] for each in text], np.uint16)})
    print(f"stored {len(text):,} tokens, {len(characters)} different ones")
    return characters


class Model(nn.Module):
    """One block of a transformer, between embeddings and a linear layer."""

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.token = nn.Embedding(tokens, WIDTH)
        self.place = nn.Embedding(BLOCK, WIDTH)
        self.block = nn.TransformerEncoderLayer(
            WIDTH, HEADS, 4 * WIDTH, dropout=0, batch_first=True, norm_first=True
        )
        self.head = nn.Linear(WIDTH, tokens)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return scores of the token after each one of `x`."""
        length = x.shape[1]
        mask = nn.Transformer.generate_square_subsequent_mask(length)
        embedded = self.token(x) + self.place(torch.arange(length))
        scores: torch.Tensor = self.head(self.block(embedded, src_mask=mask, is_causal=True))
        return scores


def loss_of(model: Model, batch: torch.Tensor) -> torch.Tensor:
    """Return the loss on a batch of windows, each with one token more than the model sees."""
    batch = batch.long()  # stored in two bytes
    x, y = batch[:, :-1], batch[:, 1:]
    return nn.functional.cross_entropy(model(x).flatten(0, 1), y.flatten())


def mean_loss(model: Model, loader: Loader) -> float:
    """Return the loss on all batches of an epoch."""
    with torch.no_grad():
        return float(torch.stack([loss_of(model, batch) for batch in loader]).mean())


def train(store: Path, tokens: int) -> None:
    """Train on the first nine tenths of the text, and compare the losses."""
    torch.manual_seed(0)
    torch.set_num_threads(1)
    with NumPack(store) as npk:
        split = npk.get_shape("tokens")[0] * 9 // 10
    # Each position of the text begins a window; those for validation do not overlap.
    windows = Loader(
        store, "tokens", window=BLOCK + 1, stride=1, rows=slice(split), batch_size=32
    )
    held_out = Loader(store, "tokens", window=BLOCK + 1, rows=slice(split, None), shuffle=False)

    model = Model(tokens)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    before, first = mean_loss(model, held_out), 0.0
    for number, batch in zip(range(STEPS), windows, strict=False):
        loss = loss_of(model, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first = first or loss.item()
        if number % 50 == 0:
            print(f"batch {number:3} of {len(windows)}: loss {loss.item():.2f}")
    after = mean_loss(model, held_out)
    print(f"loss on the text it was trained on:  {first:.2f} -> {loss.item():.2f}")
    print(f"loss on the rest of the text:        {before:.2f} -> {after:.2f}")
    if loss.item() > 0.6 * first or after > 0.8 * before:
        sys.exit("the loss did not fall")


def main() -> None:
    """Write the store, and train on it."""
    with tempfile.TemporaryDirectory() as scratch:
        store = Path(scratch) / "text.npk"
        characters = write_store(store)
        train(store, len(characters))


if __name__ == "__main__":
    main()
