"""Train on batches of a store; be killed in mid-epoch and resume; train on two processes.

The handwritten digits that scikit-learn ships go into a store, and a classifier is trained on
shuffled batches of them:

1. in one run;
2. in a process that is killed after it has written some checkpoints, and in another one that
   resumes from the last checkpoint, in the middle of an epoch. It ends with the same weights
   as the first run, bit for bit;
3. on two processes with torch.distributed: each row comes once in an epoch. One process then
   resumes their third epoch from the state of the two.

It fails if anything differs. Run it with ``make demo``, or, where PyTorch and scikit-learn are
installed, ``python examples/train.py``.
"""

from __future__ import annotations

import datetime as dt
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import distributed
from torch.nn.parallel import DistributedDataParallel

from numpack import Loader, NumPack

EPOCHS = 4  # of 22 batches
CHECKPOINT_EVERY = 10  # batches
KILLED_AFTER = 57  # batches, in the third epoch
HELD_OUT = 400  # images
NAMES = ["images", "labels", "number"]


def write_store(path: Path) -> None:
    """Save the images as they are, values from 0 to 16, with their labels and numbers."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 -- only this process needs it

    images, labels = load_digits(return_X_y=True)
    with NumPack(path, drop_if_exists=True) as npk:
        npk.save(
            {
                "images": images.astype(np.uint8),
                "labels": labels.astype(np.int64),
                "number": np.arange(len(labels)),
            }
        )
    print(f"stored {len(labels):,} images in {path}")


def scale(batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert the images of a batch to floats from 0 to 1: the `transform` of the loaders."""
    return {**batch, "images": batch["images"].float() / 16}


def make_model() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    """Return the same model in every process, and its optimizer."""
    torch.manual_seed(0)
    torch.set_num_threads(1)  # sums of floats depend on how they are divided among threads
    model = torch.nn.Sequential(
        torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    )
    return model, torch.optim.Adam(model.parameters(), lr=0.01)


def step(
    model: torch.nn.Module, optimizer: torch.optim.Optimizer, batch: dict[str, torch.Tensor]
) -> None:
    """Train on one batch."""
    optimizer.zero_grad()
    loss = torch.nn.functional.cross_entropy(model(batch["images"]), batch["labels"])
    loss.backward()
    optimizer.step()


def save(checkpoint: Path, done: int, **parts: Any) -> None:
    """Write a checkpoint, which replaces the last one at once or not at all."""
    states = {name: part.state_dict() for name, part in parts.items()}
    torch.save({**states, "done": done}, checkpoint.with_suffix(".new"))
    checkpoint.with_suffix(".new").replace(checkpoint)


def train(store: Path, checkpoint: Path, killed_after: int = 0) -> torch.nn.Module:
    """Train from the checkpoint on if there is one, and write one every few batches."""
    model, optimizer = make_model()
    loader = Loader(store, NAMES, batch_size=64, rows=slice(HELD_OUT, None), transform=scale)
    parts, done = {"model": model, "optimizer": optimizer, "loader": loader}, 0
    if checkpoint.exists():
        saved = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(saved["model"])
        optimizer.load_state_dict(saved["optimizer"])
        loader.load_state_dict(saved["loader"])
        done = saved["done"]
        print(f"resumed after batch {done}", flush=True)

    for _ in range(loader.epoch, EPOCHS):
        for batch in loader:
            step(model, optimizer, batch)
            done += 1
            if done % CHECKPOINT_EVERY == 0:
                save(checkpoint, done, **parts)
            if done == killed_after:
                print(f"killed after batch {done}", flush=True)
                os.kill(os.getpid(), signal.SIGKILL)
    save(checkpoint, done, **parts)
    return model


def accuracy(model: torch.nn.Module, store: Path) -> float:
    """Return the accuracy on the images that are not trained on, read in order."""
    loader = Loader(store, NAMES, shuffle=False, rows=slice(HELD_OUT), transform=scale)
    with torch.no_grad():
        right = [model(batch["images"]).argmax(dim=1) == batch["labels"] for batch in loader]
    return float(torch.cat(right).float().mean())


