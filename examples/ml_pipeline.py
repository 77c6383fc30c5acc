"""Features from a store on disk to PyTorch and Arrow, without copying a byte.

The handwritten digits that scikit-learn ships go into a store. A second process opens it,
maps the features, shares them with torch, trains a classifier on them, and shares the same
memory with Arrow and back with NumPy. For every conversion it prints what `explain` reports,
both addresses and the bytes copied, and it fails if an address differs.

Run it with ``make demo``, or ``python examples/ml_pipeline.py [FOLDER]``.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from numpack import NumPack, explain, share


def write_store(path: Path) -> None:
    """Save the images, scaled to 0…1, and their labels."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 -- only this process needs it

    images, labels = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    with NumPack(path, drop_if_exists=True) as npk:
        npk.save(
            {
                "features": (images[order] / 16).astype(np.float32),
                "labels": labels[order].astype(np.int64),
            }
        )
    print(f"stored {len(labels)} images in {path}")


class Conversions:
    """Checks conversions against `explain`, and counts the bytes copied."""

    def __init__(self) -> None:
        self.copied = 0

    def check(self, what: str, route: Any, source: int, result: int) -> None:
        """Print one conversion; exit if the result does not share the memory of the source."""
        self.copied += route.nbytes
        print(f"{what:18} {route.verdict}: {route.steps[-1]}")
        print(f"{'':18} {source:#x} -> {result:#x}, {route.nbytes} bytes copied")
        if source != result or not route.shares_memory or route.nbytes:
            sys.exit(f"{what}: the memory is not shared")


def address_of_file(path: Path, result: int) -> int:
    """Return the address of a file's first byte, in the map that contains `result`."""
    inode = path.stat().st_ino
    for line in Path("/proc/self/maps").read_text().splitlines():
        bounds, _, offset, _, mapped, *_ = line.split(None, 5)
        start, end = (int(each, 16) for each in bounds.split("-"))
        if start <= result < end and int(mapped) == inode:
            return start - int(offset, 16)
    sys.exit(f"{result:#x} is not in a map of {path}")


def train(features: Any, labels: Any) -> float:
    """Train a small classifier; return its accuracy on the quarter of images held out."""
    import torch  # noqa: PLC0415 -- only this process needs it

    torch.manual_seed(0)
    held_out = len(labels) // 4
    model = torch.nn.Sequential(
        torch.nn.Linear(features.shape[1], 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(100):
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(features[held_out:]), labels[held_out:])
        loss.backward()
        optimizer.step()
    guesses = model(features[:held_out]).argmax(dim=1)
    return float((guesses == labels[:held_out]).float().mean())


def use_store(path: Path) -> None:
    """Map the features, train on them, and share the same memory with Arrow and NumPy."""
    import pyarrow as pa  # noqa: PLC0415 -- only this process needs it

    conversions = Conversions()
    tensors = {}
    with NumPack(path) as npk:
        for name in npk:
            lazy = npk.load(name, lazy=True)
            route = explain(lazy, "torch")
            tensors[name] = share(lazy, "torch", copy=False)
            file = path / npk.get_metadata()["arrays"][name]["data_file"]
            there = tensors[name].data_ptr()
            conversions.check(f"{name} -> torch", route, address_of_file(file, there), there)
        stored = npk.load("features", lazy=True)
    features, labels = tensors["features"], tensors["labels"]

    accuracy = train(features, labels)
    print(
        f"{'':18} trained on it: {accuracy:.1%} of the held-out images are classified correctly"
    )
    if accuracy <= 0.9:
        sys.exit("the classifier did not reach 90 %")

    route = explain(features, "arrow", layout="tensor")
    column = share(features, "arrow", layout="tensor", copy=False)
    conversions.check(
        "torch -> Arrow", route, features.data_ptr(), column.buffers()[-1].address
    )

    table = pa.table({"features": column})
    chunk = table.column("features")
    route = explain(chunk, "numpy")
    back = share(chunk, "numpy", copy=False)
    conversions.check("Arrow -> NumPy", route, column.buffers()[-1].address, back.ctypes.data)

    if back.shape != stored.shape or not np.array_equal(back, stored):
        sys.exit("the result differs from the stored array")
    print(f"{'total':18} {conversions.copied} bytes copied")


def main() -> None:
    """Write the store, then use it in a process that gets only its path."""
    if sys.argv[1:2] == ["--use"]:
        use_store(Path(sys.argv[2]))
        return
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(sys.argv[1] if len(sys.argv) > 1 else scratch) / "features.npk"
        write_store(path)
        sys.stdout.flush()
        subprocess.run([sys.executable, __file__, "--use", str(path)], check=True)  # noqa: S603 -- our own path


if __name__ == "__main__":
    main()
