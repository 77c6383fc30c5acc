"""Stores that need no server, and SeaweedFS behind the proxy."""

import numpy as np
import pytest

from numpack.object_store import open_object_store

CONTENT = np.random.default_rng(7).integers(0, 256, 300_000, np.uint8)


@pytest.fixture(params=["memory", "file", "s3"])
def objects(request, tmp_path):
    """Return an empty store."""
    if request.param == "s3":
        found = request.getfixturevalue("remote")
        return open_object_store(f"{found.location}/empty", request.getfixturevalue("options"))
    place = f"memory://{tmp_path.name}/{request.node.name}"
    return open_object_store(
        place if request.param == "memory" else (tmp_path / "new").as_uri()
    )


@pytest.fixture
def options(bucket):
    """Return the options for SeaweedFS, with few and short retries."""
    from datetime import timedelta

    backoff = {"init_backoff": timedelta(milliseconds=5), "max_backoff": timedelta(seconds=1)}
    return {**bucket.options, "retry_config": {"max_retries": 2, "backoff": backoff}}


@pytest.fixture
def remote(bucket, prefix, options):
    """Return a store in SeaweedFS behind `proxy` that has the object "x"."""
    found = open_object_store(bucket.url(prefix), options)
    found.write("x", CONTENT)
    return found
