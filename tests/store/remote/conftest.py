"""Fixtures of the tests of remote stores, whose object store is a folder."""

from __future__ import annotations

import numpy as np
import pytest
from support.store import remote
from support.store.remote import FolderStore, url_of

from numpack import NumPack

ROWS = 5000  # of 1,000 bytes: five blocks, the last one partial


def make_store(path: str = "s.npk") -> dict[str, np.ndarray]:
    """Make a store with arrays of many kinds; return what is in it."""
    rng = np.random.default_rng(1)
    arrays = {
        "rows": rng.integers(0, 256, (ROWS, 1000), dtype=np.uint8),
        "flat": np.arange(400_000, dtype="f8"),
        "wide": rng.integers(0, 99, (5, 3, 100_000), dtype="i8"),
        "small": np.arange(12.0).reshape(4, 3),
        "scalar": np.array(7),
        "none": np.empty((0, 4), "f4"),
        "struct": np.array([(1, 2.5), (3, 4.5)], [("a", "i4"), ("b", "f8")]),
        "empty items": np.zeros(3, "S0"),
        "block": rng.integers(0, 256, 1 << 20, dtype=np.uint8),
    }
    with NumPack(path, mode="w") as npk:
        npk.save(arrays)
        npk.save({"dropped": arrays["rows"], "span": arrays["rows"]})
        npk.drop("dropped", [0, 5, 17, 4000])
        npk.drop("span", list(range(100)))
        npk.attrs["rows"]["unit"] = "m"
        npk.attrs.store["owner"] = "us"
        return {name: npk.load(name) for name in npk}


@pytest.fixture
def arrays(monkeypatch, tmp_path) -> dict[str, np.ndarray]:
    """Make the store ``s.npk``, to be opened by its URL, and a cache of the test's own."""
    remote.install(monkeypatch)
    monkeypatch.setenv("NUMPACK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("NUMPACK_CACHE_BYTES", str(1 << 30))
    return make_store()


@pytest.fixture
def opened(arrays):
    """Return a function that opens the store, and the object store that it reads."""
    del arrays
    stores = []

    def open_store(**options) -> tuple[NumPack, FolderStore]:
        npk = NumPack(url_of("s.npk"), mode="r", **options)
        npk.open()
        stores.append(npk)
        return npk, FolderStore.opened[-1]

    yield open_store
    for npk in stores:
        npk.close()
