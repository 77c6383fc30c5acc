"""A store with arrays of several kinds, uploaded to SeaweedFS, which is behind a proxy."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.servers.bucket import Bucket

from numpack import NumPack

QUICK = {"max_retries": 2, "backoff": {"init_backoff": timedelta(milliseconds=5)}}


def make_store(path: str = "s.npk", rows: int = 20_000) -> None:
    """Make a store with arrays of several dtypes, blocks, deleted rows and attributes."""
    random = np.random.default_rng(0)
    with NumPack(path) as npk:
        npk.save(
            {
                "x": random.random((rows, 128), np.float32),  # almost ten blocks
                "dropped": np.arange(15 * rows).reshape(-1, 3),
                "small": np.arange(10),
                "empty": np.zeros((0, 4), "f8"),
                "flags": random.random(1000) < 0.5,
                "complex": random.random((50, 2, 3)) * 1j,
                "rare": np.arange(40, dtype=">i2").astype("i2"),
            }
        )
        npk.drop("dropped", [3, 500, 5 * rows - 1, *range(2000, 2 * rows, 7)])
        npk.attrs["x"]["dims"] = ["row", "feature"]
        npk.attrs.store["title"] = "of the tests"


def upload(bucket: Bucket, folder: str, prefix: str) -> None:
    """Copy a folder to a bucket, as any other tool does."""
    client = bucket.client()
    for path in sorted(Path(folder).rglob("*")):
        if path.is_file():
            key = f"{prefix}/{path.relative_to(folder)}"
            client.put_object(Bucket=bucket.name, Key=key, Body=path.read_bytes())


@pytest.fixture
def url(seaweedfs: Bucket, bucket: Bucket, prefix: str) -> str:
    """Upload the store ``s.npk``; the proxy counts nothing of it."""
    make_store()
    upload(seaweedfs, "s.npk", prefix)
    return bucket.url(prefix)


@pytest.fixture
def open_remote(bucket: Bucket) -> Iterator[Callable[..., NumPack]]:
    """Open remote stores, by default with the cache ``cache``; they are closed at the end."""
    with contextlib.ExitStack() as stack:

        def opened(url: str, *, cache: str = "cache", **options: Any) -> NumPack:
            settings = {**bucket.options, "retry_config": QUICK, **options}
            store = NumPack(url, mode="r", storage_options=settings, cache=cache)
            return stack.enter_context(store)

        yield opened


@pytest.fixture
def remote(open_remote: Callable[..., NumPack], url: str) -> NumPack:
    """Open the uploaded store with an empty cache."""
    return open_remote(url)


@pytest.fixture
def local(url: str) -> Iterator[NumPack]:
    """Open the local store of the same content."""
    with NumPack("s.npk", mode="r") as npk:
        yield npk
