"""Processes that read a remote store through one cache, one of the commands below.

``read SEED``: read rows and arrays at random until killed, and compare them.
``limited BYTES``: the same, a few times, with a limit of the size of files.
``forked``: use the store, fork, and use it in the child.
"""

from __future__ import annotations

import contextlib
import os
import resource
import sys
import warnings

import numpy as np

from numpack import NumPack
from numpack.store.remote.cache.pool import NoRoomError
from support.store import remote


def content(count: int = 3000) -> np.ndarray:
    """Return what the array ``rows`` has."""
    return np.random.default_rng(3).integers(0, 256, (count, 1000), dtype=np.uint8)


def say(what: str) -> None:
    """Print a line at once."""
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


def read_at_random(npk: NumPack, rng: np.random.Generator, expected: np.ndarray) -> None:
    """Read in one of several ways; raise if a value is wrong."""
    kind = rng.integers(0, 5)
    start = int(rng.integers(0, len(expected)))
    if kind == 0:
        rows = rng.integers(0, len(expected), 300)
        assert (npk.getitem("rows", rows) == expected[rows]).all()
    elif kind == 1:
        found = npk.load("rows", lazy=True)[start : start + 900]
        assert (found == expected[start : start + 900]).all()
    elif kind == 2:
        assert (npk.load("rows", lazy=True)[start] == expected[start]).all()
    elif kind == 3:
        assert (npk.load("rows") == expected).all()
    else:
        with contextlib.suppress(NoRoomError):
            assert int(npk.load("rows", lazy=True).sum()) == int(expected.sum())


def read(seed: int, times: int = 1 << 30) -> None:
    """Read until killed, opening the store anew each time; print a line for each."""
    rng, expected = np.random.default_rng(seed), content()
    for _ in range(times):
        with NumPack(remote.url_of("s.npk"), mode="r") as npk:
            for _ in range(rng.integers(1, 4)):
                read_at_random(npk, rng, expected)
        say("read")


def forked() -> None:
    """Read in a child what the parent has read, and what it has not."""
    expected = content()
    with NumPack(remote.url_of("s.npk"), mode="r") as npk:
        lazy = npk.load("rows", lazy=True)
        assert (lazy[:10] == expected[:10]).all()
        child = os.fork()
        if not child:
            assert (lazy[:10] == expected[:10]).all()
            assert (lazy.take([2500]) == expected[[2500]]).all()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
    say("forked")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", ".*fork", DeprecationWarning)  # beside other threads
    remote.install()
    command, *arguments = sys.argv[1:]
    if command == "limited":
        limit = int(arguments[0])
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
        read(1, times=20)
    elif command == "forked":
        forked()
    else:
        read(int(arguments[0]))
