"""A server that has imported every framework, for the tests of all of them in forked children."""

from __future__ import annotations

import pytest
from support.fork_server import ForkServer

FRAMEWORKS = (
    *("torch", "jax", "tensorflow", "onnxruntime", "pandas", "xarray", "polars", "duckdb"),
    *("pyarrow", "nanoarrow", "arro3.core", "ml_dtypes", "scipy.sparse"),
)


@pytest.fixture(scope="session")
def frameworks_server():
    with ForkServer(*FRAMEWORKS) as server:
        yield server


@pytest.fixture
def run_with_frameworks(frameworks_server, tmp_path):
    """Run a script in a child that has imported every framework; else as `run_python`."""

    def run(script: str, *args: str) -> str:
        return frameworks_server.run(script, *args, folder=tmp_path)

    return run
