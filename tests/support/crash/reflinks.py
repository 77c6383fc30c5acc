"""Backups on a file system with reflinks: ``python -m support.crash.reflinks``.

The tests simulate reflinks; this program checks them on a real Btrfs. It needs mkfs.btrfs and
the right to mount a file system.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from numpack import NumPack
from support.crash.operations import state_of

SIZE = 256 << 20
ROWS = np.random.default_rng(1).integers(0, 256, (100_000, 1001), np.uint8)


def check(folder: Path) -> None:
    """Back up more than a quarter of the disk many times; the copies are independent."""
    with NumPack(folder / "s.npk") as store:
        store.save({"x": ROWS, "y": ROWS[:1000]})
        store.append({"x": ROWS[:7]})
        store.drop("y", [3])
        os.sync()
        free = os.statvfs(folder)
        for number in range(5):
            store.backup(folder / f"b{number}.npk", verify=number == 0)
        now = os.statvfs(folder)
        used = (free.f_bfree - now.f_bfree) * free.f_frsize
        if used > ROWS.nbytes // 10:
            raise AssertionError(f"{used:,} bytes were copied")
        with NumPack(folder / "b4.npk") as copy:
            if state_of(copy) != state_of(store) or not copy.verify():
                raise AssertionError("the copy differs")
            copy.replace({"x": ROWS[:5] + 1}, [0, 1, 2, 3, 4])
            copy.append({"y": ROWS[:5]})
            if not copy.verify():
                raise AssertionError(str(copy.verify()))
        with NumPack(folder / "b3.npk", mode="r") as other:
            if state_of(other) != state_of(store) or not store.verify():
                raise AssertionError("a change of a copy shows in the store or in another copy")


def main() -> None:
    with tempfile.TemporaryDirectory() as work:
        image, where = Path(work, "image"), Path(work, "mounted")
        with image.open("wb") as file:
            file.truncate(SIZE)
        subprocess.run(["mkfs.btrfs", "-q", image], check=True)
        where.mkdir()
        subprocess.run(["mount", "-o", "loop", image, where], check=True)
        try:
            check(where)
        finally:
            subprocess.run(["umount", where], check=True)
    sys.stdout.write("backups share their blocks with the store, and are independent\n")


if __name__ == "__main__":
    main()
