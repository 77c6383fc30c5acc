"""A writer of s.npk in a loop: ``python -m support.crash.backed_up SEED``.

It prints the number of each commit, and a digest of the store after it.
"""

from __future__ import annotations

import hashlib
import random
import sys
from collections.abc import Callable

import numpy as np

from numpack import NumPack

from .operations import state_of, wide

CHANGES: list[Callable[[NumPack, int], object]] = [
    lambda s, n: s.append({"x": wide(n % 40, n), "y": wide(1200 if n % 9 == 0 else 1, n)}),
    lambda s, n: s.replace({"x": wide(20, n), "y": wide(20, n)}, slice(0, 20)),
    lambda s, n: s.replace({"x": wide(1, n)}, [s.get_shape("x")[0] - 1]),
    lambda s, n: s.drop("x", [n % 20, n % 20 + 1]),
    lambda s, n: s.save({"x": wide(30 + n % 1300, n), f"n{n % 3}": wide(2, n)}),
    lambda s, n: s.drop(f"n{n % 3}"),
    lambda s, n: s.save({"y": wide(2200, n)}),
    lambda s, n: s.update("x"),
    lambda s, n: s.attrs["y"].update(n=n),
    lambda s, n: s.attrs.store.update(n=n),
]


def digest(store: NumPack) -> str:
    return hashlib.sha256(repr(sorted(state_of(store).items())).encode()).hexdigest()


def commit_of(store: NumPack) -> int:
    commit: int = store._handle.require_session().history.refresh().commit
    return commit


def main() -> None:
    dice = random.Random(int(sys.argv[1]))
    with NumPack("s.npk") as store:
        store.save({"x": wide(50), "y": wide(2200)})
        number = 0
        while True:
            print(commit_of(store), digest(store), flush=True)  # noqa: T201
            number += 1
            if store.get_shape("x")[0] < 22:
                store.save({"x": np.resize(wide(40, number), (40, 1000))})
            else:
                dice.choice(CHANGES)(store, number)


if __name__ == "__main__":
    main()