def train_on_rank(store: Path, folder: Path, rank: int) -> None:
    """Train two epochs as one of two processes, and begin with a third; save what came."""
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/rendezvous",
        rank=rank,
        world_size=2,
        timeout=dt.timedelta(minutes=1),  # should the other process fail
    )
    plain, optimizer = make_model()
    model = DistributedDataParallel(plain)  # waits for the other process in each step
    loader = Loader(store, NAMES, batch_size=64, transform=scale)  # finds its rank by itself
    for _ in range(2):
        epoch = []
        for batch in loader:
            step(model, optimizer, batch)
            epoch.append(batch["number"])
    batches = iter(loader)
    begun = [next(batches)["number"] for _ in range(5)]
    seen = {
        "epoch": epoch,
        "padding": loader.padding,
        "begun": begun,
        "loader": loader.state_dict(),
    }
    torch.save(seen, folder / f"rank{rank}")
    distributed.destroy_process_group()


def start(*arguments: object) -> subprocess.Popen[bytes]:
    """Run this file in another process; those of a group find each other on this machine."""
    loopback = "lo" if sys.platform == "linux" else "lo0"
    return subprocess.Popen(  # noqa: S603 -- our own path
        [sys.executable, __file__, *map(str, arguments)],
        env={"GLOO_SOCKET_IFNAME": loopback, **os.environ},
    )


def check(what: str, is_right: bool) -> None:
    """Print what was shown, or exit."""
    if not is_right:
        sys.exit(f"this is wrong: {what}")
    print(what, flush=True)


def show_resuming(store: Path, folder: Path) -> None:
    """Train in one run, and in one that is killed and resumed."""
    unbroken, resumed = folder / "unbroken", folder / "resumed"
    right = accuracy(train(store, unbroken), store)
    check(f"unbroken run: {right:.1%} of the images held out are right", right > 0.9)

    status = start("--train", store, resumed, KILLED_AFTER).wait()
    check("the process ended by SIGKILL", status == -signal.SIGKILL)
    position = torch.load(resumed, weights_only=True)["loader"]["position"]
    check(f"its last checkpoint is {position:,} samples into an epoch", position > 0)
    status = start("--train", store, resumed).wait()
    check("another process trained to the end", status == 0)
    first, second = (
        torch.load(path, weights_only=True)["model"] for path in (unbroken, resumed)
    )
    same = first.keys() == second.keys() and all(
        torch.equal(first[name], second[name]) for name in first
    )
    check("its weights are those of the unbroken run, bit for bit", same)


def show_ranks(store: Path, folder: Path) -> None:
    """Train on two processes, and resume on one."""
    ranks = [start("--rank", store, folder, rank) for rank in range(2)]
    check("two processes trained together", [each.wait() for each in ranks] == [0, 0])
    first, second = (torch.load(folder / f"rank{rank}", weights_only=True) for rank in range(2))
    count, padding = first["loader"]["samples"], first["padding"]
    times = torch.bincount(torch.cat(first["epoch"] + second["epoch"]), minlength=count)
    check(
        f"each had {len(first['epoch'])} batches in an epoch",
        len(first["epoch"]) == len(second["epoch"]),
    )
    check(
        f"each of {count:,} rows came once, and {padding} of them again as padding",
        len(times) == count and bool((times > 0).all()) and int(times.sum()) == count + padding,
    )

    loader = Loader(store, NAMES, batch_size=64)  # one process, and twice the batches
    loader.load_state_dict(first["loader"])
    rest = [batch["number"] for batch in loader]
    times = torch.bincount(torch.cat(first["begun"] + second["begun"] + rest), minlength=count)
    check(
        f"one process had the {len(rest)} batches left of the epoch that two began",
        len(times) == count and bool((times == 1).all()),
    )


def main() -> None:
    """Write the store, and show both; as another process, train."""
    if sys.argv[1:2] == ["--train"]:
        train(Path(sys.argv[2]), Path(sys.argv[3]), *map(int, sys.argv[4:]))
    elif sys.argv[1:2] == ["--rank"]:
        train_on_rank(Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
    else:
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            write_store(folder / "digits.npk")
            show_resuming(folder / "digits.npk", folder)
            show_ranks(folder / "digits.npk", folder)


if __name__ == "__main__":
    main()
